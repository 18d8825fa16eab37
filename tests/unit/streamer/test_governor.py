"""The governor over a small model of what it governs: one worker, the newest frame wins, a fixed way there and back."""

from __future__ import annotations

import itertools
import re
import statistics

import pytest

from streamer.governor import STEPS, Governor, GovernorSettings
from streamer.metrics import AGE, GLASS, Meter
from streamer.pace import Pace
from streamer.packets import VIDEO_TIME_BASE
from tests.unit.streamer.fakes import FakeClock

WAY_MS = 30.0
LOOK_MS = 250.0
TICK_MS = 1.0


class Road:
    """A camera of 30 frames a second whose frames take `busy_ms` each, one after the other."""

    def __init__(self, settings: GovernorSettings | None, stage: str = GLASS) -> None:
        self.clock = FakeClock()
        self.meter = Meter(self.clock)
        self.governor = Governor(self.meter, self.clock, settings)
        self.pace = Pace()
        self.busy_ms = 24.0
        self.stages_ms: float | None = None
        """What all stages of a frame take, where that is more than the time between two."""
        self.log: list[tuple[float, float, int]] = []
        """Time in s, latency in ms and step of every frame shown."""
        self._stage = stage
        self._waiting: float | None = None
        self._done: tuple[float, float] | None = None
        self._next_ms = 0.0
        self._next_look_ms = 0.0

    @property
    def now_ms(self) -> float:
        return self.clock.now_ns / 1e6

    def drive(self, seconds: float) -> None:
        end = self.now_ms + 1e3 * seconds
        while self.now_ms < end:
            self.clock.advance_ms(TICK_MS)
            self._tick()

    def _tick(self) -> None:
        now = self.now_ms
        if now >= self._next_ms:
            self._next_ms = now + 1e3 / 30
            self.meter.count("decoded")
            if self.pace.admits(int(now * 90), VIDEO_TIME_BASE):
                self._waiting = now
        if self._done is not None and now >= self._done[1]:
            latency = now - self._done[0] + WAY_MS
            self.meter.time(self._stage, latency)
            self.meter.time("generate", self.stages_ms or self.busy_ms)
            self.meter.count("generated")
            self.log.append((now / 1e3, latency, self.governor.step))
            self._done = None
        if self._done is None and self._waiting is not None:
            self._done, self._waiting = (self._waiting, now + self.busy_ms), None
        if now >= self._next_look_ms:
            self._next_look_ms = now + LOOK_MS
            limit = self.governor.look().frame_rate
            self.pace.limit(None if limit >= 60 else limit)

    def p95(self, since_s: float) -> float:
        late = sorted(latency for at, latency, _ in self.log if at >= since_s)
        return late[int(0.95 * len(late))]


@pytest.mark.parametrize("stage", [GLASS, AGE])
def test_a_load_that_doubles_the_work_is_answered_held_and_forgotten(stage: str) -> None:
    road = Road(GovernorSettings(target_ms=90.0), stage)
    road.drive(10)
    assert (road.governor.step, road.governor.text) == (0, "")
    assert road.p95(5) < 60

    road.busy_ms *= 2
    began_s = road.now_ms / 1e3
    road.drive(3)
    assert road.governor.step > 0, "not answered within 3 s"
    assert "above the target of 90 ms" in road.governor.text
    road.drive(20)
    assert road.p95(began_s + 3) < 90, "not held"
    steps = [step for at, _, step in road.log if at > began_s + 6]
    assert min(steps) > 0, "stepped up into the load"
    assert sum(a != b for a, b in itertools.pairwise(steps)) == 0, "not steady"

    road.busy_ms /= 2
    road.drive(10)
    assert road.governor.step == 0, "not back within 10 s"
    assert road.governor.num_changes["down"] == road.governor.num_changes["up"]
    assert road.meter.events() == {"governor_down": road.governor.num_changes["down"]} | {
        "governor_up": road.governor.num_changes["up"]
    }
    assert road.p95(road.now_ms / 1e3 - 4) < 60


def test_a_camera_that_is_too_quick_is_asked_for_what_can_be_made() -> None:
    """As many are shown, none later; that the cores of those left out are free is not in this model."""
    road = Road(GovernorSettings(target_ms=150.0))
    road.busy_ms = 48.0
    road.drive(5)
    assert road.governor.step == 1
    assert re.fullmatch(r"20 frames a second, since 2[01] of (29|30) could be made", road.governor.text)
    before = statistics.median(latency for at, latency, step in road.log if step == 0 and at > 1)
    road.drive(20)
    assert road.governor.step == 1
    after = [latency for at, latency, _ in road.log if 10 < at <= 20]
    assert len(after) > 190
    assert statistics.median(after) < before

    road.busy_ms = 24.0
    road.drive(5)
    assert road.governor.step == 0


def test_a_camera_is_left_alone_where_fewer_would_be_made() -> None:
    road = Road(GovernorSettings(target_ms=150.0))
    road.busy_ms = 40.0
    road.drive(20)
    assert (road.governor.step, road.governor.text) == (0, "")


def test_what_was_held_before_a_load_is_gone_back_to() -> None:
    """Also where all stages together take longer than a frame may: two threads share them."""
    road = Road(GovernorSettings(target_ms=90.0))
    road.busy_ms, road.stages_ms = 31.0, 40.0
    road.drive(10)
    road.busy_ms, road.stages_ms = 62.0, 80.0
    road.drive(10)
    assert road.governor.step > 0
    road.busy_ms, road.stages_ms = 31.0, 40.0
    road.drive(10)
    assert road.governor.step == 0


def test_without_a_governor_the_same_load_misses_the_target() -> None:
    for settings in (None, GovernorSettings(is_on=False, target_ms=90.0)):
        road = Road(settings)
        road.busy_ms *= 2
        road.drive(10)
        assert (road.governor.step, road.p95(4) > 90) == (0, True)


def test_what_cannot_be_held_is_said_at_the_lowest_step() -> None:
    road = Road(GovernorSettings(target_ms=50.0))
    road.busy_ms = 60.0
    road.drive(10)
    assert road.governor.step == len(STEPS) - 1
    assert "target of 50 ms cannot be held" in road.governor.text


def test_switched_off_it_gives_everything_back() -> None:
    road = Road(GovernorSettings(target_ms=50.0))
    road.busy_ms = 60.0
    road.drive(5)
    assert road.governor.step > 0
    road.governor.settings = GovernorSettings(is_on=False)
    road.drive(0.5)
    assert (road.governor.step, "switched off" in road.governor.text) == (0, True)


def test_silence_is_no_reason() -> None:
    clock = FakeClock()
    governor = Governor(Meter(clock), clock, GovernorSettings())
    for _ in range(40):
        clock.advance_ms(250)
        assert governor.look() is STEPS[0]
