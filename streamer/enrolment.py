"""`/api/jobs`: make a target of a person who consents. First their consent, then their video; then it trains."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path
from typing import IO

from aiohttp import web

from capture.containers import HEAD_BYTES, container_of
from capture.coverage import AIMS
from capture.suitability import Bounds
from reenact.journal import GRID
from streamer.access import Right, check_right
from streamer.errors import ServiceError
from streamer.guard import TOKEN
from streamer.job import MINUTES, RESOLUTIONS, Job, bad
from streamer.jobs import full
from streamer.keys import JOBS

MAX_VIDEO_BYTES = 1 << 30
MAX_STATEMENT_BYTES = 64 << 20
FREE_BYTES = 1 << 30
"""What an upload leaves free on the disk, for the training and for everybody else."""
CHUNK_S = 30.0
"""Time for the next piece of an upload."""
CHUNK_BYTES = 1 << 18


async def index(request: web.Request) -> web.Response:
    """`GET /api/jobs`; to who may not make any: just that."""
    if request[TOKEN].right < Right.ADMIN:
        return web.json_response({"is_allowed": False, "jobs": []})
    jobs = request.app[JOBS]
    entries = await asyncio.to_thread(lambda: [jobs.describe(job) for job in jobs.all])
    bounds = Bounds()
    limits = {
        "video_bytes": MAX_VIDEO_BYTES, "statement_bytes": MAX_STATEMENT_BYTES, "min_s": bounds.min_s,
        "good_s": bounds.good_s, "max_s": bounds.max_s, "minutes": MINUTES, "resolutions": RESOLUTIONS,
    }  # fmt: skip
    aims = {name: {"group": aim.group, "seconds": aim.seconds} for name, aim in AIMS.items()}
    return web.json_response({"is_allowed": True, "jobs": entries, "limits": limits, "aims": aims})


async def create(request: web.Request) -> web.Response:
    """`POST /api/jobs`: title, consent and wishes as JSON; the answer says where the video goes."""
    check_right(request[TOKEN], Right.ADMIN)
    if request.content_length is None or request.content_length > 32_768:
        raise bad("Expected a JSON object of at most 32 KiB.")
    try:
        values = await request.json()
    except (ValueError, RecursionError) as error:
        raise bad("The body is not JSON.") from error
    jobs = request.app[JOBS]
    job = jobs.add(values)
    return web.json_response(jobs.describe(job), status=201, headers={"Location": f"/api/jobs/{job.id}"})


async def show(request: web.Request) -> web.Response:
    """`GET /api/jobs/{job}`: how far it is, with its curve."""
    jobs = request.app[JOBS]
    job = jobs.find(request.match_info["job"])
    return web.json_response(await asyncio.to_thread(lambda: jobs.describe(job, is_whole=True)))


async def grid(request: web.Request) -> web.FileResponse:
    """`GET /api/jobs/{job}/grid.png`: the newest pictures: truth, output, and error four times."""
    jobs = request.app[JOBS]
    path = jobs.folder(jobs.find(request.match_info["job"])) / "work" / GRID
    if not path.is_file():
        raise ServiceError(404, "not_found", "There are no pictures yet.")
    return web.FileResponse(path, headers={"Content-Type": "image/png"})


async def put_statement(request: web.Request) -> web.Response:
    """`PUT /api/jobs/{job}/statement`: the recording of a spoken consent."""
    jobs = request.app[JOBS]
    job = _waiting(request)
    if not job.is_spoken:
        raise ServiceError(409, "not_spoken", "This job's consent is in writing.")
    job.spoken = (await receive(request, jobs.folder(job), "statement", MAX_STATEMENT_BYTES)).name
    return web.json_response(jobs.describe(job))


async def put_video(request: web.Request) -> web.Response:
    """`PUT /api/jobs/{job}/video`: the file itself. Answers once it was looked at: 202, or 422 with what is wrong."""
    jobs = request.app[JOBS]
    job = _waiting(request)
    if not job.has_consent:
        raise ServiceError(409, "consent_missing", "The spoken consent comes first: no video is taken without it.")
    job.video = (await receive(request, jobs.folder(job), "video", MAX_VIDEO_BYTES)).name
    if job.state != "waiting":
        raise ServiceError(409, "not_waiting", "Another video came first.")
    await jobs.check(job)
    return web.json_response(jobs.describe(job), status=202)


async def retry(request: web.Request) -> web.Response:
    """`POST /api/jobs/{job}/retry`: go on with a failed job."""
    jobs = request.app[JOBS]
    job = jobs.find(request.match_info["job"])
    jobs.retry(job)
    return web.json_response(jobs.describe(job))


async def remove(request: web.Request) -> web.Response:
    """`DELETE /api/jobs/{job}`: end it and erase its video; a finished actor stays."""
    jobs = request.app[JOBS]
    jobs.remove(jobs.find(request.match_info["job"]))
    return web.Response(status=200)


def _waiting(request: web.Request) -> Job:
    job = request.app[JOBS].find(request.match_info["job"])
    if job.state != "waiting":
        raise ServiceError(409, "not_waiting", f"This job waits for nothing: it is {job.state}.")
    return job


async def receive(request: web.Request, folder: Path, stem: str, most: int) -> Path:
    """Stream a body into `folder` under a name of our own; raise `ServiceError`, with nothing left behind.

    Refused: what is too large (413), no video by its first bytes (415), too slow (408), more than the disk holds (507).
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ServiceError(415, "encoded", "Send the file as it is, without compression.")
    _check_room(request.content_length or 0, most, folder)
    part = folder / f"{stem}.part"
    try:
        file = part.open("xb")
    except FileExistsError:
        raise ServiceError(409, "under_way", "An upload of it is under way already.") from None
    except OSError as error:
        raise full(error) from error
    try:
        with file:
            kind = await _write(request, file, most, folder)
        path = folder / f"{stem}.{kind}"
        part.replace(path)
        return path
    except OSError as error:
        if isinstance(error, ConnectionError):
            raise ServiceError(400, "cut_off", "The upload was cut off.") from error
        raise full(error) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


async def _write(request: web.Request, file: IO[bytes], most: int, folder: Path) -> str:
    head, size = b"", 0
    while True:
        try:
            async with asyncio.timeout(CHUNK_S):
                chunk = await request.content.read(CHUNK_BYTES)
        except TimeoutError as error:
            raise ServiceError(408, "too_slow", f"Nothing came for {CHUNK_S:g} s.") from error
        if not chunk:
            break
        if len(head) < HEAD_BYTES:
            head += chunk[: HEAD_BYTES - len(head)]
            if len(head) == HEAD_BYTES and container_of(head) is None:
                raise _no_video()
        size += len(chunk)
        _check_room(size, most, folder)
        await asyncio.to_thread(file.write, chunk)
    kind = container_of(head)
    if kind is None:
        raise _no_video()
    return kind


def _no_video() -> ServiceError:
    return ServiceError(
        415, "not_a_video", "This is no video: send an MP4, MOV, WebM or MKV file, whatever its name says."
    )


def _check_room(size: int, most: int, folder: Path) -> None:
    if size > most:
        raise ServiceError(413, "too_large", f"The file is larger than {most >> 20} MiB: cut a minute out of it.")
    with contextlib.suppress(OSError):
        if shutil.disk_usage(folder).free - size < FREE_BYTES:
            raise ServiceError(507, "disk_full", "The server's disk has no room for it.")


ROUTES = [
    web.get("/api/jobs", index),
    web.post("/api/jobs", create),
    web.get("/api/jobs/{job}", show),
    web.delete("/api/jobs/{job}", remove),
    web.get("/api/jobs/{job}/grid.png", grid),
    web.put("/api/jobs/{job}/statement", put_statement),
    web.put("/api/jobs/{job}/video", put_video),
    web.post("/api/jobs/{job}/retry", retry),
]
