"""Time as the streamer sees it: one monotonic clock, injected, so that tests own it."""

from __future__ import annotations

import time
from typing import Protocol

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """What every timed part of the streamer asks for the time."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds since an arbitrary, fixed moment."""
        ...


class SystemClock:
    """The machine's monotonic clock."""

    def monotonic_ns(self) -> int:
        """Return `time.monotonic_ns()`."""
        return time.monotonic_ns()


def elapsed_ms(since_ns: int, now_ns: int) -> float:
    """Return the milliseconds from `since_ns` to `now_ns`."""
    return (now_ns - since_ns) / NS_PER_MS
