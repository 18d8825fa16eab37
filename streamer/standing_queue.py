"""Whether a queue stands on a line, and how much may be sent over it then: the same rule up and down.

The usual rule (Carlucci et al., "Analysis and design of the Google congestion control for WebRTC", MMSys 2016, section
3) takes unevenness for a queue, then what comes after its own cut for the line's capacity, so that jitter alone wears
a stream down. Here a queue is one that stands: even the quickest of a while is late (Nichols and Jacobson,
"Controlling queue delay", ACM Queue 2012). Only then is what comes through what the line takes.
"""

from __future__ import annotations

from collections import deque

BASE_MS = 10_000
"""How long the quickest is remembered."""
CAREFUL_MS = 5000
"""After a queue, what is allowed rises slowly for so long."""
CAREFUL_RISE = 1.08
RISE = 2.0
"""Factor a second, afterwards. Browsers ask for 8 % more a second, whatever they are allowed."""


class StandingQueue:
    """Takes how late what crosses the line is, on any clock that runs evenly."""

    def __init__(self, *, while_ms: float, standing_ms: float, drained_ms: float, least: int = 1) -> None:
        """See a queue where all of `while_ms`, at least so many, are later by `standing_ms` than the quickest of
        `BASE_MS`; it is gone where one is later by less than `drained_ms`.
        """
        self.is_standing = False
        """Whether a queue stands."""
        self._while_ms = while_ms
        self._standing_ms = standing_ms
        self._drained_ms = drained_ms
        self._least = least
        self._lateness: deque[tuple[float, float]] = deque()  # When, and how late, both in ms.
        self._bases: deque[tuple[float, float]] = deque()  # The least lateness of each second.

    @property
    def base_ms(self) -> float:
        """How late the quickest was; 0 before anything came."""
        return min((late for _, late in self._bases), default=0.0)

    def add(self, now_ms: float, late_ms: float) -> bool:
        """Take in what came now, and say whether a queue stands."""
        self._lateness.append((now_ms, late_ms))
        while self._lateness[0][0] <= now_ms - self._while_ms:
            self._lateness.popleft()
        if not self._bases or now_ms - self._bases[-1][0] >= 1000:
            self._bases.append((now_ms, late_ms))
        elif late_ms < self._bases[-1][1]:
            self._bases[-1] = (self._bases[-1][0], late_ms)
        # While a queue stands its own lateness must not become what is usual.
        while not self.is_standing and self._bases[0][0] < now_ms - BASE_MS:
            self._bases.popleft()
        standing_ms = min(late for _, late in self._lateness) - self.base_ms
        limit_ms = self._drained_ms if self.is_standing else self._standing_ms
        self.is_standing = standing_ms > limit_ms and (self.is_standing or len(self._lateness) >= self._least)
        return self.is_standing


class Allowance:
    """How much may be sent."""

    def __init__(self, *, floor_bps: float, ceiling_bps: float) -> None:
        """Allow `ceiling_bps` until a queue is seen."""
        self.bps = float(ceiling_bps)
        """Bit/s."""
        self._floor_bps = floor_bps
        self._ceiling_bps = ceiling_bps
        self._afterwards_bps: float | None = None
        self._queued_ms: float | None = None
        self._updated_ms: float | None = None

    def hold(self, now_ms: float, bps: float, afterwards_bps: float) -> None:
        """Allow at most `bps` while a queue stands, and `afterwards_bps` once it is gone."""
        self._updated_ms = self._queued_ms = now_ms
        self._afterwards_bps = afterwards_bps
        self._set(min(self.bps, bps))

    def follow(self, now_ms: float, bps: float) -> None:
        """Allow `bps`, more or less than before."""
        self._updated_ms = self._queued_ms = now_ms
        self._afterwards_bps = None
        self._set(bps)

    def rise(self, now_ms: float) -> None:
        """Allow more: no queue stands."""
        elapsed_s = 0.0 if self._updated_ms is None else max(0.0, now_ms - self._updated_ms) / 1000
        self._updated_ms = now_ms
        if self._afterwards_bps is not None:
            self.bps, self._afterwards_bps = self._afterwards_bps, None
        is_careful = self._queued_ms is not None and now_ms - self._queued_ms < CAREFUL_MS
        self._set(self.bps * (CAREFUL_RISE if is_careful else RISE) ** elapsed_s)

    def _set(self, bps: float) -> None:
        self.bps = min(max(bps, self._floor_bps), self._ceiling_bps)
