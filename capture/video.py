"""Read videos as RGB frames with their times, upright however the camera was held."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from capture.containers import open_video

Image = NDArray[np.uint8]


class VideoError(Exception):
    """A video cannot be read; the message is a sentence for people."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video says of itself."""

    width: int
    """Width of the upright picture in pixels."""
    height: int
    """Height of the upright picture in pixels."""
    fps: float
    """Average frame rate."""
    num_frames: int
    """Frames, 0 where the file does not tell."""


def video_info(path: Path) -> VideoInfo:
    """Look at a video. Raises `VideoError`."""
    with _open(path) as container:
        stream = container.streams.video[0]
        first = next(container.decode(stream), None)
        if first is None:
            raise VideoError(f"{path} has no picture that can be decoded.")
        width, height = first.width, first.height
        if _quarter_turns(first) % 2:
            width, height = height, width
        fps = float(stream.average_rate or stream.guessed_rate or 30)
        count = stream.frames
        if not count and stream.duration and stream.time_base:
            count = round(float(stream.duration * stream.time_base) * fps)
        return VideoInfo(width, height, fps, count)


def read_video(path: Path, *, start: int = 0) -> Generator[tuple[float, Image], None, None]:
    """Yield (time in seconds from the first frame, image `[H, W, 3]` uint8 RGB) from frame `start` on.

    Rotation that the file asks for is done. Times rise strictly, also where the file's do not. A damaged frame is
    skipped. Raises `VideoError` where nothing can be read.
    """
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        period = 1.0 / float(stream.average_rate or stream.guessed_rate or 30)
        origin: float | None = None
        last = -period
        for index, frame in enumerate(decode(container, stream)):
            time_s = float(frame.time) if frame.time is not None else (origin or 0.0) + last + period
            origin = time_s if origin is None else origin
            last = max(time_s - origin, last + 1e-3) if index else 0.0
            if index >= start:
                yield last, upright(frame)
        if origin is None:
            raise VideoError(f"{path} has no picture that can be decoded.")


def _open(path: Path) -> av.container.InputContainer:
    if not path.is_file():
        raise VideoError(f"There is no file {path}.")
    try:
        container = open_video(path)
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(f"{path} is no video that can be read ({error}).") from error
    if not container.streams.video:
        container.close()
        raise VideoError(f"{path} has no video in it.")
    return container


def decode(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Yield a video's frames in order of presentation; a damaged packet costs its own frames."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            continue


def upright(frame: av.VideoFrame) -> Image:
    """Give a decoded frame as `[H, W, 3]` uint8 RGB, turned as its file asks for."""
    image = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    turns = _quarter_turns(frame)
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _quarter_turns(frame: av.VideoFrame) -> int:
    """Give the quarter turns counter-clockwise that bring a frame upright."""
    return round(frame.rotation / 90.0) % 4
