"""New targets: a queue of one, in processes of their own, that gives way to every live session and outlives the server.

Everything of a job lies in `enrolment/ID/` of the data folder: `job.json`, the video, the spoken statement, and `work/`
with the training's checkpoint, curves and pictures. Each file is written whole or not at all, so that after any end the
next server goes on from the last checkpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from capture.progress import FILE_VARIABLE
from reenact.actor import actor_paths
from reenact.journal import GRID, read_curve
from reenact.signing import data_folder
from streamer.errors import ServiceError
from streamer.job import Job, parse_job

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
LOOK_S = 0.25
"""How often it is looked whether a session is live and whether the process goes on."""
RESUME_S = 3.0
"""A training that was stopped for a session goes on this long after the last one."""
STOP_S = 8.0
"""Time for a training to write its checkpoint when the server ends; then it is killed, which costs a minute."""
CHECK_S = 300.0
CHECK_MIB, CHECK_CPU_S = 8192, 240
"""What the check of a video, which nobody has looked at before, may take."""
MAX_JOBS = 32
MAX_ANSWER_BYTES = 1 << 16
WAITING_S = 3600.0
"""A job whose video does not come is forgotten after this."""
KEPT = ("tensorboard", "curve.jsonl", GRID)
"""What is kept of a training that has finished."""


class Jobs:
    """All jobs of this machine; one server at a time has them. All methods run on the event loop."""

    def __init__(self, is_live: Callable[[], bool], *, command: tuple[str, ...] = ("-m", "streamer.child")) -> None:
        """Give way while `is_live()`. `command` is what Python runs, before the server's own number and the rest."""
        self._is_live = is_live
        self._command = command
        self._folder = data_folder() / "enrolment"
        self._jobs: dict[str, Job] = {}
        self._wake = asyncio.Event()
        self._lock: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._running: Job | None = None
        self._is_paused = False
        self._checks: set[asyncio.Task[Any]] = set()

    # What there is

    def open(self) -> bool:
        """Take the jobs of this machine over, unless another server has them."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(self._folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            logger.warning("no targets can be trained here: %s", error)
            return False
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            self._lock = None
            return False
        for folder in sorted(self._folder.iterdir()):
            if folder.is_dir():
                self._take_over(folder)
        self._wake.set()
        return True

    def _take_over(self, folder: Path) -> None:
        """Go on with a job as the last server left it; what never got as far as a video is forgotten."""
        try:
            job = Job.load(folder)
        except (OSError, ValueError, TypeError) as error:
            logger.warning("%s is no job: %s", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
            return
        if job.state in ("waiting", "checking"):
            shutil.rmtree(folder, ignore_errors=True)
            return
        if job.state == "training":
            job.state = "queued"
        self._jobs[job.id] = job

    @property
    def all(self) -> list[Job]:
        """Every job, the oldest first."""
        return sorted(self._jobs.values(), key=lambda job: job.created_s)

    def find(self, job_id: str) -> Job:
        """Return a job; raise `ServiceError` `not_found` (404)."""
        if job_id not in self._jobs:
            raise ServiceError(404, "not_found", "There is no such job; it may have been removed.")
        return self._jobs[job_id]

    def folder(self, job: Job) -> Path:
        """Give the folder of a job."""
        return self._folder / job.id

    def describe(self, job: Job, *, is_whole: bool = False) -> dict[str, Any]:
        """Give what a page shows of a job; with its curve where it `is_whole`. Reads files."""
        work = self.folder(job) / "work"
        entry: dict[str, Any] = {
            name: getattr(job, name)
            for name in ("id", "name", "title", "person", "purpose", "until", "state", "minutes", "resolution", "code",
                         "reason", "cure", "found")
        }  # fmt: skip
        entry["has_consent"] = job.has_consent
        entry["is_paused"] = job is self._running and self._is_paused
        entry["progress"] = None
        if job.state in ("training", "checking"):
            with contextlib.suppress(OSError, ValueError):
                entry["progress"] = json.loads((self.folder(job) / "progress.json").read_text())
        with contextlib.suppress(OSError):
            stamp = (work / GRID).stat().st_mtime_ns
            entry["grid"] = f"/api/jobs/{job.id}/grid.png?{stamp}"
        if is_whole:
            entry["curve"] = read_curve(work)
        return entry

    # What is asked for

    def add(self, values: object) -> Job:
        """Make a job; raise `ServiceError`."""
        if self._lock is None:
            raise ServiceError(503, "queue_taken", "Another server on this machine trains targets: use that one.")
        now_s = time.time()
        for job in self.all:
            if job.state == "waiting" and now_s - job.created_s > WAITING_S:
                self._forget(job)
        if len(self._jobs) >= MAX_JOBS:
            raise ServiceError(409, "too_many_jobs", f"There are {MAX_JOBS} jobs already: remove one first.")
        job = parse_job(values, {*actor_paths(), *(job.name for job in self.all)}, now_s)
        try:
            self.folder(job).mkdir(mode=0o700)
            job.save(self.folder(job))
        except OSError as error:
            shutil.rmtree(self.folder(job), ignore_errors=True)
            raise full(error) from error
        self._jobs[job.id] = job
        return job

    async def check(self, job: Job) -> None:
        """Check the video of a job in a process of its own, and queue it; raise `ServiceError` (422) with the reason.

        What was refused leaves nothing on the disk.
        """
        if job.id not in self._jobs:  # while its video came
            raise _removed()
        job.state = "checking"
        self._keep(job)
        task = asyncio.ensure_future(self._look_at(job))
        self._checks.add(task)
        try:
            answer = await task
        except asyncio.CancelledError:
            raise _removed() from None
        except OSError as error:  # no process could be started
            job.state = "waiting"
            raise (_busy(error) if job.id in self._jobs else _removed()) from error
        finally:
            self._checks.discard(task)
        if job.id not in self._jobs:
            raise _removed()
        if not answer.get("suitable"):
            job.state, job.code = "refused", str(answer.get("code", "unreadable"))
            job.reason = str(answer.get("reason", "The video could not be read."))
            job.cure = str(answer.get("cure", "Send an MP4, MOV, WebM or MKV file."))
            shutil.rmtree(self.folder(job), ignore_errors=True)
            raise ServiceError(422, job.code, f"{job.reason} {job.cure}")
        job.found = {name: value for name, value in answer.items() if name != "suitable"}
        job.state = "queued"
        self._keep(job)
        self._wake.set()

    async def _look_at(self, job: Job) -> dict[str, Any]:
        """Run `reenact check`; whatever comes of it, an answer."""
        manner = "idle" if self._is_live() else "nice"  # somebody waits for it
        video = str(self.folder(job) / job.video)
        process = await self._start(job, manner, CHECK_MIB, CHECK_CPU_S, "check", video, "--json")
        assert process.stdout is not None
        try:
            async with asyncio.timeout(CHECK_S):
                output = await process.stdout.read(MAX_ANSWER_BYTES)
                await process.wait()
            answer = json.loads(output.splitlines()[-1])
            return answer if isinstance(answer, dict) else {}
        except (TimeoutError, ValueError, IndexError):
            logger.warning("the check of a video ended with %s and no answer", process.returncode)
            return {}
        finally:
            _kill(process)

    async def _start(
        self, job: Job, manner: str, memory_mib: int, cpu_s: int, *words: str
    ) -> asyncio.subprocess.Process:
        environment = {**os.environ, FILE_VARIABLE: str(self.folder(job) / "progress.json")}
        with (self.folder(job) / "log.txt").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, *self._command, str(os.getpid()), manner, str(memory_mib), str(cpu_s), *words,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log, env=environment,
                cwd=ROOT, start_new_session=True,
            )  # fmt: skip

    def retry(self, job: Job) -> None:
        """Queue a failed job again: it goes on from its last checkpoint. Raises `ServiceError` (409)."""
        if job.state != "failed":
            raise ServiceError(409, "not_failed", f"The job is {job.state}; only a failed one can be gone on with.")
        job.state, job.code, job.reason, job.cure = "queued", "", "", ""
        self._keep(job)
        self._wake.set()

    def remove(self, job: Job) -> None:
        """End a job and erase everything of it but an actor that is finished."""
        if job is self._running and self._process is not None:
            _kill(self._process)
        self._forget(job)

    def _forget(self, job: Job) -> None:
        self._jobs.pop(job.id, None)
        shutil.rmtree(self.folder(job), ignore_errors=True)

    def _keep(self, job: Job) -> None:
        """Write a job's state down; a full disk must not end what goes on in memory."""
        try:
            job.save(self.folder(job))
        except OSError as error:
            logger.error("the state of a job could not be written: %s", error)

    # The queue

    async def run(self) -> None:
        """Train one job after the other until cancelled."""
        while True:
            job = next((job for job in self.all if job.state == "queued"), None)
            if job is None or self._is_live():
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), LOOK_S * 4 if job else None)
                continue
            try:
                await self._train(job)
            except OSError as error:
                self._fail(job, "start", f"The training could not be started: {error}.")

    async def _train(self, job: Job) -> None:
        folder, actor = self.folder(job), data_folder() / "actors" / f"{job.name}.actor"
        words = ["train", str(folder / job.video), f"--output={actor}", f"--work={folder / 'work'}"]
        words += [f"--title={job.title}", f"--person={job.person}", f"--purpose={job.purpose}", f"--until={job.until}"]
        words += [f"--minutes={job.minutes}", f"--resolution={job.resolution}", "--json"]
        words += ["--unchecked"]  # it has been
        words += [f"--consent={self._statement(job)}"]
        job.state, self._running, self._is_paused = "training", job, False
        (folder / "progress.json").unlink(missing_ok=True)
        self._keep(job)
        self._process = process = await self._start(job, "idle", 0, 0, *words)
        logger.info("training of %s begins", job.name)
        try:
            await self._attend(process)
        finally:
            if process.returncode is None:
                await _end(process)
            self._process = self._running = None
        if job.id not in self._jobs:
            return
        if process.returncode == 0:
            self._finish(job)
        else:
            self._fail(job, "training", _last_words(folder / "log.txt", process.returncode))

    def _statement(self, job: Job) -> Path:
        """Give the file of the statement: words are written into one, for a text might be the name of another file."""
        folder = self.folder(job)
        if job.is_spoken:
            return folder / job.spoken
        path = folder / "statement.txt"
        path.write_text(job.statement, encoding="utf-8")
        return path

    async def _attend(self, process: asyncio.subprocess.Process) -> None:
        """Wait for the process, and stop it while a session is live."""
        assert process.stdout is not None
        reading = asyncio.create_task(process.stdout.read(MAX_ANSWER_BYTES))
        ending = asyncio.create_task(process.wait())
        seen_s = -RESUME_S
        try:
            while not ending.done():
                now_s = time.monotonic()
                if self._is_live():
                    seen_s = now_s
                is_paused = now_s - seen_s < RESUME_S
                if is_paused != self._is_paused:
                    self._is_paused = is_paused
                    _signal(process, signal.SIGSTOP if is_paused else signal.SIGCONT)
                await asyncio.wait([ending], timeout=LOOK_S)
        finally:
            reading.cancel()
            ending.cancel()

    def _finish(self, job: Job) -> None:
        folder = self.folder(job)
        job.state = "finished"
        if job.is_spoken:
            self._keep_spoken(folder / job.spoken)
        for path in (folder / "work").iterdir():
            if path.name not in KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._keep(job)
        logger.info("the target %s is ready", job.name)

    def _keep_spoken(self, path: Path) -> None:
        """Keep what was said, under the hash that the package names it by."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        kept = data_folder() / "consent"
        kept.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(path, kept / f"{digest}{path.suffix}.part")
        (kept / f"{digest}{path.suffix}.part").replace(kept / f"{digest}{path.suffix}")

    def _fail(self, job: Job, code: str, reason: str) -> None:
        job.state, job.code, job.reason = "failed", code, reason
        job.cure = "Go on takes it up where it stood."
        self._keep(job)
        logger.error("the training of %s failed: %s", job.name, reason)

    async def shut(self) -> None:
        """Let a training write its checkpoint and end; the next server goes on with it."""
        for task in self._checks:
            task.cancel()
        if self._process is not None:
            await _end(self._process)
        if self._lock is not None:
            os.close(self._lock)


def full(error: OSError) -> ServiceError:
    """Make the error for a disk that takes no more."""
    return ServiceError(507, "disk_full", f"The server cannot keep it: {error.strerror or error}.")


def _busy(error: OSError) -> ServiceError:
    reason = error.strerror or error
    return ServiceError(503, "check_failed", f"The video cannot be checked just now: {reason}.", retry_after_s=30)


def _removed() -> ServiceError:
    return ServiceError(409, "removed", "The job was removed.")


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    """Send a signal to a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        _signal(process, signal.SIGKILL)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Interrupt a process, that it may save; kill it where it does not end."""
    _signal(process, signal.SIGINT)
    _signal(process, signal.SIGCONT)
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        _kill(process)
        await process.wait()


def _last_words(log: Path, code: int | None) -> str:
    """Say in one sentence why a training ended."""
    if code is not None and code < 0:
        return f"The system ended the training ({signal.Signals(-code).name}); it may have run out of memory."
    with contextlib.suppress(OSError):
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("reenact train: ")]
        if lines:
            words = lines[-1].removeprefix("reenact train: ")
            return words[:1].upper() + words[1:].rstrip(".") + "."
    return f"The training ended with {code}; its log lies in {log}."
