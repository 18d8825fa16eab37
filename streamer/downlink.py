"""How much may be sent to one receiver: what it asks for where a queue stands on the way to it, else as on the way up.

A receiver's own estimate (REMB) is made by the rule that jitter alone wears down: at 50 ms of it Chromium came to ask
for a twentieth of what it had been getting, and stayed there. So it is believed only where echoes say the same: STUN
binding requests (RFC 8489), which every WebRTC end answers at once, and which wait in the same queues as our packets.
Where no echo ever came back the receiver is believed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from aiortc.codecs.base import Encoder

from streamer.clock import NS_PER_MS, Clock
from streamer.standing_queue import Allowance, StandingQueue

FLOOR_BPS = 100_000
CEILING_BPS = 15_000_000
"""12 Mb/s of picture, and what goes with it."""
STANDING_MS = 80.0
"""A queue stands if every echo of `WHILE_MS` took so much longer than the quickest: it goes both ways, so that jitter
counts twice."""
DRAINED_MS = 40.0
WHILE_MS = 240.0
LEAST_ECHOES = 2
QUIET_S, DOUBT_S = 0.2, 0.04
"""Time from one echo to the next, in quiet and in doubt."""
DOUBT_FOR_S = 2.0
"""Doubt is when the receiver has begun to ask for less than before, for so long."""
DRAIN = 0.5
"""Share of what is asked for that is allowed while a queue stands, so that it drains."""
DEAF_S = 3.0
"""Without an answer for so long there is nothing to hold against what the receiver says."""
HEAVY_LOSS = 0.15
"""Less than this is as likely the weather of a radio link as a link too narrow."""
MAX_RESENT = 256
"""Packets of which it is known when they were sent again; twice as many as a sender keeps."""
LEAST_PACKETS = 32
"""A share of fewer is no share: a report comes with each request for a packet, and speaks of one or two."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a receiver reports of all packets so far."""

    highest: int
    """Extended highest sequence number, 32 bits."""
    lost: int
    """Packets that it misses; late ones count as come."""


class DownlinkEstimate:
    """Hears what comes back of one receiver. Called on the event loop; `bps` may be read by any thread."""

    def __init__(self, clock: Clock) -> None:
        """Allow `CEILING_BPS` until a queue, or a heavy loss, is seen."""
        self._clock = clock
        self._allowance = Allowance(floor_bps=FLOOR_BPS, ceiling_bps=CEILING_BPS)
        self._queue = StandingQueue(
            while_ms=WHILE_MS, standing_ms=STANDING_MS, drained_ms=DRAINED_MS, least=LEAST_ECHOES
        )
        self._asked_bps: int | None = None
        self._doubted_ms: float | None = None
        self._echoed_ms: float | None = None
        self._seen: Seen | None = None
        self._has_queued = False  # Since that was seen.
        self._echo_ms = 0.0
        self._resent_ms: dict[int, float] = {}

    @property
    def bps(self) -> int:
        """What may be sent now, bit/s."""
        return int(self._allowance.bps)

    @property
    def late_ms(self) -> float:
        """How long an echo takes that is late."""
        return self._queue.base_ms + STANDING_MS

    @property
    def pause_s(self) -> float:
        """How long to wait before the next echo."""
        return DOUBT_S if self._is_in_doubt or self._queue.is_standing else QUIET_S

    def hear_receiver(self, bps: int) -> None:
        """Take in what the receiver asks for, bit/s."""
        now_ms = self._now_ms()
        if self._asked_bps is None or bps < self._asked_bps:
            self._doubted_ms = now_ms
        self._asked_bps = bps
        if self._echoed_ms is None or now_ms - self._echoed_ms > 1000 * DEAF_S:
            self._allowance.follow(now_ms, bps)
        else:
            self._drain(now_ms)

    def hear_echo(self, late_ms: float, *, is_back: bool = True) -> None:
        """Take in how long an echo took, or, not `is_back` yet, is taking."""
        now_ms = self._now_ms()
        is_standing = self._queue.add(now_ms, late_ms)
        if is_back or is_standing:  # One that is lost says nothing of how long they take.
            self._echo_ms = late_ms
        if is_back:
            self._echoed_ms = now_ms
        if is_standing:
            self._has_queued = True
            self._drain(now_ms)
        else:
            self._allowance.rise(now_ms)

    def may_resend(self, sequence: int) -> bool:
        """Say whether a packet that is asked for is to be sent again: not while the last time may be on its way.

        A receiver asks again after the time that it took when there was no queue, and so fills one for ever.
        """
        now_ms = self._now_ms()
        if now_ms - self._resent_ms.get(sequence, -math.inf) < self._echo_ms:
            return False
        self._resent_ms.pop(sequence, None)
        self._resent_ms[sequence] = now_ms
        if len(self._resent_ms) > MAX_RESENT:
            del self._resent_ms[next(iter(self._resent_ms))]
        return True

    def hear_report(self, seen: Seen, sent_bps: float) -> None:
        """Take in what the receiver saw, while `sent_bps` is sent: a link that is too narrow loses what does not fit.

        A queue that is short, or drops early, never stands.
        """
        before = self._seen
        if before is None:
            self._seen, self._has_queued = seen, False
            return
        expected = (seen.highest - before.highest) % (1 << 32)
        if expected < LEAST_PACKETS:
            return
        is_known, self._seen, self._has_queued = self._has_queued, seen, False
        share = max(0, seen.lost - before.lost) / expected
        if share > HEAVY_LOSS and not is_known:  # What a queue threw away has been answered.
            bps = min(sent_bps, self._allowance.bps) * (1 - share / 2)
            self._allowance.hold(self._now_ms(), bps, bps)

    @property
    def _is_in_doubt(self) -> bool:
        return self._doubted_ms is not None and self._now_ms() - self._doubted_ms < 1000 * DOUBT_FOR_S

    def _drain(self, now_ms: float) -> None:
        """Send less where both say so: a receiver that is only busy is late, too."""
        if self._queue.is_standing and self._is_in_doubt and self._asked_bps is not None:
            self._allowance.hold(now_ms, DRAIN * self._asked_bps, self._asked_bps)

    def _now_ms(self) -> float:
        return self._clock.monotonic_ns() / NS_PER_MS


class PacedEncoder(Encoder):
    """What a sender takes for its encoder, as far as what the receiver asks for is concerned."""

    def __init__(self, clock: Clock) -> None:
        self.downlink = DownlinkEstimate(clock)
        """What the receiver's network takes."""

    @property
    def target_bitrate(self) -> int:
        """What may be sent, bit/s; aiortc sets it to what the receiver asks for."""
        return self.downlink.bps

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self.downlink.hear_receiver(bitrate)
