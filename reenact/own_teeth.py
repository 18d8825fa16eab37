"""Where a person's teeth lie, found in their pictures.

Landmarks end at the lips, and how far teeth stand below the upper lip or above the lower one differs between mouths by
half a tooth. Where the drawn bands lie elsewhere, teeth are painted on lip, tongue and dark, which move otherwise, and
blur. So each band is tried at some heights, and the one is taken from which half of the pictures, laid back on the
texture, foretell the mouths of the other half best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from capture.spread import spread
from models.face import FaceModel
from models.generator import GeneratorConfig
from models.halo import Halo
from models.params import EXPRESSION_NAMES
from reenact.conditioning import CHANNELS, GROUPS, ConditioningRenderer
from reenact.dataset import Recording
from reenact.seen_pictures import texels_of

Array = NDArray[np.float32]
Colors = tuple[NDArray[np.int32], Array]
"""Texels `[N]`, and the colour that a picture shows at each, `[N, 3]`."""

UPPER_M, LOWER_M = (-0.006, -0.004, -0.002, 0.002), (0.002, 0.004, 0.006, 0.008)
"""How much higher than the average head's they may lie."""
LEAST_GAIN = 0.03
"""Share of the squared error by which a height must do better than the average head's."""
PICTURES = 64
"""That are looked at, of those with the mouth most open."""
OPEN_SHARE = 0.4
"""Share of all pictures that they are spread over."""
OPENING = {"jawOpen": 1.0, "mouthUpperUp": 0.5, "mouthLowerDown": 0.5, "mouthClose": -1.0}
"""What opens a mouth, and by how much."""
LEAST_PIXELS = 10.0
"""Pixels within the lips that a picture must show on average."""
USUAL_PIXELS = 4.0
"""As how many pixels of each texel the mouth's mean colour counts."""


def find_teeth(recording: Recording, model: FaceModel, config: GeneratorConfig) -> Array:
    """Find how much higher than those of the face model upper and lower teeth lie, `[2]` metres.

    Both are 0 where too little of a mouth is seen, or nothing would be gained.
    """
    frames = _with_open_mouths(recording)
    pictures = [recording.picture(int(frame), config.resolution) for frame in frames]
    mouths = _Mouths(recording, model, config, frames, pictures)
    rise = np.zeros(2, np.float32)
    error = mouths.error(rise)
    if not np.isfinite(error):
        return rise
    for band, heights in enumerate((UPPER_M, LOWER_M)):
        tried = [np.where(np.arange(2) == band, np.float32(height), rise) for height in heights]
        errors = [mouths.error(one) for one in tried]
        best = int(np.argmin(errors))
        if errors[best] < (1.0 - LEAST_GAIN) * error:
            rise, error = tried[best], errors[best]
    return rise


def _with_open_mouths(recording: Recording) -> NDArray[np.int64]:
    gain = np.array([next((g for start, g in OPENING.items() if n.startswith(start)), 0.0) for n in EXPRESSION_NAMES])
    frames = recording.training
    opening = recording.params.expression[frames] @ gain
    most = np.argsort(-opening, kind="stable")[: max(PICTURES, round(OPEN_SHARE * len(opening)))]
    return spread(frames[np.sort(most)], PICTURES)


@dataclass(frozen=True, slots=True)
class _Mouths:
    """Pictures that show most of a mouth."""

    recording: Recording
    model: FaceModel
    config: GeneratorConfig
    frames: NDArray[np.int64]
    pictures: Sequence[NDArray[np.uint8]]

    def error(self, rise: Array) -> float:
        """Give the mean squared error with which each half's mouths are foretold by the other half's; NaN for none."""
        seen = self._seen(rise)
        pixels = sum(len(texels) for texels, _ in seen)
        if len(seen) < 2 or pixels < LEAST_PIXELS * len(seen):
            return float("nan")
        first, second = (
            (np.concatenate([texels for texels, _ in half]), np.concatenate([colors for _, colors in half]))
            for half in (seen[::2], seen[1::2])
        )
        return (_foretold(first, second) + _foretold(second, first)) / pixels

    def _seen(self, rise: Array) -> list[Colors]:
        size = self.config.resolution
        # Only beside a card have tongue and inner mouth texels of their own.
        renderer = ConditioningRenderer(
            self.model, self.recording.camera.scaled(size, size), Halo(), shape=self.recording.shape, teeth_rise=rise,
            is_shaded=False,
        )  # fmt: skip
        buffer = np.zeros((CHANNELS, size, size), np.float32)
        seen = []
        for frame, picture in zip(self.frames, self.pictures, strict=True):
            codes = renderer.render(self.recording.params[int(frame)], buffer)[None, GROUPS["correspondence"]]
            mouth = renderer.shows_mouth
            texels = texels_of(torch.from_numpy(codes), self.config.texture_size)[0].numpy()
            seen.append((texels[mouth], picture[mouth] / np.float32(255.0)))
        return seen


def _foretold(known: Colors, asked: Colors) -> float:
    """Sum the squared errors of the colours that are `asked` for, by each texel's mean of those that are `known`."""
    (texels, colors), (others, truth) = known, asked
    count = max(int(texels.max(initial=0)), int(others.max(initial=0))) + 1
    weight = np.bincount(texels, minlength=count) + USUAL_PIXELS
    error = 0.0
    for channel in range(3):
        usual = USUAL_PIXELS * float(colors[:, channel].mean()) if len(colors) else 0.0
        mean = (np.bincount(texels, colors[:, channel], minlength=count) + usual) / weight
        error += float(((mean[others] - truth[:, channel]) ** 2).sum())
    return error
