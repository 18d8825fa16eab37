"""Windows on the eyes: where they lie in a crop by the landmarks of the face, and points of them in either frame.

Both eyes are looked at alike: the window of the left one is a mirror image, so that one network reads both. Eyes
come in the order of `FaceParams.gaze`, left and right, as the actor has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

CORNERS = ((263, 362), (33, 133))
"""Landmarks of the mesh at the outer and inner corner of each eye."""
EYE_POINTS = (
    (473, 476, 475, 474, 477, 263, 362, 386, 374, 385, 380, 387, 373),
    (468, 469, 470, 471, 472, 33, 133, 159, 145, 158, 153, 160, 144),
)
"""Landmarks looked for in each window: the iris (middle, inner, upper, outer, lower edge), then corners and lids."""
IRIS_POINTS = 5
"""How many of these lie on the eyeball."""
CORNER_SHARE = 0.55
"""Width of an eye seen from the front, from corner to corner, in widths of its window."""


@dataclass(frozen=True, slots=True)
class EyeWindows:
    """Two windows in each of a batch of crops."""

    middle: Tensor
    """`[B, 2, 2]` (u, v) in the crop, pixels."""
    across: Tensor
    """`[B, 2, 2]` from the outer to the inner side of the eye by one pixel of the window, in pixels of the crop."""
    down: Tensor
    """`[B, 2, 2]` the same, from the brow to the cheek: as long, and at right angles."""

    @classmethod
    def around(cls, mesh_px: Tensor, width: int) -> EyeWindows:
        """Frame the eyes of landmarks `[B, >= 468, 2]`, pixels of the crop, in windows `width` pixels wide.

        The eye that is seen from the front more than the other gives the size of both.
        """
        outer, inner = (mesh_px[:, [pair[end] for pair in CORNERS]] for end in (0, 1))
        step = inner - outer
        length = (step.square().sum(2) + 1e-4).sqrt()
        size = length.amax(1, keepdim=True).clamp(min=1.0) / (CORNER_SHARE * width)
        across = step * (size / length)[..., None]
        # A quarter turn towards the cheek; the left eye's window is mirrored, so its turn goes the other way.
        turn = mesh_px.new_tensor([[[1.0, -1.0]], [[-1.0, 1.0]]]).transpose(0, 1)
        return cls((outer + inner) / 2, across, across.flip(2) * turn)

    def to_crop(self, points: Tensor) -> Tensor:
        """Take points `[B, 2, K, 2]` (u, v) of the windows, pixels from their middle, into the crop's pixels."""
        middle, across, down = (part[:, :, None] for part in (self.middle, self.across, self.down))
        return middle + points[..., :1] * across + points[..., 1:] * down

    def from_crop(self, points_px: Tensor) -> Tensor:
        """Invert `to_crop`."""
        away = points_px - self.middle[:, :, None]
        axes = torch.stack([self.across, self.down], 2)  # [B, 2, axis, uv]
        return (away @ axes.transpose(2, 3)) / axes.square().sum(3).clamp(min=1e-9)[:, :, None]

    def look(self, crop: Tensor, shape: tuple[int, int]) -> Tensor:
        """Resample crops `[B, C, S, S]` to windows `[2 B, C, *shape]`, each crop's left eye before its right one."""
        rows, columns = shape
        u = torch.arange(columns, dtype=crop.dtype, device=crop.device) + (0.5 - columns / 2)
        v = torch.arange(rows, dtype=crop.dtype, device=crop.device) + (0.5 - rows / 2)
        middle, across, down = (part.flatten(0, 1)[:, None, None] for part in (self.middle, self.across, self.down))
        places = middle + across * u[None, None, :, None] + down * v[None, :, None, None]  # [2 B, rows, columns, 2]
        grid = places * (2.0 / crop.shape[-1]) - 1.0
        both = crop[:, None].expand(-1, 2, -1, -1, -1).flatten(0, 1)
        return functional.grid_sample(both, grid, mode="bilinear", padding_mode="border", align_corners=False)
