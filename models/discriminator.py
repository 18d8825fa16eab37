"""Critics of the conditional GAN: a patch critic of single frames and one of pairs of frames, for time.

After Isola et al. (CVPR 2017) for patches, and Chan et al. ("Everybody Dance Now", ICCV 2019) for pairs.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Module):
    """Judge overlapping patches of a picture together with what it should show."""

    def __init__(self, channels: int, *, width: int = 32) -> None:
        """Take the channels of picture and condition together."""
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width)
        self.layers = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, 4, 2, 1)) for a, b in itertools.pairwise(sizes))
        self.judge = spectral_norm(nn.Conv2d(sizes[-1], 1, 3, 1, 1))

    def forward(self, picture: Tensor, condition: Tensor) -> Tensor:
        """Score each patch of `picture [B, C, H, W]` (0..1) under `condition [B, D, H, W]`: `[B, 1, h, w]`."""
        x = torch.cat([picture * 2 - 1, condition], 1)
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), 0.2)
        score: Tensor = self.judge(x)
        return score
