"""How much a source may send, told to it by REMB: so much that a large frame is not held back, less where it queues.

aiortc's own rule never allows more than 1.5 times what comes. A source that wants little is then held to little: a
browser spreads each frame over time by what it is allowed, so that a frame ten times the usual one, as after a quick
movement, is sent for 45 ms on an idle network. Here the limit is what the network has shown: see
`streamer.standing_queue`.
"""

from __future__ import annotations

from collections import deque

from streamer.jitter import Unwrapper
from streamer.send_clock import BITS, UNITS_PER_S
from streamer.standing_queue import Allowance, StandingQueue

CEILING_BPS = 8_000_000
"""A frame of 20 kB is sent within 8 ms: browsers send at up to 2.5 times what they are allowed."""
FLOOR_BPS = 50_000
STANDING_MS = 60.0
"""A queue stands if every packet of `WHILE_MS` was later by this than the quickest one."""
DRAINED_MS = 40.0
"""It is gone where one packet is later by less: on a line of 300 kb/s a packet alone takes 32 ms."""
WHILE_MS = 100
RATE_MS = 400
"""Over how long what comes through is averaged."""
DRAIN = 0.4
"""Share of what comes through that is allowed while a queue stands: browsers send frames that are ready at 2.5 times
what they are allowed, and at no more than the line takes only so."""
BACK_OFF = 0.85
"""Share of what came through then that is allowed once it is gone."""
REPORT_MS, QUEUE_REPORT_MS = 500, 50
"""How often the source is told; while a queue stands."""

MAX_SSRCS = 8
"""A camera has one, and one for what is sent again; a report has room for 255."""


class UplinkEstimate:
    """Takes the place of aiortc's `RemoteBitrateEstimator`, for one source of video."""

    def __init__(self) -> None:
        """Allow `CEILING_BPS` until a queue is seen."""
        self._allowance = Allowance(floor_bps=FLOOR_BPS, ceiling_bps=CEILING_BPS)
        self._queue = StandingQueue(while_ms=WHILE_MS, standing_ms=STANDING_MS, drained_ms=DRAINED_MS)
        self._send_times = Unwrapper(BITS)
        self._sizes: deque[tuple[int, int]] = deque()
        self._num_bytes = 0
        self._ssrcs: dict[int, None] = {}
        self._told_ms: int | None = None

    def add(
        self, arrival_time_ms: int, abs_send_time: int, payload_size: int, ssrc: int
    ) -> tuple[int, list[int]] | None:
        """Take a packet in: when it came, when it left (24 bits of `abs-send-time`), its bytes, whose it is.

        Returns what all of the sources that came this way may send, in bit/s, and their SSRCs; None: tell nothing now.
        """
        self._ssrcs[ssrc] = None
        if len(self._ssrcs) > MAX_SSRCS:
            del self._ssrcs[next(iter(self._ssrcs))]
        was_standing = self._queue.is_standing
        late_ms = arrival_time_ms - 1000 * self._send_times.unwrap(abs_send_time) / UNITS_PER_S
        is_standing = self._queue.add(arrival_time_ms, late_ms)
        came_bps = self._count(arrival_time_ms, payload_size)
        if is_standing:
            self._allowance.hold(arrival_time_ms, DRAIN * came_bps, BACK_OFF * came_bps)
        else:
            self._allowance.rise(arrival_time_ms)
        pause_ms = QUEUE_REPORT_MS if is_standing else REPORT_MS
        is_news = is_standing is not was_standing
        if not is_news and self._told_ms is not None and arrival_time_ms - self._told_ms < pause_ms:
            return None
        self._told_ms = arrival_time_ms
        return round(self._allowance.bps), list(self._ssrcs)

    def _count(self, now_ms: int, num_bytes: int) -> float:
        """Give what came through of late, this packet too, bit/s."""
        self._sizes.append((now_ms, num_bytes))
        self._num_bytes += num_bytes
        while self._sizes[0][0] <= now_ms - RATE_MS:
            self._num_bytes -= self._sizes.popleft()[1]
        return 8000.0 * self._num_bytes / RATE_MS
