"""What pictures of a person show, texel by texel: each laid back on the texture by the codes of its conditioning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.face import FaceModel
from models.generator import GeneratorConfig, texture_places
from models.halo import Halo
from reenact.conditioning import CHANNELS, GROUPS, ConditioningRenderer
from reenact.dataset import Recording

Array = NDArray[np.float32]

LEAST_SEEN = 3
"""Pictures that must show a place of the background, and pixels a texel, to be known."""
TIE, NOISE = 2e-3, 2e-4
"""What is added to the squared errors of background and head, where they are compared: in doubt it is the head."""
SHARPNESS = 2.0
"""Power of their ratio by which one covers the other."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture, pixel by pixel."""

    texel: NDArray[np.int32]
    """`[H, W]` texel that the pixel shows, -1 for none."""
    cell: NDArray[np.int16]
    """`[H, W]` cell of the card that it shows, -1 for none."""
    picture: NDArray[np.uint8]
    """`[H, W, 3]`"""
    told: NDArray[np.bool_]
    """`[H, W]` where it tells anything."""

    def cut(self, cells: NDArray[np.bool_]) -> Seen:
        """Give what is seen with the card cut to `cells`: behind it there is nothing."""
        is_gone = (self.cell >= 0) & ~cells.ravel()[self.cell]
        return Seen(np.where(is_gone, -1, self.texel), np.where(is_gone, -1, self.cell), self.picture, self.told)


def watch(
    recording: Recording,
    model: FaceModel,
    config: GeneratorConfig,
    halo: Halo,
    frames: NDArray[np.int64],
    told: Sequence[NDArray[np.bool_]] | None = None,
) -> Iterator[Seen]:
    """Render `frames` with the card `halo`, and say what each pixel shows, where it is `told`."""
    size = config.resolution
    camera = recording.camera.scaled(size, size)
    renderer = ConditioningRenderer(
        model, camera, halo, shape=recording.shape, teeth_rise=recording.teeth_rise, is_shaded=False,
        has_own_eyes=config.has_own_eyes,
    )  # fmt: skip
    # Two triangles each.
    cell_of = np.append(np.tile(np.flatnonzero(halo.cells.ravel()).astype(np.int16), 2), np.int16(-1))
    buffer = np.zeros((CHANNELS, size, size), np.float32)
    everything = np.ones((size, size), bool)
    for index, frame in enumerate(frames):
        codes = torch.from_numpy(renderer.render(recording.params[int(frame)], buffer)[None, GROUPS["correspondence"]])
        texel = texels_of(codes, config.texture_size)[0].numpy()
        cell = cell_of[np.maximum(renderer.halo_triangles, -1)]
        is_told = everything if told is None else told[index]
        if config.has_own_eyes:
            is_told = is_told & ~_rims(buffer[GROUPS["gaze"]][0])
        yield Seen(texel, cell, recording.picture(int(frame), size), is_told)


def _rims(eyes: Array) -> NDArray[np.bool_]:
    """Give the rims of the eyeballs `[H, W]`, 1 where one is drawn: lids lie a pixel off, and lashes over them."""
    is_eye = (eyes > 0.5).astype(np.uint8)
    return np.asarray((is_eye > 0) & (cv2.erode(is_eye, np.ones((3, 3), np.uint8)) == 0))


def texels_of(codes: Tensor, size: tuple[int, ...]) -> Tensor:
    """Say which texel of a texture of `size`, rows and columns, codes `[B, 3, H, W]` show: `[B, H, W]`, -1 for none."""
    rows, columns = size
    across, up = ((texture_places(codes) + 1) / 2).unbind(-1)
    column = (across * columns - 0.5).round().clamp(0, columns - 1).int()
    row = (up * rows - 0.5).round().clamp(0, rows - 1).int()
    return torch.where(codes.sum(1) > 1e-3, row * columns + column, -1)


class Sums:
    """What was seen of each texel."""

    def __init__(self, pictures: Sequence[Seen], background: Array, size: tuple[int, int]) -> None:
        """Take `pictures` in, and how far each is from `background [H, W, 3]`."""
        texels = size[0] * size[1]
        self.count = np.zeros(texels)
        self._total = np.zeros((texels, 3))
        self._square, self._off = np.zeros(texels), np.zeros(texels)
        for seen in pictures:
            known = (seen.texel >= 0) & seen.told
            texel, color, behind = seen.texel[known], seen.picture[known].astype(np.float32) / 255.0, background[known]
            self.count += np.bincount(texel, minlength=texels)
            for channel in range(3):
                self._total[:, channel] += np.bincount(texel, color[:, channel], minlength=texels)
            self._square += np.bincount(texel, (color**2).mean(1), minlength=texels)
            self._off += np.bincount(texel, ((color - behind) ** 2).mean(1), minlength=texels)

    @property
    def mean(self) -> NDArray[np.float64]:
        """`[N, 3]` colour."""
        return self._total / np.maximum(self.count, 1)[:, None]

    @property
    def variance(self) -> NDArray[np.float64]:
        """`[N]` of it, averaged over channels."""
        return np.maximum(self._square / np.maximum(self.count, 1) - (self.mean**2).mean(1), 0.0)

    @property
    def background_error(self) -> NDArray[np.float64]:
        """`[N]` mean squared difference from the background behind it."""
        return self._off / np.maximum(self.count, 1)

    @property
    def coverage(self) -> NDArray[np.float64]:
        """`[N]` how far a texel covers the background, 0 to 1."""
        odds = ((self.background_error + TIE) / (self.variance + NOISE)) ** SHARPNESS
        return odds / (1.0 + odds)


def median_of(seen: Sequence[Seen], shown: Sequence[NDArray[np.bool_]]) -> tuple[Array, NDArray[np.int64]]:
    """Give the median `[H, W, 3]`, 0 to 1, of pictures where each is `shown [H, W]`, and of how many `[H, W]`."""
    pictures = np.stack([np.where(where[..., None], one.picture, 256) for one, where in zip(seen, shown, strict=True)])
    pictures = np.sort(pictures.astype(np.int16), 0)  # what is not shown comes last
    count = np.sum(shown, 0)
    middle = [
        np.maximum(index, 0)[None, ..., None] for index in ((count - 1) // 2, np.minimum(count // 2, len(seen) - 1))
    ]
    low, high = (np.take_along_axis(pictures, index, 0)[0] for index in middle)
    return np.where(count[..., None] > 0, (low + high) / 510.0, 0.0).astype(np.float32), count


def background_of(seen: Sequence[Seen], median: Array) -> Array:
    """Give the background `[S, S, 3]`: the median of what is seen beside the head, and its edges beyond.

    Where no picture shows any of it, it is as in `median [S, S, 3]`.
    """
    plate, count = median_of(seen, [(one.texel < 0) & one.told for one in seen])
    is_seen = count >= min(LEAST_SEEN, len(seen))
    plate = np.where(is_seen[..., None], plate, median)
    if not is_seen.any():
        return plate
    # Where it was never seen it goes on as its edges say, ever more evenly.
    levels = (plate * 255.0 + 0.5).astype(np.uint8)
    guessed = cv2.inpaint(levels, (~is_seen).astype(np.uint8), 5, cv2.INPAINT_TELEA).astype(np.float32) / 255.0
    return np.where(is_seen[..., None], plate, guessed).astype(np.float32)
