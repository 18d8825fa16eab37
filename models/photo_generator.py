"""The generator of a target in minutes: it begins as a photograph of the person, laid over the head.

A network that must first find out where everything is spends its training on that, learns it for the poses it saw, and
tears the hair off a head that turns further. Here four channels of the texture are the person's own colours and how
far they cover the background, and they are painted as they are; what the lean network paints is added before the
sigmoid. Hair has texels too, on a card that turns with the head (`models.halo`). So a target moves rightly before the
first step, in every pose, and what is learned is what a photograph does not know: mouth, eyes, light, what is behind.

Where it ends, at cheeks before hair or lips before teeth, its pixels are averaged with those around them: one texel to
a pixel has steps there that no camera shows.

And it is a photograph that changes: one colour a texel cannot be a smooth cheek and a crease. How much the colours
follow each number of the face (`models.face_numbers`) is found with them, before the first step as well, by
`reenact.changing_look`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from models.body import SHARE, Body
from models.face_numbers import FACE_NUMBERS
from models.generator import SURFACE_EXTRA, GeneratorConfig, convolution
from models.halo import CELLS, DIRECTIONS, HEAD_ROWS_M, VIEW_TERMS, Halo, Outline
from models.lean_generator import BLOCK, PAINT_CHANNELS, LeanGenerator

EDGE_CODE = 0.1
"""Two pixels side by side whose correspondence differs by more than this in any channel lie on either side of an edge.
What lies side by side on a head at 128 pixels differs by less."""
BLUR = (0.25, 0.5, 0.25)
"""Shares of the pixels along each side of those around an edge's."""
OWN_CHANNELS = 4
"""Channels of the texture that are painted: the logits of colour and of coverage."""
UNCOVERED = -2.0
"""Logit of the mask where nothing of the head is: low, but not so low that it could not be learned to open."""
LEAST = 0.02
"""Colours and masks begin no nearer than this to 0 and 1, where their logits have no end."""
LATER = ("halo_growth", "halo_views", "halo_rest", "halo_body", "halo_rows", "change_bounds")
"""Tensors that packages lack which were trained before cards grew, stayed with a body, with one of its own ways, or
reached down to its shoulders, or changes had bounds."""
OF_LEAN = ("paint.", "fine_paint.", "texture", "own_shape", "teeth_rise")
"""Weights that another target's network paints all of the picture with, or that are of its person."""
OF_PHOTO = ("texture", "halo_", "face_range", "change", "own_shape", "teeth_rise")
"""Those of a photo generator that are of its person."""


class PhotoGenerator(LeanGenerator):
    """See the module's text."""

    may_lack = (*LeanGenerator.may_lack, *LATER)
    changes: Tensor
    """`[F, 3, h', w']`: what each number of the face, in units of how far it varies, adds to the logits of colour."""
    face_range: Tensor
    """`[4, F]`: of each number its mean, its unit, the least and the most that it was, in units from the mean."""
    change_bounds: Tensor
    """`[2, 3, h', w']`: the least and the most that they add together."""
    halo_cells: Tensor
    """`[24, 32]` 1 for cells of the card that are drawn, see `Halo`; a tensor, so that it stays with the weights."""
    halo_growth: Tensor
    halo_views: Tensor
    """How the card grows with the view, see `Outline`."""
    halo_rest: Tensor
    """`[2, 3]` rotation and translation at rest, see `Body`; zeros where nothing stays with the body."""
    halo_body: Tensor
    """`[4]` its share, and the place of its neck. Packages that lack it have bodies that go by the head's middle."""
    halo_rows: Tensor
    """`[2, 25]` heights and half widths of its rows, see `halo.ROWS_M`."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        if config.texture_channels < OWN_CHANNELS:
            raise ValueError(f"texture_channels: the photo design needs {OWN_CHANNELS}, got {config.texture_channels}")
        stride = config.texture_channels + SURFACE_EXTRA
        self.own = own = convolution(BLOCK**2 * stride, PAINT_CHANNELS, size=1)
        self.register_buffer("halo_cells", torch.ones(CELLS))
        self.register_buffer("halo_growth", torch.zeros(VIEW_TERMS, DIRECTIONS))
        self.register_buffer("halo_views", torch.zeros(3, 2))
        self.register_buffer("halo_rest", torch.zeros(2, 3))
        self.register_buffer("halo_body", torch.tensor([SHARE, 0.0, 0.0, 0.0]))
        self.register_buffer("halo_rows", torch.from_numpy(HEAD_ROWS_M.copy()))
        if config.change_size:
            # What is typical of each number, how far it varies, and the least and most that was seen: as many rows.
            self.register_buffer("face_range", torch.tensor([0.0, 1.0, 0.0, 0.0])[:, None].repeat(1, FACE_NUMBERS))
            self.register_buffer("changes", torch.zeros(FACE_NUMBERS, 3, *config.change_size))
            boundless = torch.tensor([-torch.inf, torch.inf])[:, None, None, None]
            self.register_buffer("change_bounds", boundless.repeat(1, 3, *config.change_size))
        with torch.no_grad():
            own.weight.zero_()
            for pixel in range(BLOCK**2):
                for channel in range(OWN_CHANNELS):
                    own.weight[4 * pixel + channel, stride * pixel + channel] = 1.0
                own.weight[4 * pixel + 3, stride * pixel + config.texture_channels] = -UNCOVERED
                own.bias[4 * pixel + 3] = UNCOVERED  # type: ignore[index]
            # The network's own paint is nothing: chance colours would lie over the photograph as a pattern.
            self.paint.weight.zero_()
            self.paint.bias.zero_()  # type: ignore[union-attr]
            if config.magnification > 1:
                self.fine_paint.weight.zero_()

    @property
    @override
    def halo(self) -> Halo:
        cells, growth, views, rest, (share, *neck), rows = (
            tensor.detach().float().cpu().numpy()
            for tensor in (
                self.halo_cells, self.halo_growth, self.halo_views, self.halo_rest, self.halo_body, self.halo_rows,
            )
        )  # fmt: skip
        body = Body(rest, float(share), (float(neck[0]), float(neck[1]), float(neck[2]))) if rest.any() else None
        return Halo(np.asarray(cells > 0.5), Outline(growth, views), body, rows)

    @override
    def change_of(self, face: Tensor | None) -> Tensor | None:
        """Give what faces of the numbers `[B, F]` add to the logits of colour, `[B, 3, h', w']`.

        Beyond what was seen of the person, and of each place, colours change no further.
        """
        if face is None or not self.config.change_size:
            return None
        mean, unit, low, high = self.face_range
        known = ((face - mean) / unit).clamp(low, high)
        added = (known @ self.changes.flatten(1)).reshape(len(face), *self.changes.shape[1:])
        return added.clamp(*self.change_bounds)

    @property
    @override
    def is_softened(self) -> bool:
        return "correspondence" not in self.config.dropped

    @override
    def decode(self, conditioning: Tensor, window: Tensor, face: Tensor | None = None) -> Tensor:
        picture = super().decode(conditioning, window, face)
        return soften(picture, conditioning[:, 3:6]) if self.is_softened else picture

    @torch.no_grad()
    def begin(self, colors: Tensor, coverage: Tensor, halo: Halo) -> None:
        """Take a person's `colors [3, h, w]` and their `coverage [1, h, w]`, by texel, 0 to 1, and the card."""
        known = torch.cat([colors, coverage]).clamp(LEAST, 1.0 - LEAST)
        self.texture[0, :OWN_CHANNELS] = torch.logit(known)
        self.halo_cells.copy_(torch.from_numpy(halo.cells))
        self.halo_growth.copy_(torch.from_numpy(halo.outline.growth))
        self.halo_views.copy_(torch.from_numpy(halo.outline.views))
        self.halo_rows.copy_(torch.from_numpy(halo.rows_m))
        if halo.body is not None:
            self.halo_rest.copy_(torch.from_numpy(halo.body.rest))
            self.halo_body.copy_(torch.tensor([halo.body.share, *halo.body.neck_m]))

    @torch.no_grad()
    def begin_changing(self, maps: Tensor, offset: Tensor, face_range: Tensor, bounds: Tensor) -> None:
        """Take over how colours change: `changes`, `face_range`, `change_bounds`, and what to add to them at rest.

        `offset` is `[3, h', w']`.
        """
        self.changes.copy_(maps)
        self.face_range.copy_(face_range)
        self.change_bounds.copy_(bounds)
        size, offset = self.config.texture_size, offset[None].to(self.texture)
        self.texture[0, :3] += functional.interpolate(offset, size=size, mode="bilinear", align_corners=False)[0]


def soften(picture: Tensor, codes: Tensor) -> Tensor:
    """Average each pixel of `picture [B, 3, H, W]` on an edge of the correspondence `codes [B, 3, H, W]` with its eight
    neighbours; beyond the picture its own edge goes on.
    """
    line = torch.tensor(BLUR, device=picture.device)
    blur = (line[:, None] * line).expand(picture.shape[1], 1, -1, -1)
    padded = functional.pad(picture.float(), (1, 1, 1, 1), mode="replicate")
    # A convolution would be done in bfloat16 where training is mixed, and be too coarse for colours.
    with torch.autocast(picture.device.type, enabled=False):
        blurred = functional.conv2d(padded, blur, groups=picture.shape[1])
    return torch.where(_edges(codes)[:, None], blurred.to(picture.dtype), picture)


def _edges(codes: Tensor) -> Tensor:
    """Say which pixels `[B, H, W]` have a neighbour beyond an edge of the correspondence `codes [B, 3, H, W]`."""
    across = (codes[..., 1:] - codes[..., :-1]).abs().amax(1) > EDGE_CODE
    down = (codes[..., 1:, :] - codes[..., :-1, :]).abs().amax(1) > EDGE_CODE
    is_edge = torch.zeros_like(codes[:, 0], dtype=torch.bool)
    is_edge[..., 1:] |= across
    is_edge[..., :-1] |= across
    is_edge[..., 1:, :] |= down
    is_edge[..., :-1, :] |= down
    return is_edge


def useful_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out of another target's `weights` what a photo generator cannot begin with."""
    left_out = OF_PHOTO if "own.weight" in weights else OF_LEAN
    return {name: value for name, value in weights.items() if not name.startswith(left_out)}
