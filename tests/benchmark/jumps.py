"""Changes of pose that pixels give away: a camera that cuts between two poses of a face, and when a video follows.

Nothing here knows of frames, time stamps in packets or of our own clocks: only what two videos showed, and when.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from capture.landmarks import LandmarkDetector
from tests.clips import CACHE, _constant_rate, read_frames

FPS = 30
HOLD_FRAMES = 20
"""Frames from one cut to the next, two thirds of a second: twice as long as a late answer."""
SLOWER = 4
"""Between the cuts the clip plays at this fraction of its speed."""
SETTLED_MS = (250.0, 450.0)
"""When after a cut the answer surely shows the new pose and no other yet."""
MIN_CONTRAST = 4.0
"""How much further apart the two poses must be than pictures of one of them, to count."""
NOSE, LEFT, RIGHT = 1, 234, 454
"""MediaPipe's landmarks: tip of the nose, and the face's two edges."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Watched:
    """What one video showed: small grey pictures `[N, P]`, and a time in ms for each."""

    pictures: Array
    times_ms: Array


def jumping_camera(clip: Path, *, size: tuple[int, int], seconds: float) -> Path:
    """Write a camera file that cuts every `HOLD_FRAMES` frames between a face turned left and one turned right.

    Between the cuts the clip plays on, slowly: codecs have work, but no movement of its own is taken for an answer.
    """
    path = CACHE / f"{clip.stem}-cuts-{size[0]}x{size[1]}-{seconds:g}.y4m"
    if path.exists():
        return path
    frames = _constant_rate(clip, FPS, size, 30.0)
    turns = _turns(clip, len(frames))
    starts = np.arange(len(turns) - HOLD_FRAMES)
    mean = np.array([turns[start : start + HOLD_FRAMES].mean() for start in starts])
    order = np.argsort(np.where(np.isfinite(mean), mean, 0.0))
    ends = [_apart(order), _apart(order[::-1])]
    CACHE.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.part")
    with partial.open("wb") as file:
        file.write(f"YUV4MPEG2 W{size[0]} H{size[1]} F{FPS}:1 Ip A1:1 C420mpeg2\n".encode())
        for number in range(round(seconds * FPS)):
            hold, step = divmod(number, HOLD_FRAMES)
            side = ends[hold % 2]
            file.write(b"FRAME\n" + frames[side[hold // 2 % len(side)] + step // SLOWER].tobytes())
    partial.replace(path)
    return path


def _turns(clip: Path, count: int) -> Array:
    """Give how far the head is turned in each frame, -1 to 1; NaN without a face."""
    turns = np.full(count, np.nan)
    with LandmarkDetector() as detector:
        for index, (_, image) in enumerate(read_frames(clip, limit=count)):
            if index % 2 == 0 and (found := detector.detect(image)) is not None:
                points = found.points_px
                middle = 0.5 * (points[LEFT, 0] + points[RIGHT, 0])
                turns[index] = 2.0 * (points[NOSE, 0] - middle) / abs(points[RIGHT, 0] - points[LEFT, 0])
    known = np.flatnonzero(np.isfinite(turns))
    return np.interp(np.arange(count), known, turns[known])


def _apart(order: NDArray[np.int64], count: int = 4) -> list[int]:
    """Take the first few that do not overlap."""
    taken: list[int] = []
    for start in order:
        if all(abs(int(start) - other) >= HOLD_FRAMES for other in taken):
            taken.append(int(start))
        if len(taken) == count:
            break
    return taken


def cuts(camera: Watched) -> list[float]:
    """Find when the camera cut, by its pictures: the time of each first picture of another pose.

    A cut counts only if the picture before was seen too: else it may have been earlier.
    """
    steps = np.abs(np.diff(camera.pictures, axis=0)).mean(1)
    usual = float(np.median(steps)) + 1e-6
    gaps = np.diff(camera.times_ms)
    high = max(4.0 * usual, 0.6 * float(np.percentile(steps, 98)))
    return [
        float(camera.times_ms[index + 1]) for index in np.flatnonzero(steps > high) if gaps[index] < 1.6 * 1000.0 / FPS
    ]


@dataclass(frozen=True, slots=True)
class Change:
    """The camera cut to another pose, and the output followed; times in ms."""

    cut_ms: float
    followed_ms: float

    @property
    def delay_ms(self) -> float:
        """From one to the other."""
        return self.followed_ms - self.cut_ms


def changes(camera: Watched, output: Watched) -> list[Change]:
    """Give for each cut of the camera when the output was nearer to the new pose than to the old."""
    found = []
    for at, _ in pairwise([*cuts(camera), np.inf]):
        since = output.times_ms - at
        old = output.pictures[(since > -150.0) & (since < 0.0)]
        new = output.pictures[(since > SETTLED_MS[0]) & (since < SETTLED_MS[1])]
        if len(old) < 2 or len(new) < 3:
            continue
        before, after = old.mean(0), new.mean(0)
        way = after - before
        length = float(way @ way)
        spread = max(float(((old - before) ** 2).sum(1).mean()), float(((new - after) ** 2).sum(1).mean()))
        if length < MIN_CONTRAST * spread:
            continue
        window = np.flatnonzero((since > 0.0) & (since < SETTLED_MS[1]))
        share = (output.pictures[window] - before) @ way / length
        crossed = window[share > 0.5]
        if len(crossed):
            found.append(Change(at, float(output.times_ms[crossed[0]])))
    return found
