"""Frames of a few seconds to one complex picture: what swings at the mark's frequency, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from reenact.mark.pattern import FREQUENCY_HZ

LONGEST_SIDE = 320
"""Frames are reduced to this before anything else: sixteen pixels for a chip of a picture that fills them."""
CLIP_LEVELS = 4.0
"""What moves by more than this within a third of a second is no mark: a cut, an edge that passes, a key frame."""
NOISE_OFFSETS_HZ = (-1.1, -0.8, -0.5, 0.5, 0.8, 1.1)
"""Frequencies beside the mark's, where only noise is: how much of it there is in each place."""
NOISE_FLOOR = 0.002
"""Least variance of a place, levels squared: below, rounding has the word."""
MIN_FRAME_RATE = 2.2 * FREQUENCY_HZ


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A few seconds of video, reduced."""

    times_s: NDArray[np.float64]
    """`[N]`, ascending, in seconds."""
    planes: NDArray[np.float16]
    """`[N, 2, h, w]`: luma and blue difference, levels of 255."""


@dataclass(frozen=True, slots=True)
class Swing:
    """What swings at the mark's frequency."""

    amplitude: NDArray[np.complex64]
    """`[2, h, w]`: amplitude and phase in luma and blue difference, levels."""
    variance: NDArray[np.float32]
    """`[2, h, w]`: variance of the noise in it, levels squared."""

    @property
    def weighted(self) -> NDArray[np.complex64]:
        """Both planes as one picture `[h, w]`, each place weighted by how sure it is."""
        return (self.amplitude / self.variance).sum(axis=0)


def reduce_frame(luma: NDArray[np.uint8], blue: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Reduce the planes of a frame, `[H, W]` and `[H', W']`, to `[2, h, w]` of at most `LONGEST_SIDE` pixels a side."""
    height, width = luma.shape
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.stack([_resize(plane.astype(np.float32), size) for plane in (luma, blue)]).astype(np.float16)


def _resize(plane: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    is_smaller = size[0] < plane.shape[1]
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR))


def demodulate(excerpt: Excerpt) -> Swing | None:
    """Find what swings at the mark's frequency; None where there are too few frames to tell."""
    times, planes = excerpt.times_s, excerpt.planes
    if len(times) < 8:
        return None
    rate = 1.0 / float(np.median(np.diff(times)))
    if rate < MIN_FRAME_RATE or times[-1] - times[0] < 2.0 / FREQUENCY_HZ:
        return None
    frequencies = FREQUENCY_HZ + np.array((0.0, *NOISE_OFFSETS_HZ))
    waves = np.exp(-2j * np.pi * frequencies[:, None] * times[None, :]).astype(np.complex64) * (2.0 / len(times))
    flat = planes.reshape(len(times), -1)
    found = np.empty((len(frequencies), flat.shape[1]), np.complex64)
    period = max(3, round(rate / FREQUENCY_HZ))
    step = 1 << 14  # pixels at a time: what is held beside the excerpt stays small
    for start in range(0, flat.shape[1], step):
        values = flat[:, start : start + step].astype(np.float32)
        values -= cv2.blur(values, (1, period), borderType=cv2.BORDER_REFLECT_101)
        found[:, start : start + step] = waves @ np.clip(values, -CLIP_LEVELS, CLIP_LEVELS)
    found = found.reshape(-1, *planes.shape[1:])
    variance = np.mean(np.abs(found[1:]) ** 2, axis=0)
    smooth = max(planes.shape[2:]) / 80.0
    variance = np.stack([cv2.GaussianBlur(plane, (0, 0), smooth) for plane in variance.astype(np.float32)])
    return Swing(found[0], variance + np.float32(NOISE_FLOOR))


def join(frames: Sequence[tuple[float, NDArray[np.float16]]]) -> Excerpt:
    """Join reduced frames with their times in seconds."""
    return Excerpt(np.array([time_s for time_s, _ in frames]), np.stack([planes for _, planes in frames]))
