"""A place of its own in the texture for the tongue.

The texture is laid around the head, and so tongue and lips, one behind the other, would share their texels: whoever
opens the mouth wider than was ever seen would show lips in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.face import FaceModel
from models.halo import HEAD_MIDDLE
from models.teeth import TONGUE

AROUND = (0.4, 0.9)
"""From the tongue's right to its left: shares of the way from straight ahead to the side of the head, which is how
`models.generator.texture_places` reckons. The teeth end at 0.32."""
RADIUS = 0.45
ROWS = (0.005, 0.07)
"""From the root to the tip: below everything of the face model that is drawn, as the teeth's."""


def tongue_correspondence(model: FaceModel) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Give the vertices of the tongue `[T]` and the codes that they have where it has a place of its own, `[T, 3]`."""
    first, end = TONGUE
    vertices = np.flatnonzero((model.base_indices >= first) & (model.base_indices < end))
    across, depth = _share(model.mean[vertices, 0]), _share(model.mean[vertices, 2])
    aside = AROUND[0] + across * (AROUND[1] - AROUND[0])
    height = ROWS[0] + depth * (ROWS[1] - ROWS[0])
    codes = np.stack([0.5 + RADIUS * aside, height, HEAD_MIDDLE + RADIUS * (1.0 - aside)], 1)
    return vertices, codes.astype(np.float32)


def _share(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return (values - values.min()) / np.ptp(values)
