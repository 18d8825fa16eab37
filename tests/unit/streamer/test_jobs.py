"""New targets over HTTP, the training a stand-in: consent first, all kinds of uploads, a queue that gives way."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientConnectionError
from aiohttp.test_utils import TestClient, TestServer

from streamer import enrolment
from streamer.access import Right
from streamer.app import create_app
from streamer.config import Config, ServerConfig
from streamer.errors import ServiceError
from streamer.job import Job, name_of, parse_job
from streamer.keys import JOBS, TOKENS
from tests.unit.streamer.fakes import FakeSettings, FakeTargets

Client = TestClient[Any, Any]
WANTED = {
    "title": "Nora at home", "person": "Nora Berg", "purpose": "the play", "until": "2099-12-31",
    "statement": "I agree to be shown in the play.",
}  # fmt: skip
VIDEO = b"\x00\x00\x00\x18ftypisom" + bytes(1000)
TRAINER = """
import json, os, signal, sys, time
from pathlib import Path
words = sys.argv[5:]
Path(os.environ["REENACT_PROGRESS"]).write_text('{"label": "training", "done": 1, "total": 2, "left_s": 9, "note": ""}')
if words[0] == "check":
    data = Path(words[1]).read_bytes()
    if b"BAD" in data:
        print(json.dumps({"suitable": False, "code": "dark", "reason": "Too dark.", "cure": "Lamp."}))
        sys.exit(1)
    if b"CRASH" in data:
        os.kill(os.getpid(), signal.SIGSEGV)
    print(json.dumps({"suitable": True, "seconds": 61.0}))
    sys.exit(0)
options = dict(word[2:].split("=", 1) for word in words if word.startswith("--") and "=" in word)
work = Path(options["work"]); work.mkdir(exist_ok=True)
(work / "words.json").write_text(json.dumps(words))
done = work / "steps"
count = int(done.read_text()) if done.exists() else 0
(work / "curve.jsonl").write_text('{"step": 1, "minutes": 0.1, "loss": {"photometric": 0.5}}\\n')
if os.environ.get("TRAINER_FAILS") and not count:
    done.write_text("1")
    print("reenact train: [Errno 28] No space left on device", file=sys.stderr)
    sys.exit(1)
limit = int(os.environ.get("TRAINER_STEPS", "3"))
while count < limit:
    count += 1
    time.sleep(0.05)
    done.write_text(str(count))
assert Path(options["consent"]).is_file()
Path(options["output"]).mkdir(parents=True, exist_ok=True)
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REENACT_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@contextlib.asynccontextmanager
async def serving(tmp_path: Path, *, is_live: Callable[[], bool] = lambda: False) -> AsyncIterator[Client]:
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    app = create_app(Config(settings=FakeSettings()), targets=FakeTargets(), is_preparing=False)
    app[JOBS]._command = (str(script),)
    app[JOBS]._is_live = is_live
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.fixture
async def client(tmp_path: Path, data: Path) -> AsyncIterator[Client]:
    async with serving(tmp_path) as client:
        yield client


async def make(client: Client, **changes: Any) -> dict[str, Any]:
    response = await client.post("/api/jobs", json=WANTED | changes)
    assert response.status == 201, await response.text()
    return dict(await response.json())


async def code_of(response: Any) -> tuple[int, str]:
    error = (await response.json())["error"]
    assert error["message"].endswith(".")
    return response.status, error["code"]


async def until(client: Client, job: dict[str, Any], *states: str) -> dict[str, Any]:
    for _ in range(200):
        entry = dict(await (await client.get(f"/api/jobs/{job['id']}")).json())
        if entry["state"] in states:
            return entry
        await asyncio.sleep(0.05)
    raise AssertionError(f"the job stays {entry}")


def left(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "enrolment").iterdir() if path.name != "lock")


async def test_a_target_is_trained_from_a_video_with_consent(client: Client, data: Path) -> None:
    job = await make(client)
    assert (job["state"], job["name"], job["has_consent"]) == ("waiting", "nora-at-home", True)
    response = await client.put(f"/api/jobs/{job['id']}/video", data=VIDEO)
    assert response.status == 202
    assert (await response.json())["found"] == {"seconds": 61.0}
    entry = await until(client, job, "finished")
    assert entry["curve"] == [{"step": 1, "minutes": 0.1, "loss": {"photometric": 0.5}}]
    assert (data / "actors" / "nora-at-home.actor").is_dir()
    assert sorted(path.name for path in (data / "enrolment" / job["id"] / "work").iterdir()) == ["curve.jsonl"]
    assert (data / "enrolment" / job["id"] / "statement.txt").read_text() == WANTED["statement"]
    assert [entry["id"] for entry in (await (await client.get("/api/jobs")).json())["jobs"]] == [job["id"]]
    assert (await client.delete(f"/api/jobs/{job['id']}")).status == 200
    assert left(data) == []
    assert (data / "actors" / "nora-at-home.actor").is_dir()


async def test_no_video_is_taken_without_consent(client: Client, data: Path) -> None:
    for changes, code in (
        ({"statement": ""}, "consent_missing"),
        ({"statement": "x", "is_spoken": True}, "consent_missing"),
        ({"person": " "}, "bad_job"),
        ({"until": "2001-01-01"}, "bad_job"),
        ({"until": "soon"}, "bad_job"),
        ({"purpose": "x" * 301}, "bad_job"),
        ({"minutes": 10_000}, "bad_job"),
        ({"minutes": True}, "bad_job"),
        ({"resolution": 100}, "bad_job"),
        ({"title": "a\nb"}, "bad_job"),
        ({"statement": "\ud800"}, "bad_job"),
        ({"output": "/etc/passwd"}, "bad_job"),
    ):
        assert await code_of(await client.post("/api/jobs", json=WANTED | changes)) == (400, code), changes
    assert await code_of(await client.post("/api/jobs", data=b"[" * 20_000)) == (400, "bad_job")
    assert left(data) == []
    job = await make(client, statement="", is_spoken=True)
    assert await code_of(await client.put(f"/api/jobs/{job['id']}/video", data=VIDEO)) == (409, "consent_missing")
    assert await code_of(await client.put(f"/api/jobs/{job['id']}/statement", data=b"text" * 9)) == (415, "not_a_video")
    assert (await client.put(f"/api/jobs/{job['id']}/statement", data=VIDEO)).status == 200
    assert (await client.put(f"/api/jobs/{job['id']}/video", data=VIDEO)).status == 202
    await until(client, job, "finished")
    (kept,) = (data / "consent").iterdir()
    assert kept.read_bytes() == VIDEO
    assert kept.stem == hashlib.sha256(VIDEO).hexdigest()


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"PK\x03\x04" + bytes(500), {}, (415, "not_a_video")),
        (b"<html>", {"Content-Type": "video/mp4"}, (415, "not_a_video")),
        (b"", {}, (415, "not_a_video")),
        (gzip.compress(VIDEO + bytes(10_000_000)), {"Content-Encoding": "gzip"}, (415, "encoded")),
        (VIDEO + bytes(900_000), {}, (413, "too_large")),
        (VIDEO + b"BAD", {"Content-Disposition": 'attachment; filename="../../x.mp4"'}, (422, "dark")),
        (VIDEO + b"CRASH", {}, (422, "unreadable")),
    ],
)
async def test_a_hostile_upload_leaves_no_file(
    body: bytes, headers: dict[str, str], expected: tuple[int, str], client: Client, data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(enrolment, "MAX_VIDEO_BYTES", 600_000)
    job = await make(client)
    response = await client.put(f"/api/jobs/{job['id']}/video", data=body, headers=headers)
    assert await code_of(response) == expected
    folder = data / "enrolment" / job["id"]
    assert not folder.exists() or [path.name for path in folder.iterdir()] == ["job.json"]
    entry = await (await client.get(f"/api/jobs/{job['id']}")).json()
    assert entry["state"] == ("refused" if expected[0] == 422 else "waiting")


async def test_an_endless_upload_is_cut_at_its_bound_and_a_cut_one_leaves_nothing(
    client: Client, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolment, "MAX_VIDEO_BYTES", 2_000_000)

    async def endless() -> AsyncIterator[bytes]:
        yield VIDEO
        while True:
            yield bytes(100_000)

    job = await make(client)
    address = f"/api/jobs/{job['id']}/video"
    with contextlib.suppress(ClientConnectionError):
        assert await code_of(await client.put(address, data=endless())) == (413, "too_large")
    _, writer = await asyncio.open_connection(client.host, client.port)
    head = f"PUT {address} HTTP/1.1\r\nHost: {client.host}:{client.port}\r\nContent-Length: 90000\r\n\r\n"
    writer.write(head.encode() + VIDEO)
    await writer.drain()
    folder = data / "enrolment" / job["id"]
    for _ in range(100):
        if (folder / "video.part").exists():
            break
        await asyncio.sleep(0.02)
    assert (folder / "video.part").exists()
    assert await code_of(await client.put(address, data=VIDEO)) == (409, "under_way")
    writer.close()
    for _ in range(100):
        if not (folder / "video.part").exists():
            break
        await asyncio.sleep(0.02)
    assert [path.name for path in folder.iterdir()] == ["job.json"]
    assert (await client.put(address, data=VIDEO)).status == 202


async def test_a_job_that_goes_while_its_video_comes_is_told_so(
    client: Client, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = await make(client)
    received = enrolment.receive

    async def receive(*words: Any) -> Path:
        path = await received(*words)
        await client.delete(f"/api/jobs/{job['id']}")
        return path

    monkeypatch.setattr(enrolment, "receive", receive)
    assert await code_of(await client.put(f"/api/jobs/{job['id']}/video", data=VIDEO)) == (409, "removed")
    assert left(data) == []
    assert "Traceback" not in caplog.text


async def test_a_process_that_cannot_be_started_is_told(
    client: Client, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    job = await make(client)
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "create_subprocess_exec", refuse)
        assert await code_of(await client.put(f"/api/jobs/{job['id']}/video", data=VIDEO)) == (503, "check_failed")
    assert (await client.put(f"/api/jobs/{job['id']}/video", data=VIDEO)).status == 202


async def test_a_full_disk_is_told(client: Client, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await make(client)
    monkeypatch.setattr(enrolment, "FREE_BYTES", 1 << 60)
    assert await code_of(await client.put(f"/api/jobs/{job['id']}/video", data=VIDEO)) == (507, "disk_full")
    assert [path.name for path in (data / "enrolment" / job["id"]).iterdir()] == ["job.json"]


async def test_names_are_no_paths(client: Client) -> None:
    for path in ("/api/jobs/..%2f..%2fetc", "/api/jobs/%2e%2e", "/api/jobs/lock", "/api/jobs/x/grid.png"):
        assert (await client.get(path)).status == 404
    job = await make(client, title="../../etc/passwd; rm -rf")
    assert job["name"] == "etc-passwd-rm-rf"
    assert (await make(client, title="Ünïcode 😀"))["name"] == "unicode"
    assert (await make(client, title="日本"))["name"] == "target"
    assert (await make(client, title="milo"))["name"] == "milo-2"
    assert name_of("a" * 90, {"a" * 48}) == "a" * 48 + "-2"


async def test_words_that_look_like_options_stay_words(
    client: Client, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINER_STEPS", "40")
    job = await make(client, title="--nobody", person="--json", purpose="--work=/tmp/x", statement="/etc/passwd")
    assert (await client.put(f"/api/jobs/{job['id']}/video", data=VIDEO)).status == 202
    await until(client, job, "training")
    folder = data / "enrolment" / job["id"]
    for _ in range(100):
        if (folder / "work" / "words.json").exists():
            break
        await asyncio.sleep(0.05)
    words = json.loads((folder / "work" / "words.json").read_text())
    assert "--nobody" not in words
    assert {"--title=--nobody", "--person=--json", "--purpose=--work=/tmp/x"} <= set(words)
    assert f"--consent={folder / 'statement.txt'}" in words
    assert (folder / "statement.txt").read_text() == "/etc/passwd"


async def test_a_failed_training_goes_on(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_FAILS", "1")
    job = await make(client)
    await client.put(f"/api/jobs/{job['id']}/video", data=VIDEO)
    entry = await until(client, job, "failed")
    assert "No space left on device" in entry["reason"]
    assert (await client.post(f"/api/jobs/{job['id']}/retry")).status == 200
    await until(client, job, "finished")
    assert await code_of(await client.post(f"/api/jobs/{job['id']}/retry")) == (409, "not_failed")


async def test_jobs_wait_for_each_other_and_are_cancelled(
    client: Client, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINER_STEPS", "10000")
    first, second = await make(client), await make(client, title="Second")
    for job in (first, second):
        await client.put(f"/api/jobs/{job['id']}/video", data=VIDEO)
    await until(client, first, "training")
    assert (await until(client, second, "queued"))["progress"] is None
    monkeypatch.setenv("TRAINER_STEPS", "2")
    assert (await client.delete(f"/api/jobs/{first['id']}")).status == 200
    await until(client, second, "finished")
    assert left(data) == [second["id"]]
    assert not (data / "actors" / "nora-at-home.actor").exists()


async def test_a_live_session_stops_the_training(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINER_STEPS", "10000")
    live = False
    monkeypatch.setattr("streamer.jobs.RESUME_S", 0.5)
    async with serving(tmp_path, is_live=lambda: live) as client:
        job = await make(client)
        await client.put(f"/api/jobs/{job['id']}/video", data=VIDEO)
        await until(client, job, "training")
        steps = data / "enrolment" / job["id"] / "work" / "steps"
        for _ in range(100):
            if steps.exists():
                break
            await asyncio.sleep(0.05)
        live = True
        await asyncio.sleep(0.6)
        assert (await (await client.get(f"/api/jobs/{job['id']}")).json())["is_paused"]
        before = steps.read_text()
        await asyncio.sleep(0.4)
        assert steps.read_text() == before
        live = False
        for _ in range(100):
            if steps.read_text() != before:
                break
            await asyncio.sleep(0.05)
        assert steps.read_text() != before


async def test_the_next_server_goes_on_and_another_one_stays_out(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINER_STEPS", "10000")
    async with serving(tmp_path) as client:
        job, waiting = await make(client), await make(client, title="Never sent")
        await client.put(f"/api/jobs/{job['id']}/video", data=VIDEO)
        await until(client, job, "training")
        async with serving(tmp_path) as second:
            assert await code_of(await second.post("/api/jobs", json=WANTED)) == (503, "queue_taken")
    assert Job.load(data / "enrolment" / job["id"]).state == "training"
    (data / "enrolment" / "damaged").mkdir()
    (data / "enrolment" / "damaged" / "job.json").write_text("{")
    monkeypatch.setenv("TRAINER_STEPS", "3")
    async with serving(tmp_path) as client:
        await until(client, job, "finished")
        assert (await client.get(f"/api/jobs/{waiting['id']}")).status == 404
    assert left(data) == [job["id"]]


def has_ended(pid: int) -> bool:
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


async def test_a_child_ends_with_its_parent_whatever_ends_that(tmp_path: Path) -> None:
    """The parent is killed; its child, stopped at that, must not stay behind."""
    sleeper = (
        "import time, sys; from streamer.child import bind_to, step_back; bind_to(int(sys.argv[1])); step_back();"
        "print('up', flush=True); time.sleep(60)"
    )
    program = f"""
import os, subprocess, sys, time, signal
words = [sys.executable, "-c", {sleeper!r}, str(os.getpid())]
child = subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
os.kill(child.pid, signal.SIGSTOP)
print(child.pid, os.sched_getscheduler(child.pid) == os.SCHED_IDLE, flush=True)
time.sleep(60)
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    pid, is_idle = (await asyncio.wait_for(parent.stdout.readline(), 20)).split()
    assert is_idle == b"True"
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    for _ in range(100):
        if has_ended(int(pid)):
            return
        await asyncio.sleep(0.05)
    os.kill(int(pid), signal.SIGKILL)
    raise AssertionError("the child outlives its parent")


async def test_only_an_administrator_may(tmp_path: Path, data: Path) -> None:
    config = Config(settings=FakeSettings(), server=ServerConfig(access="token"))
    app = create_app(config, targets=FakeTargets(), is_preparing=False)
    async with TestClient(TestServer(app)) as client:
        for right, status in ((Right.VIEWER, 403), (Right.SOURCE, 200), (Right.ADMIN, 200)):
            headers = {"Authorization": f"Bearer {app[TOKENS].make(right)[1]}"}
            answer = await client.get("/api/jobs", headers=headers)
            assert answer.status == status
            if status == 200:
                assert (await answer.json())["is_allowed"] == (right == Right.ADMIN)
            made = await client.post("/api/jobs", json=WANTED, headers=headers)
            assert made.status == (201 if right == Right.ADMIN else 403)
            if right == Right.SOURCE:
                assert (await client.put("/api/jobs/x/video", data=VIDEO, headers=headers)).status == 403


def test_a_job_says_which_field_is_wrong() -> None:
    with pytest.raises(ServiceError, match="'person' is missing"):
        parse_job({name: value for name, value in WANTED.items() if name != "person"}, (), 0.0)
    with pytest.raises(ServiceError, match="'folder' is no field"):
        parse_job(WANTED | {"folder": "x"}, (), 0.0)
