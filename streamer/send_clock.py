"""When packets left the source, on our own clock: the RTP header extension abs-send-time, set to rights.

The extension (24 bits, 1/2**18 s) counts on the source's clock, which nobody knows. The packet that took the least time
of the last seconds is taken for one that took none: what others took more is what they waited on the way. The least
time itself, half a round trip, is for those to add who know it.
"""

from __future__ import annotations

from streamer.clock import NS_PER_S
from streamer.jitter import Unwrapper

BITS = 24
UNITS_PER_S = 1 << 18
WINDOW_S = 10.0
"""Clocks drift apart by some 50 us in a second: an older packet than one or two of these says nothing any more."""


class SendClock:
    """Map abs-send-time to our clock. Not for several threads."""

    def __init__(self) -> None:
        self._unwrapper = Unwrapper(BITS)
        self._least: list[int | None] = [None, None]
        """Least difference of arrival and sending, ns, in this window and in the one before."""
        self._began_ns = 0

    def map(self, abs_send_time: int, arrival_ns: int) -> int:
        """Return when a packet left, on the clock of `arrival_ns`, which is when it came."""
        sent_ns = self._unwrapper.unwrap(abs_send_time) * NS_PER_S // UNITS_PER_S
        difference = arrival_ns - sent_ns
        if arrival_ns - self._began_ns > WINDOW_S * NS_PER_S:
            self._least = [None, self._least[0]]
            self._began_ns = arrival_ns
        current, before = self._least
        current = difference if current is None else min(current, difference)
        self._least[0] = current
        return sent_ns + (current if before is None else min(current, before))
