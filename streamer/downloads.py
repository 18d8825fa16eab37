"""A finished recording on its way to the disk of the person who made it."""

from __future__ import annotations

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from streamer.errors import ServiceError
from streamer.keys import RECORDINGS
from streamer.recording import Recording

CONTENT_TYPES = {"mp4": "video/mp4", "webm": "video/webm"}


class _Download(web.FileResponse):
    """A file that is noted as taken once the whole of it has left."""

    def __init__(self, recording: Recording, headers: dict[str, str]) -> None:
        super().__init__(recording.path, headers=headers)
        self._recording = recording

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send everything; aiohttp's own `prepare` returns when it has."""
        writer = await super().prepare(request)
        self._recording.is_downloaded = self._recording.is_downloaded or request.method == "GET"
        return writer


async def download(request: web.Request) -> web.StreamResponse:
    """`GET /recordings/{key}`: the complete file; 409 while it is written."""
    recording, name = request.app[RECORDINGS].find(request.match_info["key"])
    status = recording.status()
    if status.state == "failed":
        raise ServiceError(500, "recording_failed", status.message)
    if status.state != "ready":
        raise ServiceError(409, "not_ready", "The recording is still being written.", retry_after_s=1)
    headers = {"Content-Type": CONTENT_TYPES[recording.kind], "Content-Disposition": f'attachment; filename="{name}"'}
    return _Download(recording, headers)


async def remove(request: web.Request) -> web.Response:
    """`DELETE /recordings/{key}`."""
    request.app[RECORDINGS].delete(request.match_info["key"])
    return web.Response(status=200)


ROUTES = [web.get("/recordings/{key}", download), web.delete("/recordings/{key}", remove)]
