"""WHEP: a viewer posts its offer and gets the output of a session, as many of them as want to."""

from __future__ import annotations

import time

from aiohttp import web

from streamer.errors import ServiceError
from streamer.guard import TOKEN
from streamer.ice import as_links, ice_servers
from streamer.keys import CONFIG, LOBBY
from streamer.offer import parse_trickle, parse_viewer_offer
from streamer.session import Session
from streamer.viewers import Viewer
from streamer.whip import FRAGMENT, SDP, read_body


async def watch(request: web.Request) -> web.Response:
    """`POST /whep/{session}`: become a viewer; `live` is the one session that runs."""
    session = request.app[LOBBY].find_watchable(request.match_info["session"])
    offer = parse_viewer_offer(await read_body(request, SDP))
    viewer, answer = await session.viewers.admit(offer, owner=request[TOKEN].id)
    headers = {"Location": f"/whep/{session.id}/{viewer.id}", "ETag": viewer.etag}
    response = web.Response(status=201, text=answer, content_type=SDP, headers=headers)
    for link in as_links(ice_servers(request.app[CONFIG].media, time.time())):
        response.headers.add("Link", link)
    return response


def _find(request: web.Request) -> tuple[Session, Viewer]:
    session = request.app[LOBBY].find(request.match_info["session"])
    return session, session.viewers.find(request.match_info["viewer"])


async def trickle(request: web.Request) -> web.Response:
    """`PATCH /whep/{session}/{viewer}`: add late candidates."""
    _, viewer = _find(request)
    if request.headers.get("If-Match", viewer.etag) not in (viewer.etag, "*"):
        raise ServiceError(412, "precondition_failed", "The ICE session is another one than If-Match names.")
    await viewer.add_candidates(parse_trickle(await read_body(request, FRAGMENT)))
    return web.Response(status=204, headers={"ETag": viewer.etag})


async def leave(request: web.Request) -> web.Response:
    """`DELETE /whep/{session}/{viewer}`: stop watching."""
    session, viewer = _find(request)
    session.viewers.end(viewer)
    return web.Response(status=200)


ROUTES = [
    web.post("/whep/{session}", watch),
    web.patch("/whep/{session}/{viewer}", trickle),
    web.delete("/whep/{session}/{viewer}", leave),
]
