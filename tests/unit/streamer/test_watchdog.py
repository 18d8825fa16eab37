"""What keeps the server up: threads that end or hang, memory that runs out, and the way it ends itself."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reenact.actor import ConsentError
from streamer.app import create_app
from streamer.config import Config, EngineConfig, ServerConfig
from streamer.errors import HopelessError, ServiceError
from streamer.keys import LOBBY, WATCHDOG
from streamer.limits import Bucket
from streamer.lobby import Lobby
from streamer.pipeline import MAX_RESTARTS
from streamer.serve import serve
from streamer.watchdog import MAX_STUCK, MEMORY_LOOKS, STUCK_LOOKS, Watchdog, memory_limit_mib, resident_mib
from streamer.worker import MAX_ENGINE_FAILURES
from tests.unit.streamer.fakes import FakeClock, FakeReenactor, FakeSettings, FakeTargets
from tests.unit.streamer.test_worker import Rig, until


class Watched(Rig):
    """Threads, and a watchdog that looks when it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.memory_mib = 100.0
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.lobby: Any = SimpleNamespace(is_low_on_memory=False)
        self.dog = Watchdog(
            self.workers, cast(Lobby, self.lobby), max_memory_mib=500, read_memory=lambda: self.memory_mib
        )

    def hang(self, _: Any) -> None:
        self.entered.release()
        self.gate.wait()


@pytest.fixture
def watched() -> Iterator[Watched]:
    rig = Watched()
    yield rig
    rig.gate.set()
    rig.end()


def die(_: Any) -> None:
    raise SystemExit


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_is_replaced_and_the_session_goes_on_as_it_was(watched: Watched) -> None:
    pipeline, listener = watched.pipeline(settings="a")
    watched.workers.serve(pipeline)
    assert listener.next()[0] == "engine"
    watched.turn(pipeline)
    pipeline.orders.apply("b")
    watched.turn(pipeline)
    (worker,) = watched.workers.all
    watched.dog.look()
    assert watched.workers.all == [worker]
    watched.targets.opened[0].on_process = die
    pipeline.source.put(watched.frame())
    until(lambda: worker.is_lost)
    assert watched.targets.opened[0].names()[-1] == "close"
    watched.dog.look()
    kind, (code, message) = listener.next()
    assert (kind, code) == ("refused", "engine_restarted")
    assert message == "The engine stopped working; it is being started anew."
    assert listener.next()[0] == "engine"
    watched.turn(pipeline)
    assert ("apply", "b") in watched.targets.opened[1].calls
    assert watched.workers.num_stuck == 0
    pipeline.close()


def test_a_thread_that_hangs_is_replaced_and_shows_nothing_when_it_comes_back(watched: Watched) -> None:
    pipeline, listener = watched.pipeline()
    watched.workers.serve(pipeline)
    listener.next()
    watched.turn(pipeline)
    watched.targets.opened[0].on_process = watched.hang
    (worker,) = watched.workers.all
    pipeline.source.put(watched.frame())
    assert watched.entered.acquire(timeout=5)
    for _ in range(STUCK_LOOKS["frame"]):
        watched.dog.look()
        assert watched.workers.all == [worker]
    watched.dog.look()
    assert watched.workers.all != [worker]
    assert listener.next() == ("refused", ("engine_restarted", "The engine does not answer; it is being started anew."))
    assert listener.next()[0] == "engine"
    assert watched.workers.num_stuck == 1
    generated = pipeline.meter.snapshot().frames["generated"]
    watched.gate.set()
    until(lambda: watched.workers.num_stuck == 0)
    assert pipeline.meter.snapshot().frames["generated"] == generated
    assert watched.targets.opened[0].names()[-1] == "close"
    assert watched.turn(pipeline).seq > 0
    assert not watched.dog.hopeless.is_set()
    pipeline.close()


def test_a_thread_that_waits_is_not_stuck_and_neither_is_one_that_moves(watched: Watched) -> None:
    pipeline, listener = watched.pipeline()
    watched.workers.serve(pipeline)
    listener.next()
    for _ in range(3 * STUCK_LOOKS["frame"]):
        watched.dog.look()
    (worker,) = watched.workers.all
    worker._busy = "frame"
    for _ in range(3 * STUCK_LOOKS["frame"]):
        worker._num_steps += 1
        watched.dog.look()
    assert watched.workers.all == [worker]
    pipeline.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_session_that_loses_thread_after_thread_ends(watched: Watched) -> None:
    watched.targets.on_process = die
    pipeline, listener = watched.pipeline()
    pipeline.restarts = Bucket(FakeClock(), rate=1.0, burst=MAX_RESTARTS)
    watched.workers.serve(pipeline)
    for _ in range(MAX_RESTARTS + 1):
        assert listener.next()[0] == "engine"
        pipeline.source.put(watched.frame())
        until(lambda: watched.workers.all[0].is_lost)
        watched.dog.look()
        kind, (code, message) = listener.next()
    assert (kind, code) == ("failed", "engine_failed")
    assert message == "The engine stopped working, again and again."
    assert watched.workers.all == []
    pipeline.close()


def test_too_many_stuck_threads_are_the_end_of_the_process(watched: Watched) -> None:
    watched.targets.on_process = watched.hang
    pipeline, listener = watched.pipeline()
    watched.workers.serve(pipeline)
    try:
        for _ in range(MAX_STUCK):
            assert not watched.dog.hopeless.is_set()
            assert listener.next()[0] == "engine"
            pipeline.source.put(watched.frame())
            assert watched.entered.acquire(timeout=5)
            for _ in range(STUCK_LOOKS["frame"] + 1):
                watched.dog.look()
            assert listener.next()[0] == "refused"
        assert watched.dog.hopeless.is_set()
        assert watched.dog.reason == "3 inference threads are stuck."
    finally:
        watched.gate.set()
        pipeline.close()


def test_memory_that_runs_out_turns_people_away_and_then_ends_the_process(watched: Watched) -> None:
    watched.dog.look()
    assert not watched.lobby.is_low_on_memory
    watched.memory_mib = 501
    for _ in range(MEMORY_LOOKS - 1):
        watched.dog.look()
        assert watched.lobby.is_low_on_memory
    watched.memory_mib = 499
    watched.dog.look()
    assert not watched.lobby.is_low_on_memory
    watched.memory_mib = 501
    for _ in range(MEMORY_LOOKS):
        assert not watched.dog.hopeless.is_set()
        watched.dog.look()
    assert watched.dog.reason == "501 MiB of memory are in use, and 500 are allowed."


def test_what_this_machine_tells_of_memory() -> None:
    assert 10 < resident_mib() < memory_limit_mib()


# The engine


def test_an_engine_that_fails_gives_way_to_the_next(rig: Rig) -> None:
    from reenact.engines.engine import EngineError

    def fail(_: Any) -> None:
        raise EngineError("openvino bf16 failed: out of registers")

    pipeline, listener = rig.pipeline()
    rig.workers.serve(pipeline)
    listener.next()
    (reenactor,) = rig.targets.opened
    reenactor.on_process = fail

    def mend() -> None:
        reenactor.engine_name, reenactor.engine_reason = "torch", "openvino bf16 failed while running"
        reenactor.on_process = lambda _: None

    reenactor.on_fall_back = mend
    for count in range(1, MAX_ENGINE_FAILURES + 1):
        assert "fall_back" not in reenactor.names()
        pipeline.source.put(rig.frame())
        until(lambda count=count: pipeline.meter.snapshot().dropped.get("failed", 0) == count)  # type: ignore[misc]
    kind, info = listener.next()
    assert (kind, info.engine, info.engine_reason) == ("engine", "torch", "openvino bf16 failed while running")
    kind, (code, message) = listener.next()
    assert (kind, code) == ("refused", "engine_changed")
    assert message == "The engine failed while running; torch goes on: openvino bf16 failed while running."
    rig.turn(pipeline)
    pipeline.close()


class Memory:
    """Stands for what an engine holds."""


@pytest.mark.parametrize("is_last", [False, True])
def test_what_a_failed_engine_held_is_gone_before_the_next_one_is_made(rig: Rig, is_last: bool) -> None:
    from reenact.engines.engine import EngineError

    held: list[weakref.ref[Memory]] = []

    def fail(_: Any) -> None:
        memory = Memory()  # in a frame of the error's stack
        held.append(weakref.ref(memory))
        raise EngineError("openvino bf16 failed: out of registers")

    def fall_back() -> None:
        found.append([memory() for memory in held[1:]])  # pytest keeps the first one, for its report of the log
        if is_last:
            memory = Memory()
            held.append(weakref.ref(memory))
            raise EngineError("No engine is left.")
        reenactor.on_process = lambda _: None

    def open_again(name: str) -> FakeReenactor:
        found.append([memory() for memory in held[1:]])
        return FakeTargets.open(rig.targets, name)

    found: list[list[Memory | None]] = []
    pipeline, listener = rig.pipeline()
    rig.workers.serve(pipeline)
    listener.next()
    (reenactor,) = rig.targets.opened
    reenactor.on_process, reenactor.on_fall_back = fail, fall_back
    rig.workers.all[0]._factory = open_again
    for count in range(1, MAX_ENGINE_FAILURES + 1):
        pipeline.source.put(rig.frame())
        until(lambda count=count: pipeline.meter.snapshot().dropped.get("failed", 0) == count)  # type: ignore[misc]
    assert {listener.next()[0], listener.next()[0]} == {"engine", "refused"}
    pipeline.close()
    assert len(found) == 1 + is_last
    assert not any(memory for seen in found for memory in seen)


def fail_for_good(rig: Rig, pipeline: Any) -> None:
    """Let the newest reenactor fail at its next frames, and at every other engine."""
    from reenact.engines.engine import EngineError

    def fail(*_: Any) -> None:
        raise EngineError("No engine is left: torch fp32 failed while running")

    rig.targets.opened[-1].on_process = rig.targets.opened[-1].on_fall_back = fail
    before = pipeline.meter.snapshot().dropped.get("failed", 0)
    for count in range(1, MAX_ENGINE_FAILURES + 1):
        pipeline.source.put(rig.frame())
        until(lambda count=count: pipeline.meter.snapshot().dropped.get("failed", 0) == before + count)  # type: ignore[misc]


def test_when_no_engine_is_left_all_are_started_anew_with_the_same_settings(rig: Rig) -> None:
    pipeline, listener = rig.pipeline(settings="a")
    rig.workers.serve(pipeline)
    assert listener.next()[0] == "engine"
    rig.turn(pipeline)
    pipeline.orders.apply("b")
    rig.turn(pipeline)
    fail_for_good(rig, pipeline)
    assert listener.next() == (
        "refused",
        ("engine_restarted", "Every engine has failed; they are being started anew."),
    )
    assert listener.next()[0] == "engine"
    rig.turn(pipeline)
    failed, fresh = rig.targets.opened
    assert failed.names()[-1] == "close"
    assert ("apply", "b") in fresh.calls
    pipeline.close()


def test_when_no_engine_is_left_again_and_again_the_session_ends_with_the_reason(rig: Rig) -> None:
    pipeline, listener = rig.pipeline()
    pipeline.restarts = Bucket(FakeClock(), rate=1.0, burst=MAX_RESTARTS)
    rig.workers.serve(pipeline)
    for _ in range(MAX_RESTARTS):
        assert listener.next()[0] == "engine"
        fail_for_good(rig, pipeline)
        assert listener.next()[0] == "refused"
    assert listener.next()[0] == "engine"
    fail_for_good(rig, pipeline)
    kind, (code, message) = listener.next()
    assert (kind, code) == ("failed", "engine_failed")
    assert "No engine is left" in message
    assert all(opened.names()[-1] == "close" for opened in rig.targets.opened)
    pipeline.close()


def test_a_session_begins_on_the_best_engine_again(rig: Rig) -> None:
    for _ in range(2):
        pipeline, listener = rig.pipeline()
        rig.workers.serve(pipeline)
        assert listener.next()[0] == "engine"
        rig.turn(pipeline)
        rig.targets.opened[-1].may_improve = True
        pipeline.close()
    assert [opened.names()[-1] == "close" for opened in rig.targets.opened] == [True, False]


def test_a_session_ends_with_the_consent_to_show_its_actor(rig: Rig) -> None:
    pipeline, listener = rig.pipeline()
    rig.workers.serve(pipeline)
    listener.next()
    rig.turn(pipeline)
    (reenactor,) = rig.targets.opened

    def end(_: Any) -> None:
        raise ConsentError("The consent to show 'Nora Berg' ended on 2026-11-24.")

    reenactor.on_process = end
    pipeline.source.put(rig.frame())
    assert listener.next() == ("failed", ("consent_ended", "The consent to show 'Nora Berg' ended on 2026-11-24."))
    until(lambda: reenactor.names()[-1] == "close")
    assert pipeline.num_published == 1
    pipeline.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.end()


# The process


def make_config(**server: Any) -> Config:
    return Config(server=ServerConfig(port=0, **server), engine=EngineConfig(), settings=FakeSettings())


async def test_the_watchdog_runs_as_long_as_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = asyncio.Event()
    monkeypatch.setattr("streamer.watchdog.LOOK_INTERVAL_S", 0)
    monkeypatch.setattr(Watchdog, "look", lambda _: looked.set())
    app = create_app(make_config(), targets=FakeTargets(), is_preparing=False)
    from aiohttp.test_utils import TestServer

    async with TestServer(app):
        async with asyncio.timeout(5):
            await looked.wait()
        assert "watchdog" in {task.get_name() for task in asyncio.all_tasks()}
    assert "watchdog" not in {
        task.get_name() for task in asyncio.all_tasks() if not task.done() and not task.cancelling()
    }
    assert not app[WATCHDOG].hopeless.is_set()


async def test_a_hopeless_process_drains_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(dog: Watchdog) -> None:
        dog.reason = "3 inference threads are stuck."
        dog.hopeless.set()

    monkeypatch.setattr("streamer.watchdog.LOOK_INTERVAL_S", 0)
    monkeypatch.setattr(Watchdog, "look", give_up)
    with pytest.raises(HopelessError, match="3 inference threads are stuck"):
        async with asyncio.timeout(10):
            await serve(make_config(), FakeTargets(), on_listening=lambda *_: None)


class FakeSession:
    """A session that holds a place and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def on_refused(self, code: str, message: str) -> None:
        self.told.append(f"{code}: {message}")

    def leave(self) -> None:
        pass

    async def close(self, reason: str) -> None:
        self.told.append(reason)

    id = "session"
    client = owner = ""


def make_lobby() -> tuple[Lobby, Any]:
    app = create_app(make_config(), targets=FakeTargets(), is_preparing=False)
    session: Any = FakeSession()
    app[LOBBY]._sessions[session.id] = session
    return app[LOBBY], session


async def test_draining_waits_for_the_last_session_and_admits_nobody() -> None:
    lobby, session = make_lobby()
    draining = asyncio.create_task(lobby.drain(60))
    await asyncio.sleep(0)
    assert session.told == ["draining: The server is about to end; this session has 60 s left."]
    offer: Any = None
    with pytest.raises(ServiceError, match="shutting down"):
        await lobby.admit(offer, actor="milo")
    assert not draining.done()
    lobby.end(session, "closed")
    async with asyncio.timeout(5):
        await draining
        await lobby.shut()


async def test_draining_has_an_end() -> None:
    lobby, session = make_lobby()
    async with asyncio.timeout(5):
        await lobby.drain(0.01)
        await lobby.shut()
    assert session.told[-1] == "shutdown"
