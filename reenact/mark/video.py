"""Read the mark of a whole video, a few seconds at a time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from capture.containers import open_video
from reenact.mark.demodulate import Excerpt, join, reduce_frame
from reenact.mark.locate import Place
from reenact.mark.message import Message
from reenact.mark.read import Reading, read
from reenact.video import VideoError

EXCERPT_S = 5.0
"""Length of what is read at once."""
LONG_EXCERPT_S = 20.0
"""The same, tried where nothing was read: what is too faint in five seconds may show in twenty."""
MIN_REST_S = 1.0
"""What is left at the end is worth another excerpt if this much of it is new."""
NUM_SEARCHES = 8
"""Excerpts without a mark after which it is no longer searched for at every scale, only where marks usually lie."""

Planes = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Found:
    """One message and where in the video it was read."""

    message: Message
    from_s: float
    to_s: float
    """From the first frame of the first excerpt to the last of the last one, seconds from the video's start."""
    num_read: int
    """Excerpts that said so."""
    chip_error: float
    """Mean over them: see `Reading`."""
    score: float
    """Best of them: see `Reading`."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Every message in a video."""

    marks: list[Found]
    """In the order in which they come."""
    num_excerpts: int
    """Excerpts that were looked at."""


def read_mark(path: Path, on_frame: Callable[[], None] = lambda: None) -> Marks:
    """Read every mark in a video; `on_frame` is called once for each frame. Raises `VideoError`."""
    found = _read_excerpts(reduced_frames(path, on_frame), EXCERPT_S)
    if not found.marks and found.num_excerpts > 1:
        found = _read_excerpts(reduced_frames(path), LONG_EXCERPT_S)
    return found


def _read_excerpts(frames: Iterator[tuple[float, Planes]], length_s: float) -> Marks:
    readings: list[tuple[float, float, Reading]] = []
    known: list[Place] = []
    count = 0
    for start_s, excerpt in excerpts(frames, length_s):
        count += 1
        reading = read(excerpt, known, is_searching=bool(readings) or count <= NUM_SEARCHES)
        if reading is not None:
            known = [reading.place]
            readings.append((start_s, start_s + float(excerpt.times_s[-1] - excerpt.times_s[0]), reading))
    return Marks(_gather(readings), count)


def reduced_frames(path: Path, on_frame: Callable[[], None] = lambda: None) -> Iterator[tuple[float, Planes]]:
    """Decode a video's luma and blue difference, reduced, with times in seconds from its first frame."""
    count = 0
    try:
        with open_video(path) as container:
            if not container.streams.video:
                raise VideoError(f"{path} holds no video.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            start: float | None = None
            last = -1.0
            for frame in container.decode(stream):
                if frame.pts is None:
                    continue
                start = frame.time if start is None else start
                if frame.time - start <= last:
                    continue
                last = frame.time - start
                count += 1
                yield last, reduced(frame)
                on_frame()
    except (av.error.FFmpegError, OSError) as error:
        if count == 0:
            raise VideoError(f"{path} cannot be read as a video ({error.strerror or error}).") from None
    if count == 0:
        raise VideoError(f"{path} holds no frame of video.")


def reduced(frame: av.VideoFrame) -> Planes:
    """Reduce a decoded frame: see `reduce_frame`."""
    if frame.format.name not in ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"):
        frame = frame.reformat(format="yuv444p")
    return reduce_frame(*(_pixels(plane) for plane in frame.planes[:2]))


def _pixels(plane: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - PyAV's planes are buffers that its types do not show
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]


def excerpts(frames: Iterator[tuple[float, Planes]], length_s: float = EXCERPT_S) -> Iterator[tuple[float, Excerpt]]:
    """Cut a video into excerpts that overlap by half, each with the time at which it starts."""
    window: deque[tuple[float, Planes]] = deque()
    shown_s = -math.inf  # up to where excerpts have shown the video
    for time_s, planes in frames:
        if window and planes.shape != window[-1][1].shape:
            window.clear()
        if window and time_s >= window[0][0] + length_s:
            start_s, shown_s = window[0][0], window[-1][0]
            yield start_s, join(list(window))
            while window and window[0][0] < start_s + 0.5 * length_s:
                window.popleft()
        window.append((time_s, planes))
    if window and window[-1][0] - shown_s >= MIN_REST_S:
        yield window[0][0], join(list(window))


def _gather(readings: list[tuple[float, float, Reading]]) -> list[Found]:
    by_message: dict[Message, list[tuple[float, float, Reading]]] = {}
    for item in readings:
        by_message.setdefault(item[2].message, []).append(item)
    return [
        Found(
            message=message,
            from_s=items[0][0],
            to_s=items[-1][1],
            num_read=len(items),
            chip_error=float(np.mean([reading.chip_error for _, _, reading in items])),
            score=max(reading.score for _, _, reading in items),
        )
        for message, items in by_message.items()
    ]
