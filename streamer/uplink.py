"""How much a source may send, told to it by REMB: so much that a large frame is not held back, less where it queues.

The usual rule (Carlucci et al., "Analysis and design of the Google congestion control for WebRTC", MMSys 2016, section
3; aiortc has it) never allows more than 1.5 times what comes. A source that wants little is then held to little: a
browser spreads each frame over time by what it is allowed, so that a frame ten times the usual one, as after a quick
movement, is sent for 45 ms on an idle network. Here the limit is what the network has shown: until packets begin to
queue there is none but `CEILING_BPS`.
"""

from __future__ import annotations

from aiortc.rate import BandwidthUsage

CEILING_BPS = 8_000_000
"""A frame of 20 kB is sent within 8 ms: browsers send at up to 2.5 times what they are allowed."""
FLOOR_BPS = 50_000
DRAIN = 0.4
"""Share of what comes through that is allowed while packets queue: browsers send frames that are ready at 2.5 times
what they are allowed, and at no more than the link takes only so."""
BACK_OFF = 0.85
"""Share of what came through then that is allowed once they do not queue any more."""
HOLD_S = 1.0
"""After packets have queued, one waits for so long while they drain: the detector calls that underuse."""
CAREFUL_S = 5.0
"""After packets have queued, what is allowed rises slowly for so long."""
CAREFUL_RISE = 1.08
RISE = 2.0
"""Factor a second, afterwards. The browser itself asks for 8 % more a second, whatever it is allowed."""
INTERVAL_MS = 500


class UplinkEstimate:
    """Takes the place of aiortc's `AimdRateControl`; times in ms on any one clock."""

    window_ms = 400
    """Over how long what comes through is averaged: over a second, as usual, it is too much when a link narrows."""

    def __init__(self) -> None:
        """Allow `CEILING_BPS` until something else is seen."""
        self._allowed_bps = float(CEILING_BPS)
        self._updated_ms: int | None = None
        self._queued_ms: int | None = None
        self._link_bps: float | None = None

    def feedback_interval(self) -> int:
        """Say how often the source is told, in ms; it is told at once where packets queue."""
        return INTERVAL_MS

    def update(self, bandwidth_usage: BandwidthUsage, estimated_throughput: int | None, now_ms: int) -> int | None:
        """Take in whether packets queue and what came through, in bit/s; return what is allowed, in bit/s."""
        elapsed_s = 0.0 if self._updated_ms is None else max(0, now_ms - self._updated_ms) / 1000
        self._updated_ms = now_ms
        if bandwidth_usage == BandwidthUsage.OVERUSING:
            self._queued_ms = now_ms
            if estimated_throughput is not None:
                self._link_bps = float(estimated_throughput)
                self._allowed_bps = min(self._allowed_bps, DRAIN * estimated_throughput)
        elif bandwidth_usage == BandwidthUsage.NORMAL or not self._is_since(HOLD_S, now_ms):
            if self._link_bps is not None:
                self._allowed_bps = max(self._allowed_bps, BACK_OFF * self._link_bps)
                self._link_bps = None
            self._allowed_bps *= (CAREFUL_RISE if self._is_since(CAREFUL_S, now_ms) else RISE) ** elapsed_s
        self._allowed_bps = min(max(self._allowed_bps, FLOOR_BPS), CEILING_BPS)
        return round(self._allowed_bps)

    def _is_since(self, seconds: float, now_ms: int) -> bool:
        """Say whether packets queued at a time since then."""
        return self._queued_ms is not None and now_ms - self._queued_ms < 1000 * seconds
