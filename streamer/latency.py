"""Glass to glass, frame by frame: what the server knows of each, for the page, which knows the two ends.

The page sees when its camera caught a picture and when the answer is on the screen; the server sees everything between.
It tells the page of every frame that has left, the page joins both ends to it and reports back what came of it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from streamer.clock import NS_PER_MS, elapsed_ms
from streamer.metrics import GLASS, Meter
from streamer.packets import TargetFrame

PARTS = ("camera", "uplink", "decode", "queue", "track", "render", "generate", "encode", "downlink", "display")
"""Glass to glass in the order of the way. `camera` ends when the frame's first packet leaves the page, `uplink` when
the server has all of it, `encode` when the answer's last packet has left, `downlink` when the browser has it."""
ENDS = ("camera", "uplink", "downlink", "display")
"""The parts that only the page can measure."""
MAX_WAITING = 64
"""Frames, two seconds at 30 fps, of which the page has not heard yet."""
UNIX_EPOCH_S = 2_208_988_800
"""Of NTP's clock, which begins with 1900."""


@dataclass(frozen=True, slots=True)
class SenderClock:
    """The source's own wall clock at one RTP timestamp, by its newest sender report."""

    unix_ms: float
    rtp_timestamp: int

    @classmethod
    def from_report(cls, ntp_timestamp: int, rtp_timestamp: int) -> SenderClock:
        """Take over an RTCP sender report (RFC 3550 section 6.4.1)."""
        return cls(round((ntp_timestamp / (1 << 32) - UNIX_EPOCH_S) * 1e3, 3), rtp_timestamp)


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What the page saw of one frame: glass to glass and its `ENDS`, ms."""

    total_ms: float
    camera_ms: float | None
    """None where the source does not say when its packets leave: it is in `uplink_ms` then."""
    uplink_ms: float
    downlink_ms: float
    display_ms: float

    def report(self, meter: Meter) -> None:
        """Count it into the server's figures."""
        meter.time(GLASS, self.total_ms)
        for name, ms in zip(ENDS, (self.camera_ms, self.uplink_ms, self.downlink_ms, self.display_ms), strict=True):
            if ms is not None:
                meter.time(name, ms)


class Departures:
    """The frames that have left since the page was told last."""

    def __init__(self) -> None:
        self._rows: deque[list[float | int | None]] = deque(maxlen=MAX_WAITING)

    def add(self, frame: TargetFrame, rtp_timestamp: int, now_ns: int) -> None:
        """Note that the last packet of `frame`, sent under `rtp_timestamp`, has left."""
        journey = frame.journey
        if journey is None:
            return
        stages = journey.stages_ms
        track_ms = stages.get("track", 0.0) + stages.get("transfer", 0.0)
        render_ms = stages.get("render", 0.0)
        queue_ms = max(0.0, elapsed_ms(journey.complete_ns, journey.taken_ns) - journey.decode_ms) + journey.waited_ms
        before_ms = journey.convert_ms + track_ms + render_ms + journey.waited_ms
        generate_ms = elapsed_ms(journey.taken_ns, journey.made_ns) - before_ms
        decode_ms, encode_ms = journey.decode_ms + journey.convert_ms, elapsed_ms(journey.made_ns, now_ns)
        uplink_ms = None if journey.sent_ns is None else elapsed_ms(journey.sent_ns, journey.complete_ns)
        self._rows.append(
            [
                rtp_timestamp,
                journey.rtp_timestamp,
                round(journey.complete_ns / NS_PER_MS, 2),
                None if uplink_ms is None else round(uplink_ms, 2),
                *(round(ms, 2) for ms in (decode_ms, queue_ms, track_ms, render_ms, generate_ms, encode_ms)),
            ]
        )

    def take(self) -> list[list[float | int | None]]:
        """Return a row for each frame that left since the last call, and forget them.

        A row: RTP timestamps of the answer and of the source's frame; when it had arrived whole, `Clock` time in ms;
        what it waited on the way here (None if the source does not say); then decode, queue, track, render, generate
        and encode.
        """
        rows = list(self._rows)
        self._rows.clear()
        return rows
