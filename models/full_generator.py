"""The first design of the generator: full widths, and its last layers at full resolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from models.generator import (
    SURFACE_EXTRA,
    GeneratorConfig,
    ResidualBlock,
    SpaceTimeGenerator,
    activate,
    convolution,
)


class FullGenerator(SpaceTimeGenerator):
    """Four times the lean design's cost; packages that were trained with it go on to work."""

    block = 1

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        widths = config.widths
        self._add_trunk()
        self.decode_blocks = nn.ModuleList(ResidualBlock(width) for width in widths[1:-1])
        self._add_summary(widths[1:-1])
        self.detail = convolution(widths[0], config.detail_channels * 4)
        self.mix = convolution(config.detail_channels + config.texture_channels + SURFACE_EXTRA, 16)
        self.paint = convolution(16, 4, size=1)
        with torch.no_grad():
            # Begin with the network's own paint everywhere: a mask that begins shut may never learn to open.
            self.paint.weight.mul_(0.1)
            self.paint.bias[3] = 2.0  # type: ignore[index]

    @property
    @override
    def last_features(self) -> nn.Module:
        return self.detail

    @override
    def paint_prepared(self, unshuffled: Tensor, surfaces: list[Tensor], window: Tensor) -> Tensor:
        skips = self.encode_levels(activate(self.enter(unshuffled)), window)
        x = skips.pop()
        shifts = self.summarize(x)
        for level in range(len(self.up) - 1, -1, -1):
            x = functional.interpolate(self.up[level](x), scale_factor=2.0, mode="nearest")
            x = activate(x + skips.pop())
            if level > 0:
                x = self.decode_blocks[level - 1](x + shifts[level - 1])
        detail = activate(functional.pixel_shuffle(self.detail(x), 2))
        # One convolution over both, without putting them into one tensor first: at full size that costs as much.
        split = detail.shape[1]
        mixed = functional.conv2d(detail, self.mix.weight[:, :split], self.mix.bias, padding=1)
        mixed = activate(mixed + functional.conv2d(surfaces[0], self.mix.weight[:, split:], padding=1))
        return torch.sigmoid(self.paint(mixed))
