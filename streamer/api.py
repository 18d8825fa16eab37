"""What can be asked over HTTP beside WHIP: actors, sessions, settings, health, metrics."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from capture.mesh import mesh_edges
from reenact.face_change import LIMITS
from streamer.access import Right
from streamer.clock import NS_PER_S
from streamer.errors import ServiceError
from streamer.guard import TOKEN
from streamer.ice import as_json, ice_servers
from streamer.keys import CLOCK, CONFIG, LOBBY, METER, STARTED_NS, TARGETS, TOKENS
from streamer.metrics import prometheus_text
from streamer.presets import describe_presets
from streamer.settings import SettingsTable
from streamer.targets import unknown_actor
from streamer.version import version


def _uptime_s(app: web.Application) -> float:
    return (app[CLOCK].monotonic_ns() - app[STARTED_NS]) / NS_PER_S


async def health(request: web.Request) -> web.Response:
    """`GET /healthz`: that it runs, to everybody; how, to those who may use it."""
    if request[TOKEN].right < Right.VIEWER:
        return web.json_response({"status": "ok"})
    return web.json_response(
        {
            "status": "ok",
            "version": version(),
            "uptime_s": round(_uptime_s(request.app), 3),
            "sessions": len(request.app[LOBBY].sessions),
        }
    )


async def actors(request: web.Request) -> web.Response:
    """`GET /api/actors`."""
    cards = await asyncio.to_thread(request.app[TARGETS].cards)
    return web.json_response(
        {"actors": [card.as_json() for card in cards], "default": request.app[CONFIG].engine.actor}
    )


async def preview(request: web.Request) -> web.FileResponse:
    """`GET /api/actors/{name}/preview.webp`."""
    name = request.match_info["name"]
    cards = await asyncio.to_thread(request.app[TARGETS].cards)
    card = next((card for card in cards if card.name == name), None)
    if card is None:
        raise unknown_actor(name, [card.name for card in cards])
    if card.preview_path is None or not card.preview_path.is_file():
        raise ServiceError(404, "not_found", f"The actor {name!r} has no preview.")
    return web.FileResponse(card.preview_path, headers={"Content-Type": "image/webp"})


async def sessions(request: web.Request) -> web.Response:
    """`GET /api/sessions`."""
    return web.json_response(
        {
            "max_sessions": request.app[CONFIG].server.max_sessions,
            "sessions": [session.describe() for session in request.app[LOBBY].sessions],
        }
    )


async def list_tokens(request: web.Request) -> web.Response:
    """`GET /api/tokens`: which there are, never their secrets."""
    tokens = [{"id": token.id, "right": token.right.name.lower()} for token in request.app[TOKENS].list()]
    return web.json_response({"tokens": tokens})


async def make_token(request: web.Request) -> web.Response:
    """`POST /api/tokens` with `{"right": "viewer"}`, `source` or `admin`: make a token and its link."""
    try:
        values = await request.json()
        right = {right.name.lower(): right for right in Right if right}[values["right"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ServiceError(
            400, "bad_request", "Expected a JSON object with 'right': viewer, source or admin."
        ) from error
    token, secret = request.app[TOKENS].make(right)
    link = str(request.url.origin().with_path("/").with_query(token=secret))
    return web.json_response({"id": token.id, "right": right.name.lower(), "token": secret, "link": link}, status=201)


async def revoke_token(request: web.Request) -> web.Response:
    """`DELETE /api/tokens/{token}`: forget a token, and end every session that was opened with it."""
    token = request.app[TOKENS].revoke(request.match_info["token"])
    lobby = request.app[LOBBY]
    for session in lobby.sessions:
        session.viewers.revoke(token.id)
        if session.owner == token.id:
            lobby.end(session, "revoked")
    return web.Response(status=200)


async def settings(request: web.Request) -> web.Response:
    """`GET /api/settings`: what a new session starts with."""
    return web.json_response(
        {"settings": SettingsTable(request.app[CONFIG].settings).describe(), "presets": describe_presets()}
    )


async def mesh(_: web.Request) -> web.Response:
    """`GET /api/mesh`: the edges between the points of a tracked mesh."""
    return web.json_response({"edges": await asyncio.to_thread(mesh_edges)})


async def ice(request: web.Request) -> web.Response:
    """`GET /api/ice`: the STUN and TURN servers that a page should use, with credentials for a limited time."""
    servers = ice_servers(request.app[CONFIG].media, time.time())
    return web.json_response({"ice_servers": as_json(servers)})


async def metrics(request: web.Request) -> web.Response:
    """`GET /metrics`."""
    text = prometheus_text(
        request.app[METER],
        sessions=len(request.app[LOBBY].sessions),
        max_sessions=request.app[CONFIG].server.max_sessions,
        uptime_s=_uptime_s(request.app),
        version=version(),
        governor_step=max((session.governor.step for session in request.app[LOBBY].sessions), default=0),
    )
    return web.Response(body=text.encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def numbers(_: web.Request) -> web.Response:
    """`GET /api/numbers`: the names that move a face, and how far each may, either way."""
    return web.json_response({"limits": LIMITS})


ROUTES = [
    web.get("/healthz", health),
    web.get("/api/actors", actors),
    web.get("/api/actors/{name}/preview.webp", preview),
    web.get("/api/sessions", sessions),
    web.get("/api/tokens", list_tokens),
    web.post("/api/tokens", make_token),
    web.delete("/api/tokens/{token}", revoke_token),
    web.get("/api/settings", settings),
    web.get("/api/mesh", mesh),
    web.get("/api/numbers", numbers),
    web.get("/api/ice", ice),
    web.get("/metrics", metrics),
]
