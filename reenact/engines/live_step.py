"""The network of one live frame, in the form that engines execute: bytes out, texture coordinates in."""

from __future__ import annotations

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.generator import CONDITIONING_CHANNELS, GeneratorConfig, SpaceTimeGenerator

Array = NDArray[np.float32]


class LiveStep(nn.Module):
    """`StreamingStep` with texture coordinates from outside and the picture as bytes.

    An engine in bfloat16 rounds everything it computes to eight bits, too coarse to find one of 384 texels by:
    coordinates computed in float32 outside and handed straight to the sampler keep their precision.
    """

    def __init__(self, generator: SpaceTimeGenerator) -> None:
        """Share the weights of `generator`."""
        super().__init__()
        with torch.device("meta"):
            self.generator = _GridFedGenerator(generator.config)
        self.generator.load_state_dict(generator.state_dict(), assign=True)
        self.generator.keep = generator.keep
        self.requires_grad_(False).eval()

    def forward(self, conditioning: Tensor, grid: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Take a frame `[1, 9, H, W]`, `grid [1, H, W, 2]`, past stems `[1, L - 1, S, h, w]` (none where L is 1).

        Gives the picture `[1, H, W, 3]` uint8 and the new stem `[1, S, h, w]` float32.
        """
        generator = self.generator
        stem = generator.stem(conditioning)
        window = stem[:, None] if past is None else torch.cat([past, stem[:, None]], 1)
        generator.grid = grid
        image = generator.decode(conditioning, window)
        return (image.permute(0, 2, 3, 1) * 255.0 + 0.5).clamp(0.0, 255.0).to(torch.uint8), stem


class _GridFedGenerator(SpaceTimeGenerator):
    """A generator that looks its texture up at given coordinates."""

    grid: Tensor

    def _sample_texture(self, correspondence: Tensor) -> Tensor:
        covered = (correspondence.sum(1, keepdim=True) > 1e-3).to(correspondence.dtype)
        sampled = functional.grid_sample(self.texture, self.grid, "bilinear", "border", align_corners=False)
        return torch.cat([sampled.to(correspondence.dtype) * covered, covered], 1)


class LiveInputs:
    """The inputs of `LiveStep` that stay in one place in memory."""

    def __init__(self, config: GeneratorConfig) -> None:
        size = config.resolution
        self.conditioning = np.zeros((1, CONDITIONING_CHANNELS, size, size), np.float32)
        self.grid = np.zeros((1, size, size, 2), np.float32)

    def set(self, conditioning: Array) -> None:
        """Take a frame's conditioning `[9, S, S]` and find its texture coordinates."""
        if conditioning.shape != self.conditioning.shape[1:]:
            raise ValueError(f"conditioning: expected {self.conditioning.shape[1:]}, got {conditioning.shape}")
        np.copyto(self.conditioning[0], conditioning)
        texture_grid(self.conditioning[0, 3:6], self.grid[0])


@numba.njit(cache=True, error_model="numpy")
def texture_grid(correspondence: Array, grid: Array) -> None:  # pragma: no cover - compiled
    """Write the generator's texture coordinates `[H, W, 2]` in -1 to 1 for codes `[3, H, W]`; 0 where there is no head.

    The same function as in `SpaceTimeGenerator._sample_texture`.
    """
    height, width = grid.shape[:2]
    for y in range(height):
        for x in range(width):
            a, b, c = correspondence[0, y, x], correspondence[1, y, x], correspondence[2, y, x]
            if a + b + c <= np.float32(1e-3):
                grid[y, x, 0] = grid[y, x, 1] = np.float32(0.0)
                continue
            across, depth = a - np.float32(0.5), c - np.float32(0.35)
            share = abs(across) / (abs(across) + abs(depth) + np.float32(1e-4))
            around = (share if depth > 0 else np.float32(2.0) - share) * np.float32(0.5)
            grid[y, x, 0] = around if across > 0 else -around
            grid[y, x, 1] = b * np.float32(2.0) - np.float32(1.0)
