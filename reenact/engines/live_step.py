"""The network of one live frame, in the form that engines execute: laid out inputs, bytes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.generator import CONDITIONING_CHANNELS, SURFACE_EXTRA, SpaceTimeGenerator
from reenact.engines import live_kernels
from reenact.engines.live_texture import LiveTexture

Array = NDArray[np.float32]


class LiveStep(nn.Module):
    """`StreamingStep` on inputs that are laid out as the network reads them, up to the plate.

    Engines are at their worst at moving values about: looking a texture up walks through memory at random, for pixels
    without a head too, and in bfloat16 its coordinates are too coarse to find one of 384 texels by. Compiled code does
    it for the head alone, in float32, and lays the rest out on the way (`LiveInputs`). The plate is laid under the
    paint by compiled code too (`live_kernels.blender`).
    """

    def __init__(self, generator: SpaceTimeGenerator) -> None:
        """Share the weights of `generator`."""
        super().__init__()
        self.generator = generator

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Take the arrays of `LiveInputs` and, where L is more than 1, past stems `[1, L - 1, h, w, S]`.

        Gives paint and mask `[1, H / b * W / b, b * b * 4]`, in blocks as those of `LiveInputs.surface`, and the stem
        `[1, h, w, S]`.
        """
        unshuffled, surface, reduced = (array.permute(0, 3, 1, 2) for array in inputs[:3])
        past = inputs[-1] if self.generator.config.window > 1 else None
        stem = self.generator.stem_reduced(reduced)
        window = stem[:, None] if past is None else torch.cat([past, stem[:, None]], 1)
        return self.generator.paint_live(unshuffled, surface, window), stem


class LiveInputs:
    """The inputs of `LiveStep` that stay in one place in memory; channels last."""

    def __init__(self, generator: SpaceTimeGenerator, *, is_half: bool = False) -> None:
        """Copy the texture of `generator`. `is_half` keeps it and `surface` in bfloat16, as uint16."""
        config = generator.config
        size, trunk, block = config.resolution, config.trunk_size, live_block(generator)
        self._texture = LiveTexture(generator, is_half=is_half)
        self._keep = generator.keep.detach().flatten().float().cpu().numpy()
        self._shape = (CONDITIONING_CHANNELS, size, size)
        self._lay_out = live_kernels.layer_out(config.magnification)
        self._look_up = live_kernels.looker_up(
            config.texture_channels, generator.block, config.magnification, is_half=is_half
        )
        channels = block * block * (config.texture_channels + SURFACE_EXTRA)
        self.unshuffled = np.zeros((1, trunk // 2, trunk // 2, 4 * CONDITIONING_CHANNELS), np.float32)
        """`[1, T / 2, T / 2, 36]`: each 2 x 2 pixels of the conditioning, at the trunk's size T, as channels."""
        kind = np.uint16 if is_half else np.float32
        self.surface: NDArray[Any] = np.zeros((1, size // block, size // block, channels), kind)
        """`[1, S / b, S / b, b * b * (C + 4)]`: of each pixel of a block the texture's features there, whether the head
        covers it, eyes and gaze. A block is the generator's, of blocks as large as the magnification."""
        self.reduced = np.zeros((1, trunk // 4, trunk // 4, CONDITIONING_CHANNELS), np.float32)
        """`[1, T / 4, T / 4, 9]`: the conditioning averaged over 4 x 4 pixels of the trunk."""

    @property
    def arrays(self) -> list[NDArray[Any]]:
        """The inputs of `LiveStep.forward` but for the past, in its order."""
        return [self.unshuffled, self.surface, self.reduced]

    def set(self, conditioning: Array, face: Array | None = None) -> None:
        """Take a frame's conditioning `[9, S, S]` float32, contiguous, and what `models.face_numbers` says of it."""
        if conditioning.shape != self._shape:
            raise ValueError(f"conditioning: expected {self._shape}, got {conditioning.shape}")
        self._lay_out(conditioning, self._keep, self.unshuffled[0], self.reduced[0])
        self._texture.follow(face)
        self._look_up(self._texture.texels, self._texture.change, conditioning, self._keep, self.surface[0])


def live_block(generator: SpaceTimeGenerator) -> int:
    """Give the pixels, across and down, that lie together as channels in what a live engine reads and paints."""
    return generator.block * generator.config.magnification


def plate_of(generator: SpaceTimeGenerator) -> Array:
    """Give the plate of `generator` as `blend` reads it, `[H, W, 3]` in 0 to 1."""
    return generator.plate.detach()[0].permute(1, 2, 0).float().cpu().contiguous().numpy()
