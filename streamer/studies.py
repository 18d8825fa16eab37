"""A study of believability in the page: what is shown, and what people say of it."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from reenact.study import Study, StudyError
from streamer.errors import ServiceError

CONTENT_TYPES = {".mp4": "video/mp4", ".webm": "video/webm"}
MAX_ANSWER_BYTES = 4096

RECORDING = asyncio.Lock()
"""Answers are written one after another: each looks at those before it."""


async def _open(request: web.Request) -> Study:
    try:
        return await asyncio.to_thread(Study.open, request.match_info["name"])
    except StudyError as error:
        raise ServiceError(404, "not_found", str(error)) from error


async def describe(request: web.Request) -> web.Response:
    """`GET /api/studies/{name}?person=...`: the question, and this person's trials in order; not which clip is real."""
    study, person = await _open(request), request.query.get("person", "")
    if not 1 <= len(person) <= 64:
        raise ServiceError(400, "bad_request", "person: expected 16 hexadecimal digits.")
    return web.json_response({"kind": study.kind, "question": study.question, "trials": study.trials(person)})


async def clip(request: web.Request) -> web.FileResponse:
    """`GET /api/studies/{name}/clips/{key}`."""
    study = await _open(request)
    try:
        path = study.clip(request.match_info["key"])
    except StudyError as error:
        raise ServiceError(404, "not_found", str(error)) from error
    if not path.is_file():
        raise ServiceError(404, "not_found", "The clip is missing.")
    return web.FileResponse(path, headers={"Content-Type": CONTENT_TYPES[path.suffix]})


async def answer(request: web.Request) -> web.Response:
    """`POST /api/studies/{name}/answers`: `{"person", "trial", "value"}`."""
    study = await _open(request)
    data = await request.content.read(MAX_ANSWER_BYTES + 1)
    try:
        if len(data) > MAX_ANSWER_BYTES:
            raise StudyError("answer: too long")
        checked = study.check(json.loads(data))
    except (ValueError, RecursionError, StudyError) as error:
        raise ServiceError(400, "bad_answer", f"The answer is refused: {error}") from error
    async with RECORDING:
        try:
            await asyncio.to_thread(study.record, checked)
        except StudyError as error:
            raise ServiceError(409, "answer_refused", str(error)) from error
        except OSError as error:
            raise ServiceError(507, "disk_full", f"The answer could not be kept: {error.strerror}.") from error
    return web.Response(status=204)


ROUTES = [
    web.get("/api/studies/{name}", describe),
    web.get("/api/studies/{name}/clips/{key}", clip),
    web.post("/api/studies/{name}/answers", answer),
]
