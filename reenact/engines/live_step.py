"""The network of one live frame, in the form that engines execute: bytes out, texture looked up."""

from __future__ import annotations

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.generator import CONDITIONING_CHANNELS, SpaceTimeGenerator

Array = NDArray[np.float32]


class LiveStep(nn.Module):
    """`StreamingStep` with the texture looked up outside and the picture as bytes.

    Looking up is what engines do worst: it walks through memory at random, for pixels without a head too, and in
    bfloat16 its coordinates are too coarse to find one of 384 texels by. Compiled code does it for the head alone,
    in float32, in a fraction of the time.
    """

    def __init__(self, generator: SpaceTimeGenerator) -> None:
        """Share the weights of `generator`."""
        super().__init__()
        with torch.device("meta"):
            self.generator = _TextureFedGenerator(generator.config)
        self.generator.load_state_dict(generator.state_dict(), assign=True)
        self.generator.keep = generator.keep
        self.requires_grad_(False).eval()

    def forward(self, conditioning: Tensor, surface: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Take a frame `[1, 9, H, W]`, `LiveInputs.surface` and past stems `[1, L - 1, S, h, w]` (none where L is 1).

        Gives the picture `[1, H, W, 3]` uint8 and the new stem `[1, S, h, w]` float32.
        """
        generator = self.generator
        stem = generator.stem(conditioning)
        window = stem[:, None] if past is None else torch.cat([past, stem[:, None]], 1)
        generator.surface = surface.permute(0, 3, 1, 2)
        image = generator.decode(conditioning, window)
        return (image.permute(0, 2, 3, 1) * 255.0 + 0.5).clamp(0.0, 255.0).to(torch.uint8), stem


class _TextureFedGenerator(SpaceTimeGenerator):
    """A generator that is given what its texture shows at each pixel."""

    surface: Tensor

    def _sample_texture(self, correspondence: Tensor) -> Tensor:
        return self.surface


class LiveInputs:
    """The inputs of `LiveStep` that stay in one place in memory."""

    def __init__(self, generator: SpaceTimeGenerator) -> None:
        """Copy the texture of `generator`."""
        config = generator.config
        size = config.resolution
        # Texel by texel, so that one look-up reads neighbouring memory.
        self._texture = generator.texture.detach()[0].permute(1, 2, 0).float().cpu().contiguous().numpy()
        self._is_textured = "correspondence" not in config.dropped
        self.conditioning = np.zeros((1, CONDITIONING_CHANNELS, size, size), np.float32)
        self.surface = np.zeros((1, size, size, config.texture_channels + 1), np.float32)
        """`[1, S, S, C + 1]`: the texture's features at each pixel and, last, whether the head covers it."""

    def set(self, conditioning: Array) -> None:
        """Take a frame's conditioning `[9, S, S]` and look its texture up."""
        if conditioning.shape != self.conditioning.shape[1:]:
            raise ValueError(f"conditioning: expected {self.conditioning.shape[1:]}, got {conditioning.shape}")
        np.copyto(self.conditioning[0], conditioning)
        if self._is_textured:
            look_up(self._texture, self.conditioning[0, 3:6], self.surface[0])


@numba.njit(cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
def look_up(texture: Array, correspondence: Array, surface: Array) -> None:  # pragma: no cover - compiled
    """Sample `texture [h, w, C]` at codes `[3, H, W]` into `surface [H, W, C + 1]`, coverage last; 0 without a head.

    The same function as `SpaceTimeGenerator._sample_texture`: bilinear, edges repeated.
    """
    rows, columns, channels = texture.shape
    height, width = surface.shape[:2]
    for y in range(height):
        for x in range(width):
            a, b, c = correspondence[0, y, x], correspondence[1, y, x], correspondence[2, y, x]
            if a + b + c <= np.float32(1e-3):
                if surface[y, x, channels] != 0.0:
                    surface[y, x, :] = 0.0
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
