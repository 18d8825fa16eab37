"""The network of one live frame, in the form that engines execute: laid out inputs, bytes out."""

from __future__ import annotations

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.generator import CONDITIONING_CHANNELS, SURFACE_EXTRA, SpaceTimeGenerator
from models.halo import HEAD_MIDDLE

Array = NDArray[np.float32]
Image = NDArray[np.uint8]


class LiveStep(nn.Module):
    """`StreamingStep` on inputs that are laid out as the network reads them, up to the plate.

    Engines are at their worst at moving values about: looking a texture up walks through memory at random, for pixels
    without a head too, and in bfloat16 its coordinates are too coarse to find one of 384 texels by. Compiled code does
    it for the head alone, in float32, and lays the rest out on the way (`LiveInputs`). The plate is laid under the
    paint by compiled code too (`blend`).
    """

    def __init__(self, generator: SpaceTimeGenerator) -> None:
        """Share the weights of `generator`."""
        super().__init__()
        self.generator = generator

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Take the arrays of `LiveInputs` and, where L is more than 1, past stems `[1, L - 1, h, w, S]`.

        Gives paint and mask `[1, H / b, W / b, b * b * 4]` in blocks of `b` x `b` pixels, and the stem `[1, h, w, S]`.
        """
        unshuffled, *surfaces, reduced = inputs[: 2 + self.generator.config.magnification]
        past = inputs[-1] if self.generator.config.window > 1 else None
        stem = self.generator.stem_reduced(reduced.permute(0, 3, 1, 2))
        window = stem[:, None] if past is None else torch.cat([past, stem[:, None]], 1)
        planes = [surface.permute(0, 3, 1, 2) for surface in surfaces]
        painted = self.generator.paint_prepared(unshuffled.permute(0, 3, 1, 2), planes, window)
        return painted.permute(0, 2, 3, 1), stem


class LiveInputs:
    """The inputs of `LiveStep` that stay in one place in memory; channels last."""

    def __init__(self, generator: SpaceTimeGenerator) -> None:
        """Copy the texture of `generator`."""
        config = generator.config
        size, trunk, block = config.resolution, config.trunk_size, generator.block
        # Texel by texel, so that one look-up reads neighbouring memory.
        self._texture = generator.texture.detach()[0].permute(1, 2, 0).float().cpu().contiguous().numpy()
        self._keep = generator.keep.detach().flatten().float().cpu().numpy()
        self._shape = (CONDITIONING_CHANNELS, size, size)
        self._block, self._magnification = block, config.magnification
        channels = block * block * (config.texture_channels + SURFACE_EXTRA)
        self.unshuffled = np.zeros((1, trunk // 2, trunk // 2, 4 * CONDITIONING_CHANNELS), np.float32)
        """`[1, T / 2, T / 2, 36]`: each 2 x 2 pixels of the conditioning, at the trunk's size T, as channels."""
        self.surface = np.zeros((1, size // block, size // block, channels), np.float32)
        """`[1, S / b, S / b, b * b * (C + 4)]`: of each pixel of a block the texture's features there, whether the head
        covers it, eyes and gaze."""
        self.coarse = self.surface
        """The same averaged to the trunk's size, where that is not the picture's."""
        if self._magnification > 1:
            self.coarse = np.zeros((1, trunk // block, trunk // block, channels), np.float32)
        self.reduced = np.zeros((1, trunk // 4, trunk // 4, CONDITIONING_CHANNELS), np.float32)
        """`[1, T / 4, T / 4, 9]`: the conditioning averaged over 4 x 4 pixels of the trunk."""

    @property
    def arrays(self) -> list[Array]:
        """The inputs of `LiveStep.forward` but for the past, in its order."""
        return [self.unshuffled, *self.surfaces, self.reduced]

    @property
    def surfaces(self) -> list[Array]:
        """The surface at the trunk's size and, where that is another, at the picture's."""
        return [self.surface] if self._magnification == 1 else [self.coarse, self.surface]

    def set(self, conditioning: Array) -> None:
        """Take a frame's conditioning `[9, S, S]` float32, contiguous."""
        if conditioning.shape != self._shape:
            raise ValueError(f"conditioning: expected {self._shape}, got {conditioning.shape}")
        lay_out(conditioning, self._keep, self._magnification, self.unshuffled[0], self.reduced[0])
        look_up(self._texture, conditioning, self._keep, self._block, self.surface[0])
        if self._magnification > 1:
            average(self.surface[0], self._block, self.coarse[0])


@numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")
def lay_out(
    conditioning: Array, keep: Array, magnification: int, unshuffled: Array, reduced: Array
) -> None:  # pragma: no cover - compiled
    """Write `conditioning [9, S, S]`, masked by `keep [9]`, as `LiveInputs.unshuffled` and `reduced` want it."""
    channels = conditioning.shape[0]
    height, width = unshuffled.shape[:2]
    reduced[:] = np.float32(0.0)
    span = 2 * magnification
    share = np.float32(1.0 / (magnification * magnification))
    for y in range(height):
        for x in range(width):
            # Most of a picture is no head.
            is_head = False
            for channel in range(3, 6):
                for row in range(span * y, span * y + span):
                    for column in range(span * x, span * x + span):
                        is_head |= conditioning[channel, row, column] > 0.0
            if not is_head:
                unshuffled[y, x] = 0.0
                continue
            for channel in range(channels):
                total = np.float32(0.0)
                for part in range(4):
                    top = span * y + part // 2 * magnification
                    left = span * x + part % 2 * magnification
                    value = np.float32(0.0)
                    for row in range(top, top + magnification):
                        for column in range(left, left + magnification):
                            value += conditioning[channel, row, column]
                    value *= keep[channel] * share
                    unshuffled[y, x, 4 * channel + part] = value
                    total += value
                reduced[y // 2, x // 2, channel] += total * np.float32(0.0625)


@numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")
def look_up(
    texture: Array, conditioning: Array, keep: Array, block: int, surface: Array
) -> None:  # pragma: no cover - compiled
    """Sample `texture [h, w, C]` at the codes of `conditioning [9, S, S]` into `LiveInputs.surface`; 0 without a head.

    The same function as `SpaceTimeGenerator.sample_texture`: bilinear, edges repeated.
    """
    rows, columns, channels = texture.shape
    height, width = conditioning.shape[1:]
    stride = channels + 4
    for y in range(height):
        for x in range(width):
            place = surface[y // block, x // block]
            first = (y % block * block + x % block) * stride
            a, b, c = keep[3] * conditioning[3, y, x], keep[4] * conditioning[4, y, x], keep[5] * conditioning[5, y, x]
            for k in range(3):
                place[first + channels + 1 + k] = keep[6 + k] * conditioning[6 + k, y, x]
            if a + b + c <= np.float32(1e-3):
                if place[first + channels] != 0.0:
                    place[first : first + channels + 1] = 0.0
                continue
            across, depth = a - np.float32(0.5), c - np.float32(HEAD_MIDDLE)
            share = abs(across) / (abs(across) + abs(depth) + np.float32(1e-4))
            around = (share if depth > 0 else np.float32(2.0) - share) * np.float32(0.5)
            around = around if across > 0 else -around
            u = min(max((around + 1) * columns * np.float32(0.5) - np.float32(0.5), np.float32(0)), columns - 1)
            v = min(max(b * rows - np.float32(0.5), np.float32(0)), rows - 1)
            left, top = int(u), int(v)
            right, bottom = min(left + 1, columns - 1), min(top + 1, rows - 1)
            du, dv = np.float32(u - left), np.float32(v - top)
            for k in range(channels):
                above = texture[top, left, k] + du * (texture[top, right, k] - texture[top, left, k])
                below = texture[bottom, left, k] + du * (texture[bottom, right, k] - texture[bottom, left, k])
                place[first + k] = above + dv * (below - above)
            place[first + channels] = 1.0


@numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")
def average(surface: Array, block: int, coarse: Array) -> None:  # pragma: no cover - compiled
    """Average each 2 x 2 pixels of `surface` into `coarse`, both in blocks of `block` x `block` pixels."""
    parts = block * block
    stride = surface.shape[2] // parts
    extra = stride - 4
    for y in range(coarse.shape[0]):
        for x in range(coarse.shape[1]):
            # Most of a picture is no head, now and in the frame before: what lies behind the texture tells.
            is_head = False
            for part in range(parts):
                fine = surface[block * y + part // block, block * x + part % block]
                for k in range(extra, stride):
                    is_head |= coarse[y, x, part * stride + k] != 0.0
                    for other in range(parts):
                        is_head |= fine[other * stride + k] != 0.0
            if not is_head:
                continue
            for part in range(parts):
                # With blocks of two, a coarse pixel is one fine block.
                fine = surface[block * y + part // block, block * x + part % block]
                for k in range(stride):
                    total = np.float32(0.0)
                    for other in range(parts):
                        total += fine[other * stride + k]
                    coarse[y, x, part * stride + k] = total / np.float32(parts)


def plate_of(generator: SpaceTimeGenerator) -> Array:
    """Give the plate of `generator` as `blend` reads it, `[H, W, 3]` in 0 to 1."""
    return generator.plate.detach()[0].permute(1, 2, 0).float().cpu().contiguous().numpy()


@numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")
def blend(painted: Array, plate: Array, block: int, image: Image) -> None:  # pragma: no cover - compiled
    """Lay paint and mask `[H / b, W / b, b * b * 4]` over `plate [H, W, 3]` into `image [H, W, 3]` uint8."""
    height, width = plate.shape[:2]
    for y in range(height):
        for x in range(width):
            paint = painted[y // block, x // block]
            first = (y % block * block + x % block) * 4
            mask = paint[first + 3]
            for k in range(3):
                below = plate[y, x, k]
                image[y, x, k] = np.uint8(
                    (below + mask * (paint[first + k] - below)) * np.float32(255) + np.float32(0.5)
                )
