"""STUN and TURN servers, for both ends of a connection, with credentials that run out (coturn's REST scheme).

`use-auth-secret` in coturn: the user name is the time at which it ends, the password is its HMAC-SHA1 by a secret that
only the two servers know. (draft-uberti-behave-turn-rest-00)
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import time
from collections.abc import Sequence
from typing import Any

import aioice.stun
import aioice.turn
from aiortc import RTCIceServer
from aiortc.rtcicetransport import parse_stun_turn_uri

from streamer.config import MediaConfig

logger = logging.getLogger(__name__)

USER = "reenact"


def credentials(media: MediaConfig, now_s: float) -> tuple[str, str]:
    """Return user name and password for TURN: of the REST scheme if there is a secret, else the fixed ones."""
    if not media.turn_secret:
        return media.turn_username, media.turn_password
    username = f"{int(now_s) + media.turn_ttl_s}:{USER}"
    digest = hmac.new(media.turn_secret.encode(), username.encode(), hashlib.sha1).digest()
    return username, base64.b64encode(digest).decode()


def ice_servers(media: MediaConfig, now_s: float) -> list[RTCIceServer]:
    """Return the servers of `media`, each TURN server with credentials."""
    username, credential = credentials(media, now_s)
    return [
        RTCIceServer(urls=url, username=username, credential=credential)
        if url.startswith("turn") and username
        else RTCIceServer(urls=url)
        for url in media.ice_servers
    ]


def as_json(servers: Sequence[RTCIceServer]) -> list[dict[str, Any]]:
    """Return the servers as a page's `RTCPeerConnection` takes them."""
    described: list[dict[str, Any]] = []
    for server in servers:
        entry: dict[str, Any] = {"urls": server.urls}
        if server.username:
            entry |= {"username": server.username, "credential": server.credential}
        described.append(entry)
    return described


def as_links(servers: Sequence[RTCIceServer]) -> list[str]:
    """Return the servers as `Link` headers, as WHIP and WHEP clients read them (RFC 9725 section 4.6)."""
    links = []
    for server in servers:
        link = f'<{server.urls}>; rel="ice-server"'
        if server.username:
            link += f'; username="{server.username}"; credential="{server.credential}"; credential-type="password"'
        links.append(link)
    return links


async def check_turn(media: MediaConfig) -> list[str]:
    """Ask every TURN server for a relay; return a sentence for each that gives none."""
    problems = []
    for server in ice_servers(media, time.time()):
        url = str(server.urls)
        if not url.startswith("turn"):
            continue
        parsed = parse_stun_turn_uri(url)
        try:
            transport, _ = await aioice.turn.create_turn_endpoint(
                asyncio.DatagramProtocol,
                server_addr=(parsed["host"], parsed["port"]),
                username=server.username,
                password=server.credential,
                ssl=True if parsed["scheme"] == "turns" else None,
                transport=parsed["transport"],
            )
            transport.close()
        except aioice.stun.TransactionFailed as error:
            code = error.response.attributes.get("ERROR-CODE", (0, "no reason"))
            if code[0] == 401:
                problems.append(f"{url} refuses our user name or password (401): look at media.turn_secret")
            else:
                problems.append(f"{url} gives no relay: {code[1]} ({code[0]})")
        except (aioice.stun.TransactionTimeout, OSError) as error:
            problems.append(f"{url} does not answer: {str(error) or 'no reply'}")
    return problems
