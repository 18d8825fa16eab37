"""The generator that runs live on a plain laptop: nothing is convolved at full resolution.

Where a network of this kind spends its time is not where its knowledge is: most of it went into 3 x 3 convolutions of
many channels at the picture's own and at half its size. Here the texture's features, which carry what is fine, enter at
half the size, four pixels as channels, and the paint leaves it in the same way, through convolutions one pixel wide.
For a picture of twice the size the same network computes what it would for the smaller one, and a thin layer over the
texture's features adds what is finer: it starts as the smaller picture, enlarged.
"""

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

BLOCK = 2
PAINT_CHANNELS = 4 * BLOCK**2
"""Colour and mask of the pixels of a block."""


class ThinBlock(nn.Module):
    """One convolution added to its input: for the levels where a second one would cost too much."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.only = convolution(channels, channels)
        with torch.no_grad():
            self.only.weight.mul_(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to the same shape."""
        return activate(x + self.only(x))


class LeanGenerator(SpaceTimeGenerator):
    """See the module's text."""

    block = BLOCK
    own: nn.Conv2d | None
    """What the finest surface says by itself of the paint: nothing, in this design."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self.own = None
        widths = config.widths
        surface = BLOCK**2 * (config.texture_channels + SURFACE_EXTRA)
        self._add_trunk(surface)
        self.decode_blocks = nn.ModuleList(
            ThinBlock(width) if level < 2 else ResidualBlock(width) for level, width in enumerate(widths[:-1])
        )
        self._add_summary(widths[:-1])
        self.paint = convolution(widths[0], PAINT_CHANNELS, size=1)
        if config.magnification > 1:
            self.rise = convolution(widths[0], config.fine_channels * BLOCK**2, size=1)
            self.fine_surface = convolution(surface, config.fine_channels, size=1)
            self.fine_paint = convolution(config.fine_channels, PAINT_CHANNELS, size=1)
        with torch.no_grad():
            # Begin with the network's own paint everywhere: a mask that begins shut may never learn to open.
            self.paint.weight.mul_(0.1)
            self.paint.bias[3::4] = 2.0  # type: ignore[index]
            if config.magnification > 1:
                self.fine_paint.weight.mul_(0.01)

    @property
    @override
    def last_features(self) -> nn.Module:
        return self.decode_blocks[0]

    @override
    def paint_prepared(self, unshuffled: Tensor, surfaces: list[Tensor], window: Tensor) -> Tensor:
        x = self._features(unshuffled, self.enter_surface(surfaces[0]), window)
        painted = self.paint(x)
        if self.config.magnification > 1:
            painted = self._add_finer(painted, x, surfaces[1])
        return torch.sigmoid(painted if self.own is None else painted + self.own(surfaces[-1]))

    @override
    def paint_live(self, unshuffled: Tensor, surface: Tensor, window: Tensor) -> Tensor:
        """Paint a magnified picture without going up to its size: twice as fast.

        `surface` is `[B, 4 * 4 * (C + 4), h, w]` then: `into_blocks` of the magnification, then of `block`. Every layer
        of what is finer becomes one over a block of blocks, the same for each of its four; the texture as the trunk
        sees it, an average, becomes part of the weights.
        """
        if self.config.magnification == 1:
            return super().paint_live(unshuffled, surface, window)
        outer, inner = self.block**2, self.config.magnification**2
        channels, fine = surface.shape[1] // (outer * inner), self.config.fine_channels

        def averaged(layer: nn.Conv2d) -> Tensor:
            weight = layer.weight.reshape(-1, outer, 1, channels) / inner
            return weight.expand(-1, -1, inner, -1).reshape(-1, outer * inner * channels, 1, 1)

        def alike(layer: nn.Conv2d, x: Tensor) -> Tensor:
            """Apply `layer` to each block of a block."""
            bias = None if layer.bias is None else layer.bias.repeat(outer)
            return functional.conv2d(x, layer.weight.repeat(outer, 1, 1, 1), bias, groups=outer)

        entered = functional.conv2d(surface, averaged(self.enter_surface), self.enter_surface.bias)
        x = self._features(unshuffled, entered, window)
        # What `pixel_shuffle` would spread out, by block first.
        weight = self.rise.weight.reshape(fine, outer, -1).transpose(0, 1).reshape(outer * fine, -1, 1, 1)
        bias = self.rise.bias.reshape(fine, outer).t().reshape(-1)  # type: ignore[union-attr]
        finer = activate(functional.conv2d(x, weight, bias) + alike(self.fine_surface, surface))
        # Each painted pixel of a block is four equal ones.
        weight = (
            self.paint.weight.reshape(outer, 1, 4, -1).expand(-1, inner, -1, -1).reshape(4 * outer * inner, -1, 1, 1)
        )
        bias = self.paint.bias.reshape(outer, 1, 4).expand(-1, inner, -1).reshape(-1)  # type: ignore[union-attr]
        parts = [functional.conv2d(x, weight, bias), alike(self.fine_paint, finer)]
        if self.own is not None:
            parts.append(alike(self.own, surface))
        # With rows and columns as one, OpenVINO sees that nothing has to be moved.
        return torch.sigmoid(
            sum((part.flatten(2).transpose(1, 2) for part in parts[1:]), parts[0].flatten(2).transpose(1, 2))
        )

    def _features(self, unshuffled: Tensor, surface: Tensor, window: Tensor) -> Tensor:
        """Go down and up the trunk: the last features, at half its size. `surface` is what enters beside the frame."""
        skips = self.encode_levels(activate(self.enter(unshuffled) + surface), window)
        x = skips.pop()
        shifts = self.summarize(x)
        for level in range(len(self.up) - 1, -1, -1):
            x = functional.interpolate(self.up[level](x), scale_factor=2.0, mode="nearest")
            x = self.decode_blocks[level](activate(x + skips.pop()) + shifts[level])
        return x

    def _add_finer(self, painted: Tensor, features: Tensor, surface: Tensor) -> Tensor:
        """Enlarge `painted`, before its sigmoid, and add what the texture at full size says."""
        fine = functional.pixel_shuffle(self.rise(features), BLOCK) + self.fine_surface(surface)
        batch, _, height, width = painted.shape
        # Each painted pixel of a block becomes a block of four equal ones.
        parts = painted.reshape(batch, BLOCK, BLOCK, 4, height, width).permute(0, 3, 4, 1, 5, 2)
        coarse = parts.reshape(batch, 4, BLOCK * height, BLOCK * width).repeat(1, BLOCK**2, 1, 1)
        return coarse + self.fine_paint(activate(fine))
