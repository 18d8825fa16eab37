"""Sound as a file or a transport stream wants it: packets end to end, and silence where the source sent none."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import av

from streamer.opus import SAMPLE_RATE, SILENCE, SILENCE_SAMPLES, num_samples
from streamer.packets import SOUND_TIME_BASE, SoundPacket

MAX_WAITING = 500
"""Packets, ten seconds; a writer that is further behind loses the oldest."""
STEP_SAMPLES = SAMPLE_RATE // 200
"""5 ms: packets that lie this near to the end of those before are put right behind them: clocks tremble."""
LATE_SAMPLES = SAMPLE_RATE // 5
"""200 ms: sound that has not come by then is silence."""


class ContinuousSound:
    """Collect the sound in one thread (`hear`), give it out in another (`take`), in 1/48000 s of the pictures' time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[SoundPacket] = deque(maxlen=MAX_WAITING)
        self._next: int | None = None

    def hear(self, packet: SoundPacket) -> None:
        """Take one packet without waiting."""
        with self._lock:
            self._waiting.append(packet)

    def take(self, until: int, late: int = LATE_SAMPLES) -> list[tuple[int, bytes]]:
        """Return start and data of every packet that begins before `until`, the time of the newest picture.

        The first call says where the sound begins. Silence reaches up to `late` before `until`: what comes later than
        that is lost.
        """
        if self._next is None:
            self._next = until
        out: list[tuple[int, bytes]] = []
        with self._lock:
            while self._waiting and self._waiting[0].pts < until:
                self._append(self._waiting.popleft(), out)
            if not self._waiting:
                self._fill(until - late, out)
        return out

    def _append(self, packet: SoundPacket, out: list[tuple[int, bytes]]) -> None:
        assert self._next is not None
        if packet.pts < self._next - STEP_SAMPLES:
            return  # Its place has been filled.
        self._fill(packet.pts, out)
        start = self._next if packet.pts - self._next <= STEP_SAMPLES else packet.pts
        out.append((start, packet.data))
        self._next = start + num_samples(packet.data)

    def _fill(self, until: int, out: list[tuple[int, bytes]]) -> None:
        assert self._next is not None
        while self._next + SILENCE_SAMPLES <= until:
            out.append((self._next, SILENCE))
            self._next += SILENCE_SAMPLES


def add_opus_stream(container: Any) -> Any:  # noqa: ANN401 - PyAV's own types
    """Add a track for Opus packets that come encoded to a container."""
    stream = container.add_stream("libopus", rate=SAMPLE_RATE, layout="stereo")
    stream.codec_context.open()  # It encodes nothing, but writes the header that containers want (RFC 7845).
    return stream


def opus_packet(stream: Any, start: int, data: bytes) -> av.Packet[Any]:  # noqa: ANN401
    """Make a packet of `stream` out of Opus data that begins at `start`, in 1/48000 s."""
    packet = av.Packet(data)
    packet.pts = packet.dts = start
    packet.duration = num_samples(data)
    packet.time_base = SOUND_TIME_BASE
    packet.stream = stream
    return packet
