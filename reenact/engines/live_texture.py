"""The texture that a live engine looks up, laid out for it, and what a face adds to it where the generator asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.generator import SpaceTimeGenerator
from models.photo_generator import PhotoGenerator
from reenact.engines.texel_mixer import CHANGE_CHANNELS

Array = NDArray[np.float32]


class LiveTexture:
    """`SpaceTimeGenerator.texture` and `change_of`, one face at a time, without PyTorch."""

    def __init__(self, generator: SpaceTimeGenerator, *, is_half: bool) -> None:
        """Copy the texture of `generator`; in bfloat16, as uint16, if `is_half`."""
        # Texel by texel, so that one look-up reads neighbouring memory.
        texture = generator.texture.detach()[0].permute(1, 2, 0).float().cpu().contiguous()
        self.texels: NDArray[Any] = texture.bfloat16().view(torch.uint16).numpy() if is_half else texture.numpy()
        """`[h, w, C]`."""
        self.change: Array = np.zeros((1, 1, CHANGE_CHANNELS), np.float32)
        """`[h', w', 4]` over all of the texture: what the face of the last `follow` adds to the first channels."""
        self._changes: Array | None = None
        if isinstance(generator, PhotoGenerator) and generator.config.change_size:
            self.change = np.zeros((*generator.config.change_size, CHANGE_CHANNELS), np.float32)
            maps, bounds = (
                tensor.detach().float().cpu().permute(0, 2, 3, 1).flatten(1).numpy()
                for tensor in (generator.changes, generator.change_bounds)
            )
            moving = np.flatnonzero(maps.any(0))  # half of all patches were never seen, or do not change
            self._changes, self._bounds = np.ascontiguousarray(maps[:, moving]), bounds[:, moving]
            self._places = CHANGE_CHANNELS * (moving // 3) + moving % 3
            self._range = generator.face_range.detach().float().cpu().numpy()

    def follow(self, face: Array | None) -> None:
        """Change with the face that `models.face_numbers` says, `[F]`; None leaves it as it is."""
        if self._changes is None or face is None:
            return
        mean, unit, low, high = self._range
        known = np.clip((face - mean) / unit, low, high)
        self.change.reshape(-1)[self._places] = np.clip(known @ self._changes, *self._bounds)
