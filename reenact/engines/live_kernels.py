"""The compiled loops around a network: its inputs laid out, its paint laid over the plate.

Each is made for one target's sizes, which the compiler then knows: loops over a dozen channels are unrolled, and no
pixel divides by the size of a block. That makes them two to three times as fast as the same loops for any size.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray

from models.generator import CONDITIONING_CHANNELS, SURFACE_EXTRA
from models.halo import HEAD_MIDDLE
from models.photo_generator import EDGE_CODE
from reenact.engines.texel_mixer import CHANGE_BYTES, HALF, SINGLE, mix

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
Kernel = Callable[..., None]

_compiled = functools.partial(
    numba.njit, cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy", boundscheck=False
)
_f32 = np.float32
_MIN_CODE = _f32(1e-3)
"""Sum of the three codes up to which a pixel shows no head."""
_MIDDLE = _f32(HEAD_MIDDLE)
_EDGE = _f32(EDGE_CODE)


@numba.njit(inline="always")
def _within(row: int, column: int, block: int, magnification: int) -> int:  # pragma: no cover - compiled
    """Give the number of a pixel in its block: blocks of `magnification` after each other, each row by row."""
    outer = row // magnification * block + column // magnification
    return outer * magnification * magnification + row % magnification * magnification + column % magnification


@functools.cache
def layer_out(magnification: int) -> Kernel:
    """Make `lay_out(conditioning [9, S, S], keep [9], unshuffled, reduced)` for pictures so much larger than the trunk.

    It writes the conditioning, masked by `keep`, as `LiveInputs.unshuffled` and `reduced` want it.
    """
    span = 2 * magnification
    share = _f32(1.0 / (magnification * magnification))

    @_compiled()
    def lay_out(conditioning: Array, keep: Array, unshuffled: Array, reduced: Array) -> None:  # pragma: no cover
        height, width = unshuffled.shape[:2]
        for y in range(height):
            if y % 2 == 0:
                reduced[y // 2] = _f32(0.0)
            for x in range(width):
                # Most of a picture is no head.
                code = _f32(0.0)
                for row in range(span * y, span * y + span):
                    for column in range(span * x, span * x + span):
                        code += conditioning[3, row, column] + conditioning[4, row, column]
                        code += conditioning[5, row, column]
                place = unshuffled[y, x]
                if not code > 0.0:
                    place[:] = _f32(0.0)
                    continue
                mean = reduced[y // 2, x // 2]
                for channel in range(CONDITIONING_CHANNELS):
                    weight = keep[channel] * share
                    total = _f32(0.0)
                    for part in range(4):
                        top = span * y + part // 2 * magnification
                        left = span * x + part % 2 * magnification
                        value = _f32(0.0)
                        for row in range(magnification):
                            for column in range(magnification):
                                value += conditioning[channel, top + row, left + column]
                        value *= weight
                        place[4 * channel + part] = value
                        total += value
                    mean[channel] += total * _f32(0.0625)

    return lay_out


@numba.njit(inline="always")
def _corners(
    u: np.float32, v: np.float32, start: int, rows: int, columns: int, size: int
) -> tuple[tuple[int, int, int, int], tuple[np.float32, np.float32]]:  # pragma: no cover - compiled
    """Find the texels around a place, each of `u` and `v` 0 to 1, in a texture at the address `start`.

    Gives the addresses of those on the left and right above and below, `size` bytes each, and how far right and down
    of the first of them it lies.
    """
    x = min(max(u * _f32(columns) - _f32(0.5), _f32(0.0)), _f32(columns - 1))
    y = min(max(v * _f32(rows) - _f32(0.5), _f32(0.0)), _f32(rows - 1))
    left, top = int(x), int(y)
    above = start + top * columns * size
    below = start + min(top + 1, rows - 1) * columns * size
    here, beside = left * size, min(left + 1, columns - 1) * size
    return (above + here, above + beside, below + here, below + beside), (_f32(x - left), _f32(y - top))


@functools.cache
def looker_up(channels: int, block: int, magnification: int, *, is_half: bool = False) -> Kernel:
    """Make `look_up(texture [h, w, C], change [h', w', 4], conditioning [9, S, S], keep [9], surface)` for so many
    `channels` C.

    Blocks of `surface` are `block` x `block` blocks of `magnification` x `magnification` pixels. It samples the texture
    at the codes of the conditioning into `LiveInputs.surface`, and adds to its channels what it samples of `change`;
    0 without a head, eyes and gaze too. The same function as `SpaceTimeGenerator.sample_texture`: bilinear,
    edges repeated. Texture and surface are float32 or, `is_half`, bfloat16 as uint16.
    """
    stride = channels + SURFACE_EXTRA
    side = block * magnification
    size = HALF if is_half else SINGLE

    @_compiled()
    def look_up(
        texture: Array, change: Array, conditioning: Array, keep: Array, surface: Array
    ) -> None:  # pragma: no cover - compiled
        rows, columns = texture.shape[:2]
        height, width = surface.shape[:2]
        texels, added, places = texture.ctypes.data, change.ctypes.data, surface.ctypes.data
        for block_row in range(height):
            for row in range(side):
                y = block_row * side + row
                for block_column in range(width):
                    for column in range(side):
                        x = block_column * side + column
                        first = _within(row, column, block, magnification) * stride
                        a, b, c = conditioning[3, y, x], conditioning[4, y, x], conditioning[5, y, x]
                        if a + b + c <= _MIN_CODE:
                            pixel = surface[block_row, block_column, first : first + stride]
                            if pixel[channels] != 0 or pixel[channels + 1] != 0:
                                for k in range(stride):
                                    pixel[k] = 0
                            continue
                        a, b, c = keep[3] * a, keep[4] * b, keep[5] * c
                        is_covered = a + b + c > _MIN_CODE
                        across, depth = a - _f32(0.5), c - _MIDDLE
                        share = abs(across) / (abs(across) + abs(depth) + _f32(1e-4))
                        around = (share if depth > 0 else _f32(2.0) - share) * _f32(0.5)
                        around = around if across > 0 else -around
                        u = (around + _f32(1.0)) * _f32(0.5)
                        corners, shares = _corners(u, b, texels, rows, columns, channels * size)
                        changes, change_shares = _corners(u, b, added, change.shape[0], change.shape[1], CHANGE_BYTES)
                        behind = (
                            _f32(1.0) if is_covered else _f32(0.0), keep[6] * conditioning[6, y, x],
                            keep[7] * conditioning[7, y, x], keep[8] * conditioning[8, y, x],
                        )  # fmt: skip
                        place = places + ((block_row * width + block_column) * side * side * stride + first) * size
                        mix(channels, size, corners, shares, changes, change_shares, behind, place)

    return look_up


@functools.cache
def blender(block: int, magnification: int) -> Kernel:
    """Make `blend(painted [H / b, W / b, b * b * 4], plate [H, W, 3], image [H, W, 3] uint8)`.

    It lays paint and mask over the plate, both in 0 to 1. Blocks are as those of `looker_up`.
    """
    side = block * magnification

    @_compiled()
    def blend(painted: Array, plate: Array, image: Image) -> None:  # pragma: no cover - compiled
        height, width = painted.shape[:2]
        for block_row in range(height):
            for row in range(side):
                under, out = plate[block_row * side + row], image[block_row * side + row]
                for block_column in range(width):
                    for column in range(side):
                        x = block_column * side + column
                        first = 4 * _within(row, column, block, magnification)
                        paint = painted[block_row, block_column, first : first + 4]
                        mask = paint[3]
                        for k in range(3):
                            color = under[x, k] + mask * (paint[k] - under[x, k])
                            out[x, k] = np.uint8(np.int32(color * _f32(255.0) + _f32(0.5)))

    return blend


@functools.cache
def softener() -> Kernel:
    """Make `soften(conditioning [9, S, S], image [S, S, 3] uint8)`, `models.photo_generator.soften` in place."""

    @_compiled()
    def soften(conditioning: Array, image: Image) -> None:  # pragma: no cover - compiled
        height, width = image.shape[:2]
        above, here = np.empty((width, 3), np.uint8), np.empty((width, 3), np.uint8)
        for x in range(width):
            for k in range(3):
                above[x, k] = image[0, x, k]
        # Steps to the pixel above, below and on the right.
        rise, fall, side = np.zeros(width, np.float32), np.zeros(width, np.float32), np.zeros(width, np.float32)
        for y in range(height):
            under = min(y + 1, height - 1)
            for x in range(width):
                for k in range(3):
                    here[x, k] = image[y, x, k]
            below = image[under] if under > y else here
            a, b, c = conditioning[3, y], conditioning[4, y], conditioning[5, y]
            d, e, f = conditioning[3, under], conditioning[4, under], conditioning[5, under]
            for x in range(width):
                fall[x] = max(abs(a[x] - d[x]), abs(b[x] - e[x]), abs(c[x] - f[x]))
            for x in range(width - 1):
                side[x] = max(abs(a[x] - a[x + 1]), abs(b[x] - b[x + 1]), abs(c[x] - c[x + 1]))
            for x in range(width):
                if max(rise[x], fall[x], side[x], side[max(x - 1, 0)]) <= _EDGE:
                    continue
                left, right = max(x - 1, 0), min(x + 1, width - 1)
                for k in range(3):
                    middle = np.int32(above[x, k]) + 2 * np.int32(here[x, k]) + np.int32(below[x, k])
                    sides = np.int32(above[left, k]) + 2 * np.int32(here[left, k]) + np.int32(below[left, k])
                    sides += np.int32(above[right, k]) + 2 * np.int32(here[right, k]) + np.int32(below[right, k])
                    image[y, x, k] = np.uint8((2 * middle + sides + 8) >> 4)
            above, here = here, above
            rise, fall = fall, rise

    return soften
