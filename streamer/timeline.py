"""One timeline for the sound and the pictures of a source.

Each RTP stream counts on a clock of its own, from a random start. The sender's reports (RFC 3550 section 6.4.1) say
which wall time a count stands for. Until both streams have reported, which takes a browser some seconds, the fastest
arrivals stand in for them: they are off by the time that a camera's picture takes to be encoded, some 10 ms.
"""

from __future__ import annotations

import statistics
from collections import deque

REPORTS_KEPT = 5
ARRIVALS_KEPT = 100
RESTART_S = 0.5
"""Reports further apart than this are those of another stream."""


class _Line:
    """One stream: what its time 0 is on the sender's wall clock, and on ours, in seconds."""

    def __init__(self) -> None:
        self._reported: deque[float] = deque(maxlen=REPORTS_KEPT)
        self._arrived: deque[float] = deque(maxlen=ARRIVALS_KEPT)

    def report(self, wall_s: float, time_s: float) -> None:
        origin_s = wall_s - time_s
        if self._reported and abs(origin_s - self._reported[-1]) > RESTART_S:
            self._reported.clear()
            self._arrived.clear()
        self._reported.append(origin_s)

    def arrive(self, clock_s: float, time_s: float) -> None:
        origin_s = clock_s - time_s
        if self._arrived and origin_s < self._arrived[-1] - 2 * RESTART_S:
            self._arrived.clear()
        self._arrived.append(origin_s)

    @property
    def reported_s(self) -> float | None:
        return statistics.median(self._reported) if self._reported else None

    @property
    def arrived_s(self) -> float | None:
        # What came fastest was delayed least.
        return min(self._arrived, default=None)


class Timeline:
    """Map times of the sound to times of the pictures. All times in seconds, each stream's own."""

    def __init__(self) -> None:
        self._sound, self._picture = _Line(), _Line()

    def report_sound(self, wall_s: float, time_s: float) -> None:
        """Take a sender's report: at `wall_s` of its clock the sound stood at `time_s`."""
        self._sound.report(wall_s, time_s)

    def report_picture(self, wall_s: float, time_s: float) -> None:
        """As `report_sound`, of the pictures."""
        self._picture.report(wall_s, time_s)

    def sound_arrived(self, clock_s: float, time_s: float) -> None:
        """Note that the sound which began at `time_s` was complete here at `clock_s` of our clock."""
        self._sound.arrive(clock_s, time_s)

    def picture_arrived(self, clock_s: float, time_s: float) -> None:
        """Note that the picture of `time_s` began to arrive at `clock_s` of our clock."""
        self._picture.arrive(clock_s, time_s)

    @property
    def is_exact(self) -> bool:
        """True once both streams have reported."""
        return self._sound.reported_s is not None and self._picture.reported_s is not None

    def picture_time(self, sound_s: float) -> float | None:
        """Return when, on the pictures' clock, the sound of `sound_s` was captured; None while nothing is known."""
        sound, picture = self._sound.reported_s, self._picture.reported_s
        if sound is None or picture is None:
            sound, picture = self._sound.arrived_s, self._picture.arrived_s
        if sound is None or picture is None:
            return None
        return sound_s + sound - picture
