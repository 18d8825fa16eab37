"""WHIP (RFC 9725): a source posts its offer and gets its answer; the target comes back on the same connection."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from streamer.errors import ServiceError
from streamer.guard import TOKEN, owns
from streamer.ice import as_links, ice_servers
from streamer.keys import CONFIG, LOBBY, TARGETS
from streamer.offer import MAX_SDP_BYTES, bad_sdp, parse_offer, parse_trickle
from streamer.session import Session

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"
MAX_NAME_CHARS = 128
BODY_S = 10.0
"""Time for the whole body of a request."""


async def read_body(request: web.Request, media_type: str) -> str:
    """Return the body as text; raise `ServiceError`: another type (415), too much (413), too slow (408), no text."""
    if request.content_type != media_type:
        raise ServiceError(415, "unsupported_media_type", f"The body must be {media_type}.")
    too_large = ServiceError(413, "body_too_large", f"The body is larger than {MAX_SDP_BYTES // 1024} KiB.")
    if request.content_length is not None and request.content_length > MAX_SDP_BYTES:
        raise too_large
    # Read no further than the limit: a chunked body has no length to look at.
    body = b""
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_SDP_BYTES:
                    raise too_large
    except TimeoutError as error:
        raise ServiceError(408, "too_slow", f"The body did not come within {BODY_S:g} s.") from error
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise bad_sdp("The body is not UTF-8 text.") from error


async def publish(request: web.Request) -> web.Response:
    """`POST /whip?actor=NAME&client=ID`: open a session."""
    offer = parse_offer(await read_body(request, SDP))
    actor = request.query.get("actor") or request.app[CONFIG].engine.actor
    client = request.query.get("client", "")
    if len(actor) > MAX_NAME_CHARS or len(client) > MAX_NAME_CHARS:
        raise ServiceError(404, "unknown_actor", "The name of the actor is too long.")
    card = await asyncio.to_thread(request.app[TARGETS].card, actor)
    session, answer = await request.app[LOBBY].admit(offer, actor=card.name, client=client, owner=request[TOKEN].id)
    headers = {"Location": f"/whip/{session.id}", "ETag": session.etag}
    response = web.Response(status=201, text=answer, content_type=SDP, headers=headers)
    for link in as_links(ice_servers(request.app[CONFIG].media, time.time())):
        response.headers.add("Link", link)
    return response


def _find(request: web.Request) -> Session:
    """Return the session that a request names; raise `ServiceError` for another one's as for none (404)."""
    lobby = request.app[LOBBY]
    session = lobby.find(request.match_info["session"])
    return session if owns(request, session.owner) else lobby.find("")


async def trickle(request: web.Request) -> web.Response:
    """`PATCH /whip/{session}`: add late candidates."""
    session = _find(request)
    if request.headers.get("If-Match", session.etag) not in (session.etag, "*"):
        raise ServiceError(412, "precondition_failed", "The ICE session is another one than If-Match names.")
    await session.add_candidates(parse_trickle(await read_body(request, FRAGMENT)))
    return web.Response(status=204, headers={"ETag": session.etag})


async def unpublish(request: web.Request) -> web.Response:
    """`DELETE /whip/{session}`: end a session; its place is free when the answer leaves."""
    request.app[LOBBY].end(_find(request), "closed")
    return web.Response(status=200)


ROUTES = [
    web.post("/whip", publish),
    web.patch("/whip/{session}", trickle),
    web.delete("/whip/{session}", unpublish),
]
