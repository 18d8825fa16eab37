"""The inference thread, with pipelines that have no connection."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from capture.personal import Personal
from reenact.face_change import FaceChange
from streamer import control
from streamer.clock import SystemClock
from streamer.errors import ServiceError
from streamer.metrics import Meter
from streamer.packets import VIDEO_TIME_BASE, SourceFrame
from streamer.pipeline import EngineInfo, Pipeline
from streamer.pixels import to_picture
from streamer.worker import MAX_FAILURES, Workers
from tests.unit.streamer.fakes import FakeReenactor, FakeTargets, make_personal


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread that gives no other sign than what it counts."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


class Listener:
    """What a session hears; the test waits for it."""

    def __init__(self) -> None:
        self.heard: queue.Queue[tuple[str, Any]] = queue.Queue(100)

    def on_engine(self, info: EngineInfo) -> None:
        self.heard.put(("engine", info))

    def on_mesh(self, message: bytes) -> None:
        self.heard.put(("mesh", message))

    def on_calibrated(self, personal: Personal) -> None:
        self.heard.put(("calibrated", personal))

    def on_refused(self, code: str, message: str) -> None:
        self.heard.put(("refused", (code, message)))

    def on_failed(self, code: str, message: str) -> None:
        self.heard.put(("failed", (code, message)))

    def next(self) -> tuple[str, Any]:
        return self.heard.get(timeout=5)


class Rig:
    def __init__(self, targets: FakeTargets | None = None) -> None:
        self.targets = targets or FakeTargets()
        self.workers = Workers(self.targets.open, clock=SystemClock(), longest_side=960)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.number = 0

    def pipeline(self, actor: str = "milo", settings: Any = None) -> tuple[Pipeline, Listener]:
        listener, meter = Listener(), Meter(SystemClock())
        made = Pipeline(
            session="test-session",
            name="test",
            actor=actor,
            settings=settings,
            loop=self.loop,
            clock=SystemClock(),
            meter=meter,
            listener=listener,
        )
        return made, listener

    def frame(self, value: int = 50) -> SourceFrame:
        picture = to_picture(np.full((32, 32, 3), value, np.uint8), self.number * 3000, VIDEO_TIME_BASE)
        frame = SourceFrame(
            seq=self.number,
            pts=self.number * 3000,
            time_base=VIDEO_TIME_BASE,
            captured_ns=SystemClock().monotonic_ns(),
            decoded_ns=SystemClock().monotonic_ns(),
            decode_ms=0.5,
            picture=picture,
        )
        self.number += 1
        return frame

    def turn(self, pipeline: Pipeline, value: int = 50) -> Any:
        """Send one frame through and return what comes out."""
        pipeline.source.put(self.frame(value))
        return asyncio.run_coroutine_threadsafe(pipeline.target.take(), self.loop).result(5)

    def end(self) -> None:
        self.workers.stop()
        assert self.workers.join(5)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.end()


def test_a_frame_goes_through_with_its_identity_and_is_measured(rig: Rig) -> None:
    pipeline, listener = rig.pipeline(settings="settings")
    rig.workers.serve(pipeline)
    kind, info = listener.next()
    assert kind == "engine"
    assert (info.actor, info.engine, info.engine_reason, info.resolution) == ("milo", "fake", "a test runs", 256)
    target = rig.turn(pipeline)
    assert (target.seq, target.pts, target.time_base) == (0, 0, VIDEO_TIME_BASE)
    assert (target.picture.width, target.picture.height) == (256, 256)
    rig.turn(pipeline)
    stages = pipeline.meter.snapshot(60).stages
    assert set(stages) == {"decode", "queue", "track", "transfer", "render", "generate", "mark"}
    assert stages["decode"].p50 >= 0.5
    assert pipeline.face.face == "tracked"
    (reenactor,) = rig.targets.opened
    assert reenactor.names()[:4] == ["warm_up", "reset", "begin", "apply"]
    assert len(reenactor.threads) == 1
    pipeline.close()


def test_learning_comes_after_the_frame_is_on_its_way(rig: Rig) -> None:
    pipeline, _ = rig.pipeline()
    rig.workers.serve(pipeline)
    rig.turn(pipeline)
    (reenactor,) = rig.targets.opened
    until(lambda: "learn" in reenactor.names())
    has_come = threading.Event()
    learned: list[bool] = []
    reenactor.on_learn = lambda: learned.append(has_come.wait(5))
    rig.turn(pipeline)
    has_come.set()
    until(lambda: bool(learned))
    assert learned == [True]
    pipeline.close()


def test_a_prepared_reenactor_is_found_and_kept_for_the_next_session(rig: Rig) -> None:
    rig.workers.prepare("milo")
    for _ in range(3):
        pipeline, listener = rig.pipeline()
        rig.workers.serve(pipeline)
        assert listener.next()[0] == "engine"
        rig.turn(pipeline)
        pipeline.close()
    (reenactor,) = rig.targets.opened
    assert reenactor.names().count("warm_up") == 1
    assert reenactor.names().count("reset") >= 3
    assert len(reenactor.threads) == 1


def test_each_live_session_has_its_own_thread(rig: Rig) -> None:
    one, listener_one = rig.pipeline()
    two, listener_two = rig.pipeline()
    rig.workers.serve(one)
    rig.workers.serve(two)
    assert listener_one.next()[0] == listener_two.next()[0] == "engine"
    rig.turn(one)
    rig.turn(two)
    assert len(rig.targets.opened) == 2
    assert rig.targets.opened[0].threads != rig.targets.opened[1].threads
    one.close()
    two.close()


def test_wishes_are_met_before_the_next_frame_and_merged(rig: Rig) -> None:
    pipeline, listener = rig.pipeline(settings="a")
    rig.workers.serve(pipeline)
    listener.next()
    rig.turn(pipeline)
    pipeline.orders.apply("b")
    pipeline.orders.apply("c")
    pipeline.orders.calibrate()
    pipeline.orders.reset()
    rig.turn(pipeline)
    calls = rig.targets.opened[0].calls
    applied = [value for name, value in calls if name == "apply"]
    assert applied[0] == "a"
    assert applied[-1] == "c"
    assert "calibrate" in rig.targets.opened[0].names()
    pipeline.close()


def test_switching_the_actor_keeps_the_settings(rig: Rig) -> None:
    pipeline, listener = rig.pipeline(settings="a")
    rig.workers.serve(pipeline)
    listener.next()
    rig.turn(pipeline)
    pipeline.orders.apply("b")
    pipeline.orders.switch("nora")
    kind, info = listener.next()
    assert (kind, info.actor, info.resolution) == ("engine", "nora", 128)
    assert rig.turn(pipeline).picture.width == 128
    milo, nora = rig.targets.opened
    assert milo.names()[-1] == "close"
    assert ("apply", "b") in nora.calls
    assert pipeline.actor == "nora"
    pipeline.close()


def test_the_page_can_tell_loading_from_a_fault() -> None:
    """It waits as long as a target is being loaded: at the start, at a switch, and no longer than that."""
    gate, opening = threading.Event(), queue.Queue[str]()

    class Targets(FakeTargets):
        def open(self, name: str) -> FakeReenactor:
            opening.put(name)
            assert gate.wait(5)
            gate.clear()
            return super().open(name)

    rig = Rig(Targets())
    try:
        pipeline, listener = rig.pipeline()
        told = [pipeline.is_preparing]  # it waits for its turn
        rig.workers.serve(pipeline)
        for name, heard in {"milo": "engine", "nora": "engine", "ghost": "refused"}.items():
            pipeline.orders.switch(name)
            assert opening.get(timeout=5) == name
            told.append(pipeline.is_preparing)
            gate.set()
            assert listener.next()[0] == heard
            told.append(pipeline.is_preparing)
        assert told == [True, True, False, True, False, True, False]
        pipeline.close()
    finally:
        rig.end()


@pytest.mark.parametrize(("actor", "code"), [("ghost", "unknown_actor"), ("broken", "actor_refused")])
def test_a_switch_that_is_refused_changes_nothing(rig: Rig, actor: str, code: str) -> None:
    pipeline, listener = rig.pipeline()
    rig.workers.serve(pipeline)
    listener.next()
    pipeline.orders.switch(actor)
    kind, (got, _) = listener.next()
    assert (kind, got) == ("refused", code)
    assert rig.turn(pipeline).picture.width == 256
    pipeline.close()


def test_an_actor_that_cannot_be_opened_ends_the_session_with_its_sentence(rig: Rig) -> None:
    pipeline, listener = rig.pipeline("broken")
    rig.workers.serve(pipeline)
    kind, (code, message) = listener.next()
    assert (kind, code) == ("failed", "actor_refused")
    assert "generator.safetensors has changed" in message
    pipeline.close()


def test_one_bad_frame_is_counted_and_logged_once(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    def fail_on_black(image: Any) -> None:
        if image.max() < 10:
            raise RuntimeError("black")

    rig.targets.on_process = fail_on_black
    pipeline, listener = rig.pipeline()
    rig.workers.serve(pipeline)
    listener.next()
    for value in (0, 50, 0, 50):
        pipeline.source.put(rig.frame(value))
        if value:
            assert asyncio.run_coroutine_threadsafe(pipeline.target.take(), rig.loop).result(5)
        else:
            until(lambda: pipeline.meter.snapshot().dropped.get("failed", 0) == (1 if rig.number < 2 else 2))
    assert pipeline.meter.snapshot().dropped["failed"] == 2
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.message.startswith("a frame failed")
    pipeline.close()


def test_a_frame_that_fails_again_and_again_ends_the_session(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("always")

    rig.targets.on_process = fail
    pipeline, listener = rig.pipeline()
    rig.workers.serve(pipeline)
    listener.next()
    for count in range(1, MAX_FAILURES + 1):
        pipeline.source.put(rig.frame())
        until(functools.partial(lambda wanted: pipeline.meter.snapshot().dropped.get("failed", 0) == wanted, count))
    kind, (code, message) = listener.next()
    assert (kind, code) == ("failed", "engine_failed")
    assert "15 frames in a row" in message
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    pipeline.close()
    # The next session gets a fresh engine.
    rig.targets.on_process = lambda _: None
    after, listener = rig.pipeline()
    rig.workers.serve(after)
    assert listener.next()[0] == "engine"
    assert len(rig.targets.opened) == 2
    after.close()


def test_an_engine_that_does_not_start_is_a_sentence_too() -> None:
    class Stillborn(FakeReenactor):
        def warm_up(self) -> None:
            super().warm_up()
            raise RuntimeError("no such instruction")

    class Targets(FakeTargets):
        def open(self, name: str) -> FakeReenactor:
            self.opened.append(Stillborn(name))
            return self.opened[-1]

    rig = Rig(Targets())
    try:
        pipeline, listener = rig.pipeline()
        rig.workers.serve(pipeline)
        assert listener.next() == ("failed", ("engine_failed", "The engine failed: no such instruction"))
        assert rig.targets.opened[0].names() == ["warm_up", "close"]
        pipeline.close()
    finally:
        rig.end()


def test_a_preparation_that_fails_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    class Targets(FakeTargets):
        def open(self, name: str) -> FakeReenactor:
            if not self.opened:
                self.opened.append(FakeReenactor(name))
                raise ServiceError(409, "actor_refused", "The weights are gone.")
            return super().open(name)

    rig = Rig(Targets())
    try:
        rig.workers.prepare("milo")
        pipeline, listener = rig.pipeline()
        rig.workers.serve(pipeline)
        assert listener.next()[0] == "engine"
        assert "The weights are gone." in caplog.text
        pipeline.close()
    finally:
        rig.end()


def test_pipelines_that_closed_before_their_turn_are_passed_over(rig: Rig) -> None:
    gate = threading.Event()

    def wait(_: Any) -> None:
        gate.wait(5)

    rig.targets.on_process = wait
    first, listener = rig.pipeline()
    rig.workers.serve(first)
    listener.next()
    first.source.put(rig.frame())
    for _ in range(5):
        first.close()
        first, listener = rig.pipeline()
        rig.workers.serve(first)
    gate.set()
    assert listener.next()[0] == "engine"
    assert rig.turn(first) is not None
    assert len(rig.targets.opened) == 1
    first.close()


def test_the_mesh_goes_out_while_it_is_wanted_and_costs_nothing_else(rig: Rig) -> None:
    pipeline, listener = rig.pipeline()
    rig.workers.serve(pipeline)
    assert listener.next()[0] == "engine"
    rig.turn(pipeline)
    (reenactor,) = rig.targets.opened
    assert "mesh" not in reenactor.names()
    pipeline.orders.is_mesh_wanted = True
    for _ in range(6):  # a fifth of a second at 30 fps
        rig.turn(pipeline)
    assert listener.next() == ("mesh", control.mesh(reenactor.mesh()))
    until(lambda: reenactor.names().count("learn") == 7)
    assert listener.heard.qsize() == 2
    pipeline.orders.is_mesh_wanted = False
    count = reenactor.names().count("mesh")
    rig.turn(pipeline)
    assert reenactor.names().count("mesh") == count
    pipeline.close()


def test_a_calibration_is_handed_over_when_it_is_done_but_not_when_it_is_dropped(rig: Rig) -> None:
    pipeline, listener = rig.pipeline()
    rig.workers.serve(pipeline)
    listener.next()
    rig.turn(pipeline)
    (reenactor,) = rig.targets.opened
    reenactor.known = make_personal()
    for is_dropped in (False, True):
        reenactor.is_calibrating = True
        rig.turn(pipeline)
        until(lambda: pipeline.face.is_calibrating)
        reenactor.is_calibrating = False
        if is_dropped:
            pipeline.orders.reset()
        rig.turn(pipeline)
        if not is_dropped:
            assert listener.next() == ("calibrated", reenactor.known)
    until(lambda: reenactor.names().count("learn") == rig.number and not pipeline.face.is_calibrating)
    assert listener.heard.empty()
    pipeline.close()


def test_a_calibration_is_given_back_and_one_of_another_tracker_is_refused(rig: Rig) -> None:
    pipeline, listener = rig.pipeline()
    rig.workers.serve(pipeline)
    listener.next()
    rig.turn(pipeline)
    (reenactor,) = rig.targets.opened
    personal = make_personal()
    pipeline.orders.restore(personal)
    rig.turn(pipeline)
    assert ("restore", personal) in reenactor.calls
    pipeline.orders.restore(make_personal("regressor"))
    rig.turn(pipeline)
    assert listener.next() == ("refused", ("bad_calibration", "The calibration is of another tracker."))
    pipeline.close()


def test_another_tracker_is_announced_and_one_that_fails_is_refused(rig: Rig) -> None:
    pipeline, listener = rig.pipeline()
    rig.workers.serve(pipeline)
    assert listener.next()[1].tracker == "landmarks"
    rig.turn(pipeline)
    (reenactor,) = rig.targets.opened

    def switch(settings: Any) -> None:
        if settings == "bad":
            raise ValueError("damaged weights")
        reenactor.tracker_name = settings

    reenactor.apply = switch  # type: ignore[method-assign]
    pipeline.orders.apply("regressor")
    rig.turn(pipeline)
    kind, info = listener.next()
    assert (kind, info.tracker, info.tracker_reason) == ("engine", "regressor", "asked for by a test")
    pipeline.orders.apply("bad")
    rig.turn(pipeline)
    assert listener.next() == ("refused", ("setting_refused", "The setting could not be applied: damaged weights"))
    pipeline.close()


def test_origins_follow_the_actor_and_a_missing_label_is_noted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[str] = []
    monkeypatch.setattr("streamer.worker.note_missing_label", lambda origin: noted.append(origin.label_reason))
    pipeline, listener = rig.pipeline()
    rig.workers.serve(pipeline)
    listener.next()
    for _ in range(3):
        rig.turn(pipeline)
    assert [origin.actor for origin in pipeline.origins] == ["milo"]
    assert noted == []
    (reenactor,) = rig.targets.opened
    reenactor.origin = dataclasses.replace(reenactor.origin, label=None, label_reason="a stage play")
    rig.turn(pipeline)
    rig.turn(pipeline)
    assert [origin.label for origin in pipeline.origins] == ["AI-generated", None]
    assert noted == ["a stage play"]
    pipeline.close()


def test_numbers_and_edits_reach_the_target_and_an_edit_outlives_its_change(rig: Rig) -> None:
    pipeline, _ = rig.pipeline()
    rig.workers.serve(pipeline)
    numbers, change = FaceChange({"jawOpen": 0.5}), FaceChange({"yaw": 5.0})
    pipeline.orders.puppet(FaceChange({"jawOpen": 0.1}))
    pipeline.orders.puppet(numbers)
    pipeline.orders.edit(change)
    rig.turn(pipeline)
    rig.turn(pipeline)
    (first,) = rig.targets.opened
    assert [call for call in first.calls if call[0] in ("puppet", "edit")] == [("puppet", numbers), ("edit", change)]
    pipeline.orders.switch("nora")
    rig.turn(pipeline)
    rig.turn(pipeline)
    assert ("edit", change) in rig.targets.opened[-1].calls
    pipeline.close()
