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
from numpy.typing import NDArray

from capture.containers import open_video
from capture.video import upright
from reenact.sound import Sound

Image = NDArray[np.uint8]

FORMATS: dict[str, tuple[str, dict[str, str], dict[str, str]]] = {
    ".mp4": ("mp4", {"movflags": "+faststart"}, {}),
    ".nut": ("nut", {}, {"bf": "0"}),
}
"""Containers that can be written, with FFmpeg's options and x264's. NUT is for what is joined later: its packets keep
their times, and without frames that look ahead they follow each other in any clock."""
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
    start_s: float = 0.0
    """Time of its first frame, seconds: sound may begin before it."""


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
        with open_video(path) as container:
            if not container.streams.video:
                raise VideoError(f"{path} holds no video.")
            stream = container.streams.video[0]
            assert stream.time_base is not None
            rate = stream.average_rate or stream.guessed_rate or Fraction(30)
            count = stream.frames
            if not count and container.duration:
                count = round(float(rate) * container.duration / av.time_base)
            start = float((stream.start_time or 0) * stream.time_base)
            return VideoInfo(Fraction(rate), count, stream.time_base, start)
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path} cannot be opened as a video ({_reason(error)}).") from None


def read_video_frames(path: Path) -> Iterator[VideoFrame]:
    """Decode a file's video in order of presentation, turned upright. Raises `VideoError` where nothing can be read."""
    count = 0
    try:
        with open_video(path) as container:
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
                count += 1
                yield VideoFrame(pts, float(pts * stream.time_base), upright(frame))
    except (av.error.FFmpegError, OSError) as error:
        if count == 0:
            raise VideoError(f"{path} cannot be read as a video ({_reason(error)}).") from None
    if count == 0:
        raise VideoError(f"{path} holds no frame of video.")


class VideoWriter:
    """Write an MP4, or a NUT, beside its place, and put it there when it is whole.

    A context manager: leaving by an exception removes what was written.
    """

    def __init__(self, path: Path, size: int | tuple[int, int], info: VideoInfo, sound: Path | None = None) -> None:
        """Take frames of `size` (width, height; one number for both) in the units of time of `info`.

        The sound is that of the file `sound`.

        Raises `VideoError` where the file cannot be written.
        """
        self._path = path
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._time_base = info.time_base
        kind, options, coding = FORMATS[path.suffix.lower()]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._partial.touch()  # FFmpeg opens the file late: whether it may is known here
            self._container = av.open(str(self._partial), "w", format=kind, options=options)
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(f"{path} cannot be written ({_reason(error)}).") from None
        rate = info.frame_rate.limit_denominator(60000)
        self._stream = self._container.add_stream(
            "libx264", rate, options={"crf": str(QUALITY_CRF), "preset": "medium", **coding}
        )
        self._stream.width, self._stream.height = (size, size) if isinstance(size, int) else size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = info.time_base
        for name, value in (("color_primaries", 1), ("color_trc", 1), ("colorspace", 1), ("color_range", 1)):
            setattr(self._stream.codec_context, name, value)  # BT.709, limited range
        try:
            self._sound = Sound(self._container, sound) if sound is not None else None
        except (av.error.FFmpegError, OSError) as error:
            settle(self._container, self._partial, None)
            raise VideoError(f"The sound of {sound} cannot be read ({_reason(error)}).") from None

    def write(self, image: Image, pts: int) -> None:
        """Add a picture `[H, W, 3]` uint8 RGB at time `pts`, in units of the time base.

        Raises `VideoError` where it cannot be written: the disk is full.
        """
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts, frame.time_base = pts, self._time_base
        try:
            if self._sound is not None:
                self._sound.write_until(float(pts * self._time_base))
            self._container.mux(self._stream.encode(frame))
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(f"{self._path} cannot be written ({_reason(error)}).") from None

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
        except (av.error.FFmpegError, OSError) as failure:
            kind = type(failure)
            raise VideoError(f"{self._path} cannot be written ({_reason(failure)}).") from None
        finally:
            if self._sound is not None:
                self._sound.close()
            settle(self._container, self._partial, self._path if kind is None else None)


def settle(container: av.container.OutputContainer, partial: Path, path: Path | None) -> None:
    """Close a half-made file and put it at `path`, whole and on the disk; None, or a failure, removes it.

    Raises `VideoError` where the rest cannot be written.
    """
    try:
        container.close()
        if path is not None:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
    except (av.error.FFmpegError, OSError) as error:
        if path is not None:
            raise VideoError(f"{path} cannot be written ({_reason(error)}).") from None
    finally:
        partial.unlink(missing_ok=True)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
