"""Put the mark into pictures: one multiply-add for each byte, compiled."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reenact.mark.message import Message
from reenact.mark.pattern import FREQUENCY_HZ, payload_chips, reference_chips, stretch

Image = NDArray[np.uint8]

STRENGTH = (0.0, 0.0, 2.2)
"""Root mean square of the mark in red, green and blue, levels of 255. Eyes see changes of blue least, and encoders keep
them: a blue difference of 1.1 is left of it, and a brightness of 0.25."""
UNIT = 1.0 / 16.0
"""Levels that one step of a stored pattern stands for."""
DITHER_UNIT = 1.0 / 256.0


class Marker:
    """Mark the pictures of one message and one size."""

    def __init__(self, message: Message, height: int, width: int) -> None:
        """Prepare the patterns for pictures of `height` x `width` pixels: a few milliseconds."""
        self.message = message
        self._shape = (height, width, 3)
        self._reference = _levels(stretch(reference_chips(), height, width))
        self._payload = _levels(stretch(payload_chips(message), height, width))
        self._dither = _dither(height, width)

    def apply(self, image: Image, time_s: float) -> None:
        """Mark a picture `[H, W, 3]` uint8 RGB shown at `time_s`, in place. Raises `ValueError` for another shape."""
        if image.shape != self._shape or image.dtype != np.uint8 or not image.flags.c_contiguous:
            raise ValueError(f"expected contiguous uint8 {self._shape}, got {image.dtype} {image.shape}")
        phase = 2.0 * math.pi * math.fmod(FREQUENCY_HZ * time_s, 1.0)
        _add(
            image.reshape(-1),
            self._reference,
            self._payload,
            self._dither,
            np.float32(UNIT * math.cos(phase)),
            np.float32(UNIT * math.sin(phase)),
        )


def _levels(picture: NDArray[np.float32]) -> NDArray[np.int8]:
    """Turn a pattern of mean square 1 into bytes `[H * W * 3]`, in units of `UNIT` levels."""
    levels = picture[..., None] * np.array(STRENGTH, np.float32) / UNIT
    return np.clip(np.round(levels), -127, 127).astype(np.int8).reshape(-1)


def _dither(height: int, width: int) -> NDArray[np.uint8]:
    """Give thresholds `[H * W * 3]` for rounding: without them half a level would show as a step, or not at all.

    Fractions of an irrational walk over the plane: even in every small neighbourhood, and without a visible grid.
    """
    x, y, channel = np.arange(width)[None, :, None], np.arange(height)[:, None, None], np.arange(3)[None, None, :]
    thresholds = np.mod(0.7548776662 * x + 0.5698402910 * y + channel / 3.0, 1.0)
    return (thresholds / DITHER_UNIT).astype(np.uint8).reshape(-1)


@njit(cache=True, nogil=True)
def _add(
    image: NDArray[np.uint8],
    reference: NDArray[np.int8],
    payload: NDArray[np.int8],
    dither: NDArray[np.uint8],
    cosine: np.float32,
    sine: np.float32,
) -> None:
    """Add both patterns and round by the thresholds; all arrays `[N]`."""
    low, high, unit = np.float32(0.0), np.float32(255.0), np.float32(DITHER_UNIT)
    for i in range(image.size):
        value = np.float32(image[i]) + cosine * np.float32(reference[i]) + sine * np.float32(payload[i])
        value = min(max(value + unit * np.float32(dither[i]), low), high)
        image[i] = np.uint8(np.int32(value))
