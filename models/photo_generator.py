"""The generator of a target in minutes: it begins as a photograph of the person, laid over the head.

A network that must first find out where everything is spends its training on that, learns it for the poses it saw, and
tears the hair off a head that turns further. Here four channels of the texture are the person's own colours and how
far they cover the background, and they are painted as they are; what the lean network paints is added before the
sigmoid. Hair has texels too, on a card that turns with the head (`models.halo`). So a target moves rightly before the
first step, in every pose, and what is learned is what a photograph does not know: mouth, eyes, light, what is behind.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from models.generator import SURFACE_EXTRA, GeneratorConfig, convolution
from models.halo import CELLS, Halo
from models.lean_generator import BLOCK, PAINT_CHANNELS, LeanGenerator

OWN_CHANNELS = 4
"""Channels of the texture that are painted: the logits of colour and of coverage."""
UNCOVERED = -2.0
"""Logit of the mask where nothing of the head is: low, but not so low that it could not be learned to open."""
LEAST = 0.02
"""Colours and masks begin no nearer than this to 0 and 1, where their logits have no end."""
PAINT_SHARE = 0.01
"""Share of its usual weights that the network's own paint begins with."""
OF_LEAN = ("paint.", "fine_paint.", "texture")
"""Weights that another target's network paints all of the picture with."""


class PhotoGenerator(LeanGenerator):
    """See the module's text."""

    halo_cells: Tensor
    """`[24, 32]` 1 for cells of the card that are drawn, see `Halo`; a tensor, so that it stays with the weights."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        if config.texture_channels < OWN_CHANNELS:
            raise ValueError(f"texture_channels: the photo design needs {OWN_CHANNELS}, got {config.texture_channels}")
        stride = config.texture_channels + SURFACE_EXTRA
        self.own = own = convolution(BLOCK**2 * stride, PAINT_CHANNELS, size=1)
        self.register_buffer("halo_cells", torch.ones(CELLS))
        with torch.no_grad():
            own.weight.zero_()
            for pixel in range(BLOCK**2):
                for channel in range(OWN_CHANNELS):
                    own.weight[4 * pixel + channel, stride * pixel + channel] = 1.0
                own.weight[4 * pixel + 3, stride * pixel + config.texture_channels] = -UNCOVERED
                own.bias[4 * pixel + 3] = UNCOVERED  # type: ignore[index]
            self.paint.weight.mul_(10.0 * PAINT_SHARE)  # a tenth already
            self.paint.bias.zero_()  # type: ignore[union-attr]

    @property
    @override
    def halo(self) -> Halo:
        return Halo(np.asarray(self.halo_cells.detach().cpu().numpy() > 0.5))

    @torch.no_grad()
    def begin(self, colors: Tensor, coverage: Tensor, cells: Tensor) -> None:
        """Take a person's `colors [3, h, w]` and their `coverage [1, h, w]`, by texel, 0 to 1, and the card's cells."""
        known = torch.cat([colors, coverage]).clamp(LEAST, 1.0 - LEAST)
        self.texture[0, :OWN_CHANNELS] = torch.logit(known)
        self.halo_cells.copy_(cells)


def useful_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out of another target's `weights` what a photo generator cannot begin with."""
    left_out = ("texture", "halo_cells") if "own.weight" in weights else OF_LEAN
    return {name: value for name, value in weights.items() if not name.startswith(left_out)}
