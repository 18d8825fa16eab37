"""How much a source may send, told to it by REMB: so much that a large frame is not held back, less where it queues.

The usual rule (Carlucci et al., "Analysis and design of the Google congestion control for WebRTC", MMSys 2016, section
3; aiortc has it) never allows more than 1.5 times what comes. A source that wants little is then held to little: a
browser spreads each frame over time by what it is allowed, so that a frame ten times the usual one, as after a quick
movement, is sent for 45 ms on an idle network. And it takes unevenness for a queue, then what comes after its own cut
for the line's capacity, so that jitter alone wears a stream down.

Here the limit is what the network has shown. A queue is one that stands: even the quickest packet of a while is late
(Nichols and Jacobson, "Controlling queue delay", ACM Queue 2012). Only then is what comes through what the line takes.
"""

from __future__ import annotations

from collections import deque

from streamer.jitter import Unwrapper
from streamer.send_clock import BITS, UNITS_PER_S

CEILING_BPS = 8_000_000
"""A frame of 20 kB is sent within 8 ms: browsers send at up to 2.5 times what they are allowed."""
FLOOR_BPS = 50_000
STANDING_MS = 60.0
"""A queue stands if every packet of `WHILE_MS` was later by this than the quickest one of `BASE_MS`."""
DRAINED_MS = 40.0
"""It is gone where one packet is later by less: on a line of 300 kb/s a packet alone takes 32 ms."""
WHILE_MS = 100
BASE_MS = 10_000
RATE_MS = 400
"""Over how long what comes through is averaged."""
DRAIN = 0.4
"""Share of what comes through that is allowed while a queue stands: browsers send frames that are ready at 2.5 times
what they are allowed, and at no more than the line takes only so."""
BACK_OFF = 0.85
"""Share of what came through then that is allowed once it is gone."""
CAREFUL_MS = 5000
"""After a queue, what is allowed rises slowly for so long."""
CAREFUL_RISE = 1.08
RISE = 2.0
"""Factor a second, afterwards. The browser itself asks for 8 % more a second, whatever it is allowed."""
REPORT_MS, QUEUE_REPORT_MS = 500, 50
"""How often the source is told; while a queue stands."""

MAX_SSRCS = 8
"""A camera has one, and one for what is sent again; a report has room for 255."""


class UplinkEstimate:
    """Takes the place of aiortc's `RemoteBitrateEstimator`, for one source of video."""

    def __init__(self) -> None:
        """Allow `CEILING_BPS` until a queue is seen."""
        self._allowed_bps = float(CEILING_BPS)
        self._send_times = Unwrapper(BITS)
        self._lateness: deque[tuple[int, float]] = deque()  # Arrival and lateness of packets, both in ms.
        self._bases: deque[tuple[int, float]] = deque()  # The least lateness of each second.
        self._sizes: deque[tuple[int, int]] = deque()
        self._num_bytes = 0
        self._ssrcs: dict[int, None] = {}
        self._is_standing = False
        self._queued_ms: int | None = None
        self._line_bps = float(CEILING_BPS)
        self._updated_ms: int | None = None
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
        was_standing, self._is_standing = self._is_standing, self._look(arrival_time_ms, abs_send_time)
        came_bps = self._count(arrival_time_ms, payload_size)
        elapsed_s = 0.0 if self._updated_ms is None else max(0, arrival_time_ms - self._updated_ms) / 1000
        self._updated_ms = arrival_time_ms
        if self._is_standing:
            self._queued_ms = arrival_time_ms
            self._line_bps = came_bps
            self._allowed_bps = min(self._allowed_bps, DRAIN * came_bps)
        else:
            if was_standing:
                self._allowed_bps = BACK_OFF * self._line_bps
            is_careful = self._queued_ms is not None and arrival_time_ms - self._queued_ms < CAREFUL_MS
            self._allowed_bps *= (CAREFUL_RISE if is_careful else RISE) ** elapsed_s
        self._allowed_bps = min(max(self._allowed_bps, FLOOR_BPS), CEILING_BPS)
        pause_ms = QUEUE_REPORT_MS if self._is_standing else REPORT_MS
        is_news = self._is_standing is not was_standing
        if not is_news and self._told_ms is not None and arrival_time_ms - self._told_ms < pause_ms:
            return None
        self._told_ms = arrival_time_ms
        return round(self._allowed_bps), list(self._ssrcs)

    def _look(self, now_ms: int, abs_send_time: int) -> bool:
        """Say whether a queue stands, now that this packet came."""
        late_ms = now_ms - 1000 * self._send_times.unwrap(abs_send_time) / UNITS_PER_S
        self._lateness.append((now_ms, late_ms))
        while self._lateness[0][0] <= now_ms - WHILE_MS:
            self._lateness.popleft()
        if not self._bases or now_ms - self._bases[-1][0] >= 1000:
            self._bases.append((now_ms, late_ms))
        elif late_ms < self._bases[-1][1]:
            self._bases[-1] = (self._bases[-1][0], late_ms)
        # While a queue stands its own lateness must not become what is usual.
        while not self._is_standing and self._bases[0][0] < now_ms - BASE_MS:
            self._bases.popleft()
        standing_ms = min(late for _, late in self._lateness) - min(late for _, late in self._bases)
        return standing_ms > (DRAINED_MS if self._is_standing else STANDING_MS)

    def _count(self, now_ms: int, num_bytes: int) -> float:
        """Give what came through of late, this packet too, bit/s."""
        self._sizes.append((now_ms, num_bytes))
        self._num_bytes += num_bytes
        while self._sizes[0][0] <= now_ms - RATE_MS:
            self._num_bytes -= self._sizes.popleft()[1]
        return 8000.0 * self._num_bytes / RATE_MS
