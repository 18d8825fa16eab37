"""Video files in and out: frames with their times, H.264 with the source's sound."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error
import numpy as np
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

Image = NDArray[np.uint8]

COPIED_AUDIO = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
"""Sound that players of MP4 know: copied as it is. Other sound becomes AAC."""
QUALITY_CRF = 16
"""x264's constant rate factor: generated pictures are soft, and coarser steps would show as bands."""


class VideoError(Exception):
    """A video cannot be read or written; the message is one sentence for people."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video file says of itself."""

    frame_rate: Fraction
    """Average frames per second."""
    num_frames: int
    """Frames as the file says, 0 where it does not."""
    time_base: Fraction
    """Unit of presentation times, seconds."""


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """One decoded frame."""

    pts: int
    """Presentation time in units of the video's time base."""
    time_s: float
    """The same in seconds."""
    image: Image
    """`[H, W, 3]` RGB, upright."""


def probe(path: Path) -> VideoInfo:
    """Read what a file says of its video. Raises `VideoError` where it has none."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(f"{path} holds no video.")
            stream = container.streams.video[0]
            assert stream.time_base is not None
            rate = stream.average_rate or stream.guessed_rate or Fraction(30)
            count = stream.frames
            if not count and container.duration:
                count = round(float(rate) * container.duration / av.time_base)
            return VideoInfo(Fraction(rate), count, stream.time_base)
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path} cannot be opened as a video ({_reason(error)}).") from None


def read_video_frames(path: Path) -> Iterator[VideoFrame]:
    """Decode a file's video in order of presentation, turned upright. Raises `VideoError` where nothing can be read."""
    count = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(f"{path} holds no video.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            assert stream.time_base is not None
            last = -1
            for frame in container.decode(stream):
                # Broken files have frames without a time: they follow the frame before.
                pts = frame.pts if frame.pts is not None and frame.pts > last else last + 1
                last = pts
                image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                if frame.rotation:
                    image = np.ascontiguousarray(np.rot90(image, frame.rotation // 90))
                count += 1
                yield VideoFrame(pts, float(pts * stream.time_base), image)
    except (av.error.FFmpegError, OSError) as error:
        if count == 0:
            raise VideoError(f"{path} cannot be read as a video ({_reason(error)}).") from None
    if count == 0:
        raise VideoError(f"{path} holds no frame of video.")


class VideoWriter:
    """Write an MP4 beside its place, and put it there when it is whole.

    A context manager: leaving by an exception removes what was written.
    """

    def __init__(self, path: Path, size: int, info: VideoInfo, sound: Path | None = None) -> None:
        """Take frames of `size` x `size` pixels at the times of `info`, and the sound of the file `sound`.

        Raises `VideoError` where the file cannot be written.
        """
        self._path = path
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._time_base = info.time_base
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.touch()  # FFmpeg opens the file late: whether it may is known here
            self._container = av.open(str(self._partial), "w", format="mp4", options={"movflags": "+faststart"})
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(f"{path} cannot be written ({_reason(error)}).") from None
        rate = info.frame_rate.limit_denominator(60000)
        self._stream = self._container.add_stream(
            "libx264", rate, options={"crf": str(QUALITY_CRF), "preset": "medium"}
        )
        self._stream.width = self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = info.time_base
        for name, value in (("color_primaries", 1), ("color_trc", 1), ("colorspace", 1), ("color_range", 1)):
            setattr(self._stream.codec_context, name, value)  # BT.709, limited range
        self._sound = _Sound(self._container, sound) if sound is not None else None

    def write(self, image: Image, pts: int) -> None:
        """Add a picture `[S, S, 3]` uint8 RGB at time `pts`, in units of the source's time base."""
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts, frame.time_base = pts, self._time_base
        if self._sound is not None:
            self._sound.write_until(float(pts * self._time_base))
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode())
                if self._sound is not None:
                    self._sound.write_until(float("inf"))
        finally:
            if self._sound is not None:
                self._sound.close()
            self._container.close()
            if kind is None:
                os.replace(self._partial, self._path)
            self._partial.unlink(missing_ok=True)


class _Sound:
    """The first sound track of a file, on its way into another."""

    def __init__(self, output: av.container.OutputContainer, path: Path) -> None:
        self._output = output
        self._input = av.open(str(path))
        self._packets: Iterator[av.Packet[av.AudioStream]] = iter(())
        self._next: av.Packet[av.AudioStream] | None = None
        self._encoder: av.AudioStream | None = None
        self._resampler: AudioResampler | None = None
        if not self._input.streams.audio:
            return
        source = self._input.streams.audio[0]
        if source.codec_context.name in COPIED_AUDIO:
            self._copy: av.AudioStream | None = output.add_stream_from_template(source)
        else:
            self._copy = None
            self._encoder = output.add_stream("aac", source.rate)
            self._resampler = AudioResampler(format=self._encoder.format, layout=self._encoder.layout, rate=source.rate)
        self._packets = self._input.demux(source)
        self._next = next(self._packets, None)

    def write_until(self, time_s: float) -> None:
        """Write what sounds up to `time_s`."""
        while self._next is not None:
            packet = self._next
            if packet.dts is not None:
                assert packet.time_base is not None
                if float(packet.dts * packet.time_base) > time_s:
                    return
                self._write(packet)
            self._next = next(self._packets, None)
        if time_s == float("inf") and self._encoder is not None and self._resampler is not None:
            for frame in self._resampler.resample(None):
                self._output.mux(self._encoder.encode(frame))
            self._output.mux(self._encoder.encode())
            self._encoder = None

    def _write(self, packet: av.Packet[av.AudioStream]) -> None:
        if self._copy is not None:
            packet.stream = self._copy
            self._output.mux(packet)
            return
        assert self._encoder is not None
        assert self._resampler is not None
        for decoded in packet.decode():
            for frame in self._resampler.resample(decoded):
                self._output.mux(self._encoder.encode(frame))

    def close(self) -> None:
        self._input.close()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
