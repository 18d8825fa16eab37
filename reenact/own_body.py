"""How far a person's body goes along with their head, found in their pictures.

Who sits back keeps the shoulders where they are, and who is all over the place takes them along. So the card's lower
end is drawn with a body that goes none, half and all of the way, and each half of the pictures, laid back on the
texture, foretells the other half. How well decides, and between the three what a parabola through them says.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from capture.spread import spread
from models.body import Body
from models.face import FaceModel
from models.generator import GeneratorConfig
from models.halo import Halo
from reenact.dataset import Recording
from reenact.seen_pictures import Seen, Sums, background_of, median_of, watch

Array = NDArray[np.float32]

SHARES = (0.0, 0.5, 1.0)
"""That are tried."""
PICTURES = 120
"""Training pictures that are looked at."""
RESOLUTION = 128
"""Pixels each way."""
KNOWN = 10.0
"""Pixels of a texel from which on its colour foretells; with fewer, it is in part background."""


def find_body(recording: Recording, model: FaceModel) -> Body:
    """Find the body at rest in `recording`, and its share of the way of the neck."""
    poses = np.stack([recording.params.rotation, recording.params.translation])[:, recording.training]
    rest = np.median(poses, 1).astype(np.float32)
    frames = spread(recording.training, PICTURES)
    if len(frames) < 2:
        return Body(rest)
    config = GeneratorConfig.of_size(RESOLUTION, design="photo")
    errors = []
    for share in SHARES:
        seen = list(watch(recording, model, config, Halo(body=Body(rest, share)), frames))
        errors.append(foretelling_error(seen, config.texture_size))
    return Body(rest, _least(errors))


def foretelling_error(seen: Sequence[Seen], size: tuple[int, int]) -> float:
    """Give the mean squared error, colours 0 to 1, with which each half of the pictures is foretold by the other.

    `size` is that of the texture.
    """
    error = 0.0
    for known, asked in ((seen[::2], seen[1::2]), (seen[1::2], seen[::2])):
        median, _ = median_of(known, [one.told for one in known])
        plate = background_of(known, median)
        sums = Sums(known, plate, size)
        colors = sums.mean
        coverage = sums.coverage * np.minimum(sums.count / KNOWN, 1.0)
        for one in asked:
            texel = np.maximum(one.texel, 0)
            covered = np.where(one.texel >= 0, coverage[texel], 0.0)[..., None]
            foretold = plate + covered * (colors[texel] - plate)
            error += float(((foretold - one.picture / np.float32(255.0)) ** 2).mean())
    return error / len(seen)


def _least(errors: Sequence[float]) -> float:
    """Give the share at which the parabola through those of `SHARES` is least, or that of them that is least."""
    squared, linear, _ = np.polyfit(SHARES, errors, 2)
    if squared <= 0.0:
        return SHARES[int(np.argmin(errors))]
    return float(np.clip(-linear / (2.0 * squared), SHARES[0], SHARES[-1]))
