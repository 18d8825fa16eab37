"""Points that a network finds in a picture: one map each, read as a whole to a fraction of a place.

The expectation over a map ("soft-argmax") after Sun et al., "Integral Human Pose Regression" (ECCV 2018), with offsets
within each place after Papandreou et al., "Towards Accurate Multi-person Pose Estimation in the Wild" (CVPR 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

UNIT_PX = 8.0
"""Pixels that one unit of a point's deviation stands for."""
PRIOR_PX = 6.0
"""Standard deviation of where a point is expected before the picture is looked at."""


class PointHead(nn.Module):
    """A map of likelihoods and two of offsets for each point, and where that puts the point.

    Points are given as deviations from where they lie on average: small numbers survive bfloat16, pixels would not.
    """

    base: Tensor
    """`[K, 2]` (u, v) where each point lies on average, pixels."""
    grid: Tensor

    def __init__(
        self, channels: int, points: int, shape: tuple[int, int], cell_px: float, corner_px: tuple[float, float]
    ) -> None:
        """Read features `[B, channels, *shape]`, each place `cell_px` wide, the first one's corner at `corner_px`."""
        super().__init__()
        rows, columns = shape
        self.maps = nn.Conv2d(channels, 3 * points, 1)
        nn.init.normal_(self.maps.weight, std=0.02)
        nn.init.zeros_(self.maps.bias)  # type: ignore[arg-type]
        self.prior = nn.Parameter(torch.zeros(points, rows * columns))
        v, u = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
        grid = torch.stack([u.flatten() * cell_px + corner_px[0], v.flatten() * cell_px + corner_px[1]])
        self.register_buffer("grid", grid, persistent=False)
        self.register_buffer("base", torch.zeros(points, 2))

    @torch.no_grad()
    def settle(self, base: Tensor) -> None:
        """Expect the points at `base [K, 2]`, pixels, from now on."""
        self.base.copy_(base)
        self.prior.copy_(-0.5 * (self.steps * (UNIT_PX / PRIOR_PX)).square().sum(0))

    @property
    def steps(self) -> Tensor:
        """Way `[2, K, N]` (u, v) from each point's average to the middle of each place, units."""
        return (self.grid[:, None] - self.base.T[:, :, None]) / UNIT_PX

    def likelihood(self, maps: Tensor) -> Tensor:
        """Take the logits `[B, K, N]` of each point being in each place out of what `self.maps` gave."""
        return self._parts(maps)[:, 0] + self.prior

    def forward(self, features: Tensor) -> Tensor:
        """Give deviations `[B, K, 2]` (u, v), units, of `features [B, C, rows, columns]`."""
        maps = self.maps(features)
        offsets = self._parts(maps)[:, 1:]
        share = self.likelihood(maps).softmax(-1)
        return (share[:, None] * (self.steps + offsets)).sum(-1).transpose(1, 2)

    def _parts(self, maps: Tensor) -> Tensor:
        return maps.reshape(len(maps), 3, *self.prior.shape)

    def deviations(self, points_px: Tensor) -> Tensor:
        """Turn pixels `[B, K, 2]` into deviations."""
        return (points_px - self.base) / UNIT_PX

    def pixels(self, deviations: Tensor) -> Tensor:
        """Turn deviations `[B, K, 2]` into pixels."""
        return self.base + UNIT_PX * deviations
