"""Let so many frames a second through, evenly, by their own times."""

from __future__ import annotations

from fractions import Fraction

SLACK = 0.5
"""Share of the wanted interval by which a frame may come before it is due: cameras tremble."""


class Pace:
    """A gate in front of tracking. `limit` may be called by any thread, `admits` by one."""

    def __init__(self) -> None:
        """Let everything through."""
        self._interval_s = 0.0
        self._due_s: float | None = None

    def limit(self, frame_rate: float | None) -> None:
        """Admit `frame_rate` frames a second from now on; None is all of them."""
        self._interval_s = 1.0 / frame_rate if frame_rate else 0.0

    def admits(self, pts: int, time_base: Fraction) -> bool:
        """Say whether the frame of that time goes on. Frames come in order."""
        time_s, interval_s = float(pts * time_base), self._interval_s
        due_s = self._due_s
        if due_s is None or interval_s == 0.0 or not -4 * interval_s <= time_s - due_s <= 2 * interval_s:
            self._due_s = time_s + interval_s
            return True
        if time_s < due_s - SLACK * min(interval_s, 1 / 30):
            return False
        self._due_s = due_s + interval_s
        return True
