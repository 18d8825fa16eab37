"""The source's sound: it waits until the picture of the same moment leaves, and goes to whoever wants it.

Opus packets are neither decoded nor encoded: they go on as they came, the same ones to everybody. Reports of the sender
put sound and pictures on one timeline (`streamer.timeline`); how long a picture takes from its capture to its
departure is measured on every frame, and that is how long the sound of that moment may take too. A packet that comes
later than its picture leaves at once: sound never waits for anything but the picture.
"""

from __future__ import annotations

import asyncio
import statistics
from collections import deque
from collections.abc import Callable
from typing import Protocol

from aiortc.rtp import RtpPacket

from streamer.aiortc_adapter import payload_of
from streamer.clock import NS_PER_S, Clock, elapsed_ms
from streamer.jitter import Unwrapper
from streamer.metrics import Meter
from streamer.opus import SAMPLE_RATE, num_samples
from streamer.packets import SOUND_TIME_BASE, VIDEO_TIME_BASE, SoundPacket, TargetFrame
from streamer.timeline import Timeline

NTP_PER_S = 1 << 32
MAX_WAITING = 150
"""Packets, three seconds of sound, that may wait for their pictures; then the oldest is lost."""
PICTURES_KEPT = 31
"""Their median departure is the sound's: a second at 30 fps, so that no single late picture moves it."""
PRESENT_S = 1.0
"""A source that sent no sound for so long is silent: its microphone is off."""
WAIT = "sound_wait"
"""Name of the stage in `/metrics`: how long a packet waited for its picture."""


class SoundSink(Protocol):
    """Anything that takes the sound; called on the event loop, and must not wait."""

    def hear(self, packet: SoundPacket) -> None:
        """Take one packet."""
        ...


class Sound:
    """Stand in for the jitter buffer of the sound's receiver. All methods but `follow` run on the event loop."""

    def __init__(
        self, *, loop: asyncio.AbstractEventLoop, clock: Clock, meter: Meter, picture_pts: Callable[[int], int | None]
    ) -> None:
        """Take timers from `loop`; `picture_pts` gives the `pts` of a picture's RTP timestamp, None if unknown."""
        self._loop = loop
        self._clock = clock
        self._meter = meter
        self._picture_pts = picture_pts
        self._timeline = Timeline()
        self._sequences, self._timestamps = Unwrapper(16), Unwrapper(32)
        self._ssrc: int | None = None
        self._payload_types: frozenset[int] = frozenset()
        self._departures: deque[int] = deque(maxlen=PICTURES_KEPT)
        self._waiting: dict[int, tuple[int, int, bytes]] = {}  # By sequence: timestamp, arrival, data.
        self._last_seq: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sinks: tuple[SoundSink, ...] = ()
        self._last_packet_ns: int | None = None

    @property
    def is_present(self) -> bool:
        """True while the source sends sound."""
        return self._last_packet_ns is not None and self._clock.monotonic_ns() - self._last_packet_ns < PRESENT_S * 1e9

    @property
    def num_waiting(self) -> int:
        """Packets that wait for their picture."""
        return len(self._waiting)

    @property
    def is_exact(self) -> bool:
        """True once the sender's reports, and not arrivals, say what belongs together."""
        return self._timeline.is_exact

    def connect(self, payload_types: frozenset[int]) -> None:
        """Take Opus packets of these payload types."""
        self._payload_types = payload_types

    def add_sink(self, sink: SoundSink) -> None:
        """Give every later packet to `sink` too."""
        self._sinks = (*self._sinks, sink)

    def remove_sink(self, sink: SoundSink) -> None:
        """Give `sink` no more; nothing happens if it had gone."""
        self._sinks = tuple(other for other in self._sinks if other is not sink)

    def close(self) -> None:
        """Hand nothing out any more."""
        self._payload_types = frozenset()
        self._sinks = ()
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What is known of time

    def report_sound(self, ntp_timestamp: int, rtp_timestamp: int) -> None:
        """Hear what the sound's sender reports: its wall clock (NTP, 64 bits), and its RTP timestamp then."""
        if self._ssrc is not None:
            time_s = self._timestamps.peek(rtp_timestamp) / SAMPLE_RATE
            self._timeline.report_sound(ntp_timestamp / NTP_PER_S, time_s)

    def report_picture(self, ntp_timestamp: int, rtp_timestamp: int) -> None:
        """As `report_sound`, of the pictures."""
        pts = self._picture_pts(rtp_timestamp)
        if pts is not None:
            self._timeline.report_picture(ntp_timestamp / NTP_PER_S, float(pts * VIDEO_TIME_BASE))

    def follow(self, frame: TargetFrame) -> None:
        """Note that a picture leaves now. Any thread."""
        pts_s = float(frame.pts * frame.time_base)
        self._timeline.picture_arrived(frame.captured_ns / NS_PER_S, pts_s)
        self._departures.append(self._clock.monotonic_ns() - int(pts_s * NS_PER_S))

    # What aiortc calls

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """Take one RTP packet in; there is never a key frame to ask for."""
        data, now_ns = payload_of(packet), self._clock.monotonic_ns()
        if packet.payload_type not in self._payload_types or not num_samples(data):
            return False, None
        self._last_packet_ns = now_ns
        if packet.ssrc != self._ssrc:
            self._restart(packet.ssrc)
        seq = self._sequences.unwrap(packet.sequence_number)
        timestamp = self._timestamps.unwrap(packet.timestamp)
        self._timeline.sound_arrived(now_ns / NS_PER_S, timestamp / SAMPLE_RATE)
        if self._last_seq is not None and seq <= self._last_seq:
            self._meter.drop("sound_late")
            return False, None
        self._waiting.setdefault(seq, (timestamp, now_ns, data))
        if len(self._waiting) > MAX_WAITING:
            del self._waiting[min(self._waiting)]
            self._meter.drop("sound_full")
        self._release()
        return False, None

    def _restart(self, ssrc: int) -> None:
        self._ssrc = ssrc
        self._sequences, self._timestamps = Unwrapper(16), Unwrapper(32)
        self._waiting.clear()
        self._last_seq = None

    def _release(self) -> None:
        """Hand out what is due, in order, and come back when the next one is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            seq = min(self._waiting)
            timestamp, arrived_ns, data = self._waiting[seq]
            pts_s = self._timeline.picture_time(timestamp / SAMPLE_RATE)
            if pts_s is None or not self._departures:
                # No picture has left: there is nothing that this could be heard with.
                del self._waiting[seq]
                continue
            now_ns = self._clock.monotonic_ns()
            due_ns = int(pts_s * NS_PER_S + statistics.median(tuple(self._departures)))
            if due_ns > now_ns:
                self._timer = self._loop.call_later((due_ns - now_ns) / NS_PER_S, self._release)
                return
            del self._waiting[seq]
            self._last_seq = seq
            self._meter.time(WAIT, elapsed_ms(arrived_ns, now_ns))
            packet = SoundPacket(
                seq=seq,
                pts=round(pts_s * SAMPLE_RATE),
                time_base=SOUND_TIME_BASE,
                captured_ns=arrived_ns,
                timestamp=timestamp,
                data=data,
            )
            for sink in self._sinks:
                sink.hear(packet)
