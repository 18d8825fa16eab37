"""The sound of a recording: as it came in WebM, as AAC in MP4, where editors and phones want that."""

from __future__ import annotations

from typing import Any, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from streamer.continuous_sound import add_opus_stream, opus_packet
from streamer.opus import SAMPLE_RATE

AAC_BITRATE_BPS = 128_000
AAC_SAMPLES = 1024
"""Of one AAC frame."""


class SoundTrack(Protocol):
    """Takes Opus packets end to end, as `ContinuousSound` gives them."""

    def write(self, start: int, data: bytes) -> None:
        """Write one packet that begins at `start`, in 1/48000 s of the session."""
        ...

    def finish(self) -> None:
        """Write what is still held."""
        ...


def add_sound_track(container: Any, kind: str, origin: int) -> SoundTrack:  # noqa: ANN401 - PyAV's own types
    """Add the track to a container of `kind`, `mp4` or `webm`, whose time 0 is `origin`, in 1/48000 s."""
    return _AacTrack(container, origin) if kind == "mp4" else _OpusTrack(container, origin)


class _OpusTrack:
    def __init__(self, container: Any, origin: int) -> None:  # noqa: ANN401
        self._container = container
        self._origin = origin
        self._stream = add_opus_stream(container)

    def write(self, start: int, data: bytes) -> None:
        self._container.mux(opus_packet(self._stream, start - self._origin, data))

    def finish(self) -> None:
        """Every packet is written."""


class _AacTrack:
    """Decode and encode anew. The sound is continuous, so that counting its samples is enough to place it."""

    def __init__(self, container: Any, origin: int) -> None:  # noqa: ANN401
        self._container = container
        self._stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        self._stream.bit_rate = AAC_BITRATE_BPS
        self._decoder: Any = av.CodecContext.create("libopus", "r")
        self._decoder.sample_rate, self._decoder.layout = SAMPLE_RATE, "stereo"
        self._resampler = av.AudioResampler(format="fltp", layout="stereo", rate=SAMPLE_RATE, frame_size=AAC_SAMPLES)
        # The encoder puts a frame of its own in front, and an MP4 that is written in fragments cannot say so.
        self._end = origin + AAC_SAMPLES

    def write(self, start: int, data: bytes) -> None:
        try:
            frames = self._decoder.decode(av.Packet(data))
        except av.FFmpegError:
            frames = []  # Damaged by its sender: what it lacks is made up for by the next gap.
        for frame in frames:
            self._encode(frame, start)

    def finish(self) -> None:
        for frame in self._resampler.resample(None):
            self._encode_whole(frame)
        for packet in self._stream.encode(None):
            self._container.mux(packet)

    def _encode(self, frame: Any, start: int) -> None:  # noqa: ANN401
        gap = start - self._end
        if gap > 0:
            self._feed(np.zeros((2, gap), np.float32))
        samples = frame.to_ndarray().astype(np.float32)
        if frame.format.name == "s16":
            samples = samples.reshape(-1, 2).T / 32768
        self._feed(samples[:, max(0, -gap) :])

    def _feed(self, samples: NDArray[np.float32]) -> None:
        """Encode `[2, N]` samples, -1..1."""
        if not samples.shape[1]:
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="stereo")
        frame.sample_rate = SAMPLE_RATE
        self._end += frame.samples
        for whole in self._resampler.resample(frame):
            self._encode_whole(whole)

    def _encode_whole(self, frame: Any) -> None:  # noqa: ANN401
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
