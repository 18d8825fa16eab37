"""Where a face lies in MakeHuman's skin texture, and painting on it.

The texture (2048 x 2048) holds the head lying on its side. *Face pixels* turn it upright: `x` grows to the target's own
left and is mirrored about `MIDDLE_X`, `y` grows downwards from the top of the crop. Painted shapes and hairlines are
given in them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Array = NDArray[np.float32]

TEXTURE_SIZE = 2048
FACE_WIDTH = 1500
"""Width of the crop in face pixels."""
FACE_HEIGHT = 748
"""Height of the crop in face pixels, its top at `y = 0`."""
HEADROOM = 80
"""Rows above the crop that hairlines may use."""
MIDDLE_X = 741.5
LEFT, RIGHT = 300, 1800
"""Rows of the texture that the crop covers."""
TOP = 1300
"""Column of the texture at `y = 0`."""


def face_pixels(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn texture coordinates `[..., 2]` (v upwards) into face pixels `[..., 2]`."""
    column = coordinates[..., 0] * TEXTURE_SIZE
    row = (1.0 - coordinates[..., 1]) * TEXTURE_SIZE
    return np.stack([RIGHT - 1 - row, column - TOP], -1)


def spot(x: float, y: float, radius_x: float, radius_y: float) -> Array:
    """Paint a Gaussian of height 1 at face pixel (x, y) into a mask `[2048, 2048]`."""
    rows, columns = np.mgrid[0:TEXTURE_SIZE, 0:TEXTURE_SIZE].astype(np.float32)
    across = (rows - (RIGHT - 1 - x)) / radius_x
    down = (columns - (TOP + y)) / radius_y
    return np.exp(-(across**2) - down**2).astype(np.float32)


def mirrored(half: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Close half an outline, drawn from the middle, by its mirror image."""
    return [*half, *((2.0 * MIDDLE_X - x, y) for x, y in reversed(half))]


def face_mask(outline: Sequence[tuple[float, float]]) -> Array:
    """Fill an outline in face pixels with 1: `[FACE_HEIGHT + HEADROOM, FACE_WIDTH]`, row 0 at `y = -HEADROOM`."""
    image = Image.new("L", (FACE_WIDTH, FACE_HEIGHT + HEADROOM), 0)
    ImageDraw.Draw(image).polygon([(x, y + HEADROOM) for x, y in outline], fill=255)
    return (np.asarray(image) > 0).astype(np.float32)


def to_texture(mask: Array) -> Array:
    """Lay a mask made by `face_mask` down into the texture `[2048, 2048]`."""
    full = np.zeros((TEXTURE_SIZE, TEXTURE_SIZE), np.float32)
    full[LEFT:RIGHT, TOP - HEADROOM :] = np.rot90(mask, 1)
    return full
