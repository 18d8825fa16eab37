"""A finished recording on its way to the disk of the person who made it."""

from __future__ import annotations

from aiohttp import web

from streamer.errors import ServiceError
from streamer.keys import RECORDINGS

CONTENT_TYPES = {"mp4": "video/mp4", "webm": "video/webm"}


async def download(request: web.Request) -> web.StreamResponse:
    """`GET /recordings/{key}`: the complete file; 409 while it is written."""
    recording, name = request.app[RECORDINGS].find(request.match_info["key"])
    status = recording.status()
    if status.state == "failed":
        raise ServiceError(500, "recording_failed", status.message)
    if status.state != "ready":
        raise ServiceError(409, "not_ready", "The recording is still being written.", retry_after_s=1)
    headers = {"Content-Type": CONTENT_TYPES[recording.kind], "Content-Disposition": f'attachment; filename="{name}"'}
    response = web.FileResponse(recording.path, headers=headers)
    if request.method == "GET":
        await response.prepare(request)
        recording.is_downloaded = True
    return response


async def remove(request: web.Request) -> web.Response:
    """`DELETE /recordings/{key}`."""
    request.app[RECORDINGS].delete(request.match_info["key"])
    return web.Response(status=200)


ROUTES = [web.get("/recordings/{key}", download), web.delete("/recordings/{key}", remove)]
