"""Hold a latency target: quality goes down in steps while it is missed, and up again once there is room.

What makes a live picture late under load is waiting: a frame that comes while the one before is still being made waits
for it, and the browser's and the server's codecs wait for the same cores. Fewer and smaller frames end both.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.options import check_options, option
from streamer.clock import NS_PER_S, Clock
from streamer.metrics import AGE, GLASS, Meter

DOWN_S = 0.75
"""A target that is missed for this long is answered."""
UP_S = 1.5
"""Room that has been there for this long is used."""
WINDOW_S = 0.75
"""What latency is measured over."""
LEFT_OUT = 0.15
"""A camera of whose frames more than this share cannot be made ..."""
BEHIND_S = 2.0
"""... for this long is asked for fewer, where as many would be made: those left out cost cores, and the others wait."""
SAME_RATE = 1.1
"""As many: what is made now is at most so many times what the next step lets come."""
HELD_S = 4.0
"""What was made of all frames for this long can be made."""
HELD_SHARE = 0.95
"""Of all frames: at least this share."""
HELD_SLACK = 1.05
"""The same load is measured once so and once so much greater."""
MARGIN = 0.85
"""Up only while latency is below this share of the target: what is held at its very edge stays where it is."""
MAX_LOAD = 0.9
"""Up only to where the stages will take less than this share of the time, or no more than they took at full quality
when all frames were made: two threads share them."""
FAILED_UP_S = 4.0
"""A step up that is taken back within this time was a mistake: the next one waits twice as long ..."""
MAX_UP_S = 8.0
"""... but no longer than this, so that quality is back within 10 s after the load."""
BUSY_STAGES = ("track", "transfer", "render", "generate", "mark")


@dataclass(frozen=True, kw_only=True, slots=True)
class GovernorSettings:
    """What the governor holds."""

    is_on: bool = option(True, "Lower quality in steps while the delay is above its target, and raise it again after.")
    target_ms: float = option(
        150.0, "Delay from camera to screen that 19 of 20 frames should keep below.", minimum=30.0, maximum=1000.0,
        unit="ms",
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_options(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """One step: what it allows at most."""

    frame_rate: float
    """Frames a second."""
    source_px: int
    """Longest side of the camera's picture."""
    words: str
    """For people."""


STEPS = (
    Quality(frame_rate=60.0, source_px=1280, words="full quality"),
    Quality(frame_rate=20.0, source_px=640, words="20 frames a second"),
    Quality(frame_rate=15.0, source_px=480, words="15 frames a second, a smaller camera picture"),
    Quality(frame_rate=10.0, source_px=320, words="10 frames a second, a small camera picture"),
)
"""Best first."""


class Governor:
    """The quality step of one session. `look` is called a few times a second, on the event loop."""

    def __init__(self, meter: Meter, clock: Clock, settings: GovernorSettings | None) -> None:
        """Go by what `meter` measures; None never does anything."""
        self.settings = settings
        self.step = 0
        self.text = ""
        """What it did last, and why; empty while it did nothing."""
        self.num_changes = {"down": 0, "up": 0}
        self._meter = meter
        self._clock = clock
        self._missed_since_ns: int | None = None
        self._behind_since_ns: int | None = None
        self._room_since_ns: int | None = None
        self._held_load = MAX_LOAD
        self._changed_ns = clock.monotonic_ns()
        self._last_was_up = False
        self._up_s = UP_S

    @property
    def quality(self) -> Quality:
        """What is allowed now."""
        return STEPS[self.step]

    def look(self) -> Quality:
        """Look at the last second and step, if it must; return what is allowed now."""
        if self.settings is None or not self.settings.is_on:
            if self.step:
                self._enter(0, "switched off")
            return self.quality
        now_ns = self._clock.monotonic_ns()
        glass = self._meter.summary(GLASS, WINDOW_S)
        # A source whose page measures nothing (a WHIP client) has its time in the server held to the target instead.
        latency = glass if glass.count else self._meter.summary(AGE, WINDOW_S)
        if latency.count == 0:
            self._missed_since_ns = self._behind_since_ns = self._room_since_ns = None
            return self.quality
        if self.step == 0:
            self._learn_load()
        target_ms = self.settings.target_ms
        self._missed_since_ns = self._since(self._missed_since_ns, latency.p95 > target_ms, now_ns)
        self._behind_since_ns = self._since(self._behind_since_ns, self._is_behind(), now_ns)
        self._room_since_ns = self._since(self._room_since_ns, self._has_room(latency.p95, target_ms), now_ns)
        quiet_s = (now_ns - self._changed_ns) / NS_PER_S
        if self._lasts(self._missed_since_ns, DOWN_S, now_ns) and quiet_s >= DOWN_S:
            if self.step + 1 < len(STEPS):
                self._worsen(quiet_s, f"p95 was {latency.p95:.0f} ms, above the target of {target_ms:.0f} ms")
            else:
                self.text = (
                    f"the target of {target_ms:.0f} ms cannot be held: p95 is {latency.p95:.0f} ms at the lowest step"
                )
        elif self._lasts(self._behind_since_ns, BEHIND_S, now_ns) and quiet_s >= BEHIND_S:
            offered, made = self._rates(WINDOW_S)
            self._worsen(quiet_s, f"{made:.0f} of {offered:.0f} could be made")
        elif self.step > 0 and self._lasts(self._room_since_ns, self._up_s, now_ns) and quiet_s >= self._up_s:
            self._enter(self.step - 1, f"p95 is {latency.p95:.0f} ms, there is room below {target_ms:.0f} ms")
        return self.quality

    def _has_room(self, p95_ms: float, target_ms: float) -> bool:
        """Say whether the next better step would hold too: by latency now, and by the work of a frame."""
        if self.step == 0 or p95_ms > MARGIN * target_ms:
            return False
        frame_rate = min(STEPS[self.step - 1].frame_rate, max(30.0, self._meter.rate("decoded", WINDOW_S)))
        return self._load(frame_rate, WINDOW_S) < self._held_load or frame_rate <= STEPS[self.step].frame_rate

    def _is_behind(self) -> bool:
        """Say whether frames are left out that the next step would not even let come."""
        if self.step + 1 == len(STEPS):
            return False
        offered, made = self._rates(WINDOW_S)
        return made < (1.0 - LEFT_OUT) * offered and made <= SAME_RATE * STEPS[self.step + 1].frame_rate

    def _learn_load(self) -> None:
        """Remember the greatest load at which all frames were made."""
        offered, made = self._rates(HELD_S)
        if made >= HELD_SHARE * offered:
            self._held_load = max(self._held_load, HELD_SLACK * self._load(made, HELD_S))

    def _load(self, frame_rate: float, window_s: float) -> float:
        """Return the share of the time that the stages of so many frames a second take, one after the other."""
        return sum(self._meter.summary(stage, window_s).p50 for stage in BUSY_STAGES) * frame_rate / 1e3

    def _rates(self, window_s: float) -> tuple[float, float]:
        """Return how many frames a second come and may, and how many are made."""
        offered = min(self._meter.rate("decoded", window_s), self.quality.frame_rate)
        return offered, self._meter.rate("generated", window_s)

    @staticmethod
    def _since(since_ns: int | None, is_so: bool, now_ns: int) -> int | None:
        return (now_ns if since_ns is None else since_ns) if is_so else None

    @staticmethod
    def _lasts(since_ns: int | None, seconds: float, now_ns: int) -> bool:
        return since_ns is not None and now_ns - since_ns >= seconds * NS_PER_S

    def _worsen(self, quiet_s: float, reason: str) -> None:
        is_failed = self._last_was_up and quiet_s < FAILED_UP_S
        self._up_s = min(MAX_UP_S, 2 * self._up_s) if is_failed else UP_S
        self._enter(self.step + 1, reason)

    def _enter(self, step: int, reason: str) -> None:
        direction = "down" if step > self.step else "up"
        self.num_changes[direction] += 1
        self._meter.note(f"governor_{direction}")
        self.step = step
        self.text = f"{self.quality.words}, since {reason}"
        self._changed_ns = self._clock.monotonic_ns()
        self._missed_since_ns = self._behind_since_ns = self._room_since_ns = None
        self._last_was_up = direction == "up"
