"""The texture that a live engine looks up: laid out for it, and changed for each frame where the generator asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.generator import SpaceTimeGenerator
from models.photo_generator import PhotoGenerator
from reenact.engines import live_kernels

Array = NDArray[np.float32]


class LiveTexture:
    """`SpaceTimeGenerator.texture_of`, one face at a time, without PyTorch."""

    def __init__(self, generator: SpaceTimeGenerator, *, is_half: bool) -> None:
        """Copy the texture of `generator`; in bfloat16, as uint16, if `is_half`."""
        # Texel by texel, so that one look-up reads neighbouring memory.
        texture = generator.texture.detach()[0].permute(1, 2, 0).float().cpu().contiguous()
        self.texels: NDArray[Any] = texture.bfloat16().view(torch.uint16).numpy() if is_half else texture.numpy()
        """`[h, w, C]`, for the face of the last `follow`."""
        self._changes: Array | None = None
        if isinstance(generator, PhotoGenerator) and generator.config.change_size:
            self.texels = self.texels.copy()  # a generator laid out channels last would be written to
            self._rest = np.ascontiguousarray(texture[:, :, :3].numpy())
            maps = generator.changes.detach().float().cpu()
            self._changes = maps.permute(0, 2, 3, 1).flatten(1).contiguous().numpy()
            self._moves = maps.abs().amax((0, 1)).numpy() > 0.0
            bounds = generator.change_bounds.detach().float().cpu()
            self._bounds = bounds.permute(0, 2, 3, 1).flatten(1).contiguous().numpy()
            self._range = generator.face_range.detach().float().cpu().numpy()
            self._shape = (*generator.config.change_size, 3)
            self._change = live_kernels.changer(is_half=is_half)

    def follow(self, face: Array | None) -> None:
        """Change with the face that `models.face_numbers` says, `[F]`; None leaves it as it is."""
        if self._changes is None or face is None:
            return
        mean, unit, low, high = self._range
        change = np.clip(np.clip((face - mean) / unit, low, high) @ self._changes, *self._bounds)
        self._change(self._rest, change.reshape(self._shape), self._moves, self.texels)
