"""Backgrounds: blurred rooms, gradients and textures, made by chance."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from capture.synthetic.raster import TO_LINEAR

Array = NDArray[np.float32]
Bytes = NDArray[np.uint8]

BANK_SIZE = 192
"""Width and height of the pictures in the bank."""
CUTS_PER_PICTURE = 64


class Backgrounds:
    """A bank of pictures, of which random crops are cut; one is replaced now and then."""

    def __init__(self, rng: np.random.Generator, count: int = 48) -> None:
        self._bank = np.stack([_picture(rng) for _ in range(count)])
        self._cuts = 0

    def cut(self, rng: np.random.Generator, height: int, width: int) -> Array:
        """Cut a random part, mirrored, tinted and lit at random: `[height, width, 3]` linear light."""
        self._cuts += 1
        if self._cuts % CUTS_PER_PICTURE == 0:
            self._bank[rng.integers(len(self._bank))] = _picture(rng)
        picture = self._bank[rng.integers(len(self._bank))]
        zoom = rng.uniform(0.3, 1.0) * BANK_SIZE / max(height, width)
        low = rng.uniform(0.0, 1.0, 2) * (BANK_SIZE - 1.01 - np.array([height, width]) * zoom)
        tint = np.exp(rng.normal(0.0, 0.35) + rng.normal(0.0, 0.1, 3)).astype(np.float32)
        output = np.empty((height, width, 3), np.float32)
        mirrored = bool(rng.random() < 0.5)
        _cut(picture, np.float32(zoom), np.float32(low[0]), np.float32(low[1]), mirrored, tint, output)
        return output


def _picture(rng: np.random.Generator) -> Bytes:
    """Paint one: a gradient, then shapes as of walls, shelves, windows and lamps, blurred by some depth of field."""
    size = BANK_SIZE
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / size
    base = rng.uniform(20, 235) + rng.normal(0, rng.choice([6.0, 18.0, 45.0]), 3)
    slope = rng.normal(0, 40, (2, 1)) + rng.normal(0, 10, (2, 3))
    image = base + (rows[..., None] - 0.5) * slope[0] + (columns[..., None] - 0.5) * slope[1]
    image = image.astype(np.float32)
    kind = rng.random()
    if kind > 0.2:
        for _ in range(rng.integers(2, 40)):
            x, y = rng.uniform(-0.1, 1.1, 2)
            w, h = rng.gamma(1.5, 0.09, 2)
            angle = rng.choice([0.0, 0.0, rng.uniform(-1.5, 1.5)])
            dx, dy = columns - x, rows - y
            across, along = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
            if rng.random() < 0.6:
                inside = (np.abs(across) < w) & (np.abs(along) < h)
            else:
                inside = (across / w) ** 2 + (along / h) ** 2 < 1
            color = base + rng.normal(0, 60) + rng.normal(0, 12 if rng.random() < 0.8 else 60, 3)
            image[inside] += rng.uniform(0.4, 1.0) * (color - image[inside])
            if rng.random() < 0.25:  # books, blinds, bricks
                period = rng.uniform(0.015, 0.08)
                stripes = (np.floor((across if rng.random() < 0.5 else along) / period).astype(int) * 7919) % 13
                image[inside] += (stripes[inside, None] - 6) * rng.uniform(1, 9)
    if kind > 0.5:
        for octave in (6, 14, 34):
            noise = rng.normal(0, rng.uniform(2, 20), (octave, octave, 1)) + rng.normal(0, 3, (octave, octave, 3))
            image += _enlarge(noise, size)
    blur = int(rng.integers(0, 7))
    for _ in range(2):
        for axis in (0, 1):
            if blur:
                padded = np.cumsum(
                    np.pad(image, [(blur + 1, blur) if a == axis else (0, 0) for a in range(3)], "edge"), axis
                )
                image = (np.take(padded, np.arange(2 * blur + 1, 2 * blur + 1 + size), axis)
                         - np.take(padded, np.arange(size), axis)) / (2 * blur + 1)  # fmt: skip
    return np.clip(image, 0, 255).astype(np.uint8)


def _enlarge(values: NDArray[np.float64], size: int) -> Array:
    """Interpolate a grid `[n, n, 3]` linearly to `[size, size, 3]`."""
    position = np.linspace(0, len(values) - 1.001, size)
    low = position.astype(int)
    share = (position - low)[:, None, None]
    rows = values[low] * (1 - share) + values[low + 1] * share
    share = (position - low)[None, :, None]
    return np.asarray(rows[:, low] * (1 - share) + rows[:, low + 1] * share, np.float32)


@numba.njit(cache=True, fastmath={"contract", "arcp", "nsz"}, error_model="numpy", boundscheck=False)
def _cut(
    picture: Bytes, zoom: np.float32, top: np.float32, left: np.float32, mirrored: bool, tint: Array, output: Array
) -> None:  # pragma: no cover - compiled
    height, width = output.shape[0], output.shape[1]
    for y in range(height):
        v = top + y * zoom
        i = int(v)
        dv = v - np.float32(i)
        for x in range(width):
            u = left + x * zoom
            j = int(u)
            du = u - np.float32(j)
            column = width - 1 - x if mirrored else x
            for c in range(3):
                value = (TO_LINEAR[picture[i, j, c]] * (1 - du) + TO_LINEAR[picture[i, j + 1, c]] * du) * (1 - dv) + (
                    TO_LINEAR[picture[i + 1, j, c]] * (1 - du) + TO_LINEAR[picture[i + 1, j + 1, c]] * du
                ) * dv
                output[y, column, c] = value * tint[c]
