"""Videos from strangers: what they ask for, how they send it, what is in it. Taken whole, or refused and gone."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from capture import suitability
from capture.suitability import Bounds, UnsuitableVideoError, check_video
from streamer import doorkeeper, enrolment, guard
from streamer.app import create_app
from streamer.config import Config
from streamer.doorkeeper import GuardedRunner
from streamer.errors import ServiceError
from streamer.job import Job, parse_job
from streamer.keys import JOBS
from tests.fuzz.inputs import JSON, damaged_bytes, damaged_json, inputs, nothing_leaks
from tests.unit.streamer.fakes import FakeSettings, FakeTargets

WANTED = {
    "title": "Nora at home", "person": "Nora Berg", "purpose": "the play", "until": "2099-12-31",
    "statement": "I agree to be shown in the play.", "is_spoken": False, "minutes": 20, "resolution": 256,
}  # fmt: skip
SPOKEN = WANTED | {"statement": "", "is_spoken": True}
MOST_BYTES = 20_000
BOUNDS = Bounds(min_side_px=16, min_s=0.1)
CHECKER = """
import sys
data = open(sys.argv[6], "rb").read()
bad = '{"suitable": false, "code": "dark", "reason": "Too dark.", "cure": "Lamp."}'
print('{"suitable": true, "seconds": 61}' if len(data) % 2 else bad)
"""
"""Stands for the check of a video, which takes seconds to start: the last test has it for itself."""
KINDS: tuple[tuple[str, Literal["libx264", "libvpx"], dict[str, str]], ...] = (
    ("mp4", "libx264", {}),
    ("matroska", "libvpx", {}),
    ("mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
)


@cache
def good_video(kind: int) -> bytes:
    container, codec, options = KINDS[kind]
    file = BytesIO()
    picture = np.random.default_rng(3).integers(0, 255, (4, 8, 3)).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    with av.open(file, "w", format=container, options=options) as made:
        stream = made.add_stream(codec, rate=15)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(8):
            made.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(picture, 4 * number, axis=1), format="rgb24")))
        made.mux(stream.encode(None))
    return file.getvalue()


@pytest.fixture
def no_leaks() -> Iterator[None]:
    with nothing_leaks():
        yield


@pytest.mark.usefixtures("no_leaks")
@inputs(150)
@given(values=damaged_json(WANTED) | damaged_json(SPOKEN) | JSON)
def test_what_is_asked_for_is_understood_or_refused_by_its_field(values: Any) -> None:
    try:
        job = parse_job(values, ("milo", "nora-at-home"), 1.0)
    except ServiceError as error:
        assert error.status == 400
        assert error.message.endswith(".")
    else:
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,52}", job.name)
        assert job.name not in ("milo", "nora-at-home")
        assert job.is_spoken is not bool(job.statement.strip())


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    """Read one answer, whole: the server may wait ten seconds more for what was announced and did not come."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100 "):
            head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        return head + await reader.readexactly(int(length[1]) if length else 0)
    except asyncio.IncompleteReadError as error:
        return error.partial


class Server:
    """The whole server in a loop of its own, and one raw connection after the other to it."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        patch.setenv("REENACT_DATA", str(folder / "data"))
        patch.setattr(doorkeeper, "FIRST_REQUEST_S", 0.1)
        patch.setattr(enrolment, "CHUNK_S", 0.05)  # how long half an upload holds the test up
        patch.setattr(enrolment, "MAX_VIDEO_BYTES", MOST_BYTES)
        patch.setattr(enrolment, "MAX_STATEMENT_BYTES", MOST_BYTES)
        patch.setitem(guard.REQUESTS, "burst", 1e9)
        self.app = create_app(Config(settings=FakeSettings()), targets=FakeTargets(), is_preparing=False)
        script = folder / "checker.py"
        script.write_text(CHECKER)
        self.jobs = self.app[JOBS]
        self.jobs._command = ("-I", "-S", str(script))
        self.jobs._is_live = lambda: True  # nothing is trained
        self.folder = folder / "data" / "enrolment"
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.runner = GuardedRunner(self.app, shutdown_timeout=1)
        self.port = self.loop.run_until_complete(self._start())

    async def _start(self) -> int:
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        return int(self.runner.addresses[0][1])

    def make(self, values: dict[str, Any]) -> Job:
        return self.jobs.add(values)

    def send(self, path: str, headers: list[str], body: bytes, *, is_cut: bool = False) -> bytes:
        head = "\r\n".join((f"PUT {path} HTTP/1.1", "Host: localhost", *headers, "Connection: close", "", ""))
        return self.loop.run_until_complete(asyncio.wait_for(self._send(head.encode() + body, is_cut), 60))

    async def _send(self, request: bytes, is_cut: bool) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            await writer.drain()
            if is_cut:
                writer.close()
                await self._send(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n", False)  # it has seen it by then
                return b""
            return await read_answer(reader)
        except OSError:
            return b""  # cut off while it still spoke
        finally:
            writer.close()

    def left(self) -> list[str]:
        """Give what lies in the folder of jobs once nothing is under way, but for what stands for the whole of it."""

        async def settle() -> None:
            for _ in range(400):
                if not any(path.suffix == ".part" for path in self.folder.rglob("*")):
                    return
                await asyncio.sleep(0.005)

        self.loop.run_until_complete(settle())
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.name != "lock")

    def remove_all(self) -> None:
        for job in self.jobs.all:
            self.jobs.remove(job)

    def close(self) -> None:
        self.loop.run_until_complete(self.runner.cleanup())
        self.loop.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    made = Server(monkeypatch, tmp_path)
    # What is made once, at the first request of its kind, is no leak.
    for body in (good_video(0), good_video(0) + b"x", b"no video at all"):
        job = made.make(dict(WANTED))
        made.send(f"/api/jobs/{job.id}/video", [f"Content-Length: {len(body)}"], body)
        made.remove_all()
    try:
        with nothing_leaks():
            yield made
    finally:
        made.close()


@inputs(30)
@given(data=st.data())
def test_an_upload_is_taken_whole_or_refused_and_gone(server: Server, data: st.DataObject) -> None:
    what = data.draw(st.sampled_from(("video", "video", "statement")))
    server.remove_all()
    job = server.make(dict(SPOKEN if what == "statement" else WANTED))
    body = data.draw(damaged_bytes(good_video(data.draw(st.integers(0, 1)))))
    # The head of a file decides whether it is looked at: most inputs keep it.
    if data.draw(st.booleans()):
        body = good_video(0)[:12] + body[12:]
    if data.draw(st.integers(0, 9)) == 0:
        body += bytes(MOST_BYTES)
    length = data.draw(
        st.sampled_from(("right", "right", "right", "right", "less", "more", "none", "wrong", "chunked"))
    )
    wrong = data.draw(st.sampled_from(("-1", "99999999999999", "x")))
    lengths = {
        "right": f"Content-Length: {len(body)}", "less": f"Content-Length: {len(body) // 2}",
        "more": f"Content-Length: {len(body) + 9}", "none": "X-Nothing: 1", "chunked": "Transfer-Encoding: chunked",
        "wrong": f"Content-Length: {wrong}",
    }  # fmt: skip
    if length == "chunked":
        sizes = data.draw(st.sampled_from((b"%x", b"%x;a=b", b"-%x", b"%xg")))
        body = sizes % len(body) + b"\r\n" + body + b"\r\n0\r\n\r\n"
    headers = [lengths[length]] + data.draw(
        st.lists(st.sampled_from((
            "Content-Type: video/mp4", "Content-Type: \0", "Content-Encoding: gzip", "Content-Encoding: identity",
            'Content-Disposition: attachment; filename="../../../x.mp4"', "Range: bytes=5-", "Expect: 100-continue",
        )), max_size=2)
    )  # fmt: skip
    name = data.draw(
        st.sampled_from((job.id, job.id, job.id, job.id, "..%2f..", "lock", job.id + "%00", job.id.upper()))
    )
    answer = server.send(f"/api/jobs/{name}/{what}", headers, body, is_cut=data.draw(st.integers(0, 19)) == 0)
    if answer:
        check_refusal(answer)
    left = server.left()
    assert {path.partition("/")[0] for path in left} <= {job.id}
    assert not any(path.endswith(".part") for path in left)
    taken = [path for path in left if Path(path).stem in ("video", "statement")]
    assert all(Path(path).suffix in (".mp4", ".webm", ".avi") for path in taken)
    server.remove_all()
    assert server.left() == []
    assert server.errors == []


def check_refusal(answer: bytes) -> None:
    """Look whether an answer is one: a status, and for a refusal its sentence."""
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
    assert found, answer[:200]
    assert found[1] != b"500", body
    if int(found[1]) >= 400 and b"application/json" in head:
        error = json.loads(body)["error"]
        assert error["code"]
        assert error["message"]


class NoFace:
    """Stands for the detector of faces, which sees decoded pictures and no byte of a file."""

    def __init__(self, **_: Any) -> None:
        pass

    def __enter__(self) -> NoFace:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def detect(self, _: Any) -> None:
        return None


@pytest.fixture
def no_faces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(suitability, "LandmarkDetector", NoFace)
    # What is made once, at the first video, is no leak.
    path = tmp_path / "video"
    for kind in range(len(KINDS)):
        path.write_bytes(good_video(kind))
        with pytest.raises(UnsuitableVideoError, match="No face"):
            check_video(path, BOUNDS)


@pytest.mark.usefixtures("no_faces", "no_leaks")
@inputs(40)
@given(data=st.data())
def test_a_damaged_video_is_looked_at_or_refused_with_a_cure(data: st.DataObject, tmp_path: Path) -> None:
    kind = data.draw(st.integers(0, len(KINDS) - 1))
    path = tmp_path / "video"
    path.write_bytes(data.draw(damaged_bytes(good_video(kind))))
    try:
        check_video(path, BOUNDS)
    except UnsuitableVideoError as error:
        assert error.code
        assert error.reason.endswith(".")
        assert error.cure.endswith(".")
