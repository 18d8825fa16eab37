"""The network of one live frame, in the form that engines execute: laid out inputs, bytes out."""

from __future__ import annotations

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.generator import CONDITIONING_CHANNELS, SpaceTimeGenerator

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

    def forward(
        self, unshuffled: Tensor, surface: Tensor, reduced: Tensor, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Take the arrays of `LiveInputs` and past stems `[1, L - 1, S, h, w]` (none where L is 1).

        Gives paint and mask `[1, H, W, 4]` and the new stem `[1, S, h, w]`.
        """
        stem = self.generator.stem_reduced(reduced.permute(0, 3, 1, 2))
        window = stem[:, None] if past is None else torch.cat([past, stem[:, None]], 1)
        painted = self.generator.paint_prepared(unshuffled.permute(0, 3, 1, 2), surface.permute(0, 3, 1, 2), window)
        return painted.permute(0, 2, 3, 1), stem


class LiveInputs:
    """The inputs of `LiveStep` that stay in one place in memory; channels last."""

    def __init__(self, generator: SpaceTimeGenerator) -> None:
        """Copy the texture of `generator`."""
        config = generator.config
        size = config.resolution
        # Texel by texel, so that one look-up reads neighbouring memory.
        self._texture = generator.texture.detach()[0].permute(1, 2, 0).float().cpu().contiguous().numpy()
        self._keep = generator.keep.detach().flatten().float().cpu().numpy()
        self._shape = (CONDITIONING_CHANNELS, size, size)
        self.unshuffled = np.zeros((1, size // 2, size // 2, 4 * CONDITIONING_CHANNELS), np.float32)
        """`[1, S / 2, S / 2, 36]`: each 2 x 2 pixels of the conditioning as channels."""
        self.surface = np.zeros((1, size, size, config.texture_channels + 4), np.float32)
        """`[1, S, S, C + 4]`: the texture's features at each pixel, whether the head covers it, eyes and gaze."""
        self.reduced = np.zeros((1, size // 4, size // 4, CONDITIONING_CHANNELS), np.float32)
        """`[1, S / 4, S / 4, 9]`: the conditioning averaged over 4 x 4 pixels."""

    @property
    def arrays(self) -> tuple[Array, Array, Array]:
        """The first inputs of `LiveStep.forward`, in its order."""
        return self.unshuffled, self.surface, self.reduced

    def set(self, conditioning: Array) -> None:
        """Take a frame's conditioning `[9, S, S]` float32, contiguous."""
        if conditioning.shape != self._shape:
            raise ValueError(f"conditioning: expected {self._shape}, got {conditioning.shape}")
        lay_out(conditioning, self._keep, self.unshuffled[0], self.reduced[0])
        look_up(self._texture, conditioning, self._keep, self.surface[0])


@numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")
def lay_out(conditioning: Array, keep: Array, unshuffled: Array, reduced: Array) -> None:  # pragma: no cover - compiled
    """Write `conditioning [9, S, S]`, masked by `keep [9]`, as `LiveInputs.unshuffled` and `reduced` want it."""
    channels, size, _ = conditioning.shape
    reduced[:] = np.float32(0.0)
    for y in range(size // 2):
        top, bottom = 2 * y, 2 * y + 1
        for x in range(size // 2):
            left, right = 2 * x, 2 * x + 1
            # Most of a picture is no head.
            is_head = False
            for channel in range(3, 6):
                plane = conditioning[channel]
                is_head |= (plane[top, left] + plane[top, right] + plane[bottom, left] + plane[bottom, right]) > 0.0
            if not is_head:
                unshuffled[y, x] = 0.0
                continue
            for channel in range(channels):
                mask = keep[channel]
                a, b = mask * conditioning[channel, top, left], mask * conditioning[channel, top, right]
                c, d = mask * conditioning[channel, bottom, left], mask * conditioning[channel, bottom, right]
                place = 4 * channel
                unshuffled[y, x, place] = a
                unshuffled[y, x, place + 1] = b
                unshuffled[y, x, place + 2] = c
                unshuffled[y, x, place + 3] = d
                reduced[y // 2, x // 2, channel] += (a + b + c + d) * np.float32(0.0625)


@numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")
def look_up(texture: Array, conditioning: Array, keep: Array, surface: Array) -> None:  # pragma: no cover - compiled
    """Sample `texture [h, w, C]` at the codes of `conditioning [9, S, S]` into `LiveInputs.surface`; 0 without a head.

    The same function as `SpaceTimeGenerator._sample_texture`: bilinear, edges repeated.
    """
    rows, columns, channels = texture.shape
    height, width = surface.shape[:2]
    for y in range(height):
        for x in range(width):
            for k in range(3):
                surface[y, x, channels + 1 + k] = keep[6 + k] * conditioning[6 + k, y, x]
            a, b, c = keep[3] * conditioning[3, y, x], keep[4] * conditioning[4, y, x], keep[5] * conditioning[5, y, x]
            if a + b + c <= np.float32(1e-3):
                if surface[y, x, channels] != 0.0:
                    surface[y, x, : channels + 1] = 0.0
                continue
            across, depth = a - np.float32(0.5), c - np.float32(0.35)
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
                surface[y, x, k] = above + dv * (below - above)
            surface[y, x, channels] = 1.0


def plate_of(generator: SpaceTimeGenerator) -> Array:
    """Give the plate of `generator` as `blend` reads it, `[H, W, 3]` in 0 to 1."""
    return generator.plate.detach()[0].permute(1, 2, 0).float().cpu().contiguous().numpy()


@numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")
def blend(painted: Array, plate: Array, image: Image) -> None:  # pragma: no cover - compiled
    """Lay paint and mask `[H, W, 4]` over `plate [H, W, 3]` into `image [H, W, 3]` uint8."""
    height, width = plate.shape[:2]
    for y in range(height):
        for x in range(width):
            mask = painted[y, x, 3]
            for k in range(3):
                below = plate[y, x, k]
                image[y, x, k] = np.uint8(
                    (below + mask * (painted[y, x, k] - below)) * np.float32(255) + np.float32(0.5)
                )
