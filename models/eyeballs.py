"""Places of their own in the texture for the eyeballs.

The texture is laid around the head, and so an eyeball and the lids before it would share their texels: whoever opens
the eyes wider than was ever seen, or looks down, would show the skin of a lid on the eye.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.face import FaceModel
from models.halo import HEAD_MIDDLE

Array = NDArray[np.float32]
Indices = NDArray[np.int64]

MIDDLE = (0.864, 0.155)
"""Middle of each eyeball's place: share of the way from straight ahead to its side, as
`models.generator.texture_places` reckons, and height. Beside the chin, below the ears, nothing of the face is drawn,
and before the card's texels there is room for an eyeball as large as it was."""
RADIUS = 0.45
"""Of the codes around the head's middle."""


def eyeball_correspondence(model: FaceModel) -> tuple[Indices, Array]:
    """Give the vertices of both eyeballs `[N]` and the codes that they have there, `[N, 3]` in 0 to 1."""
    vertices, codes = [], []
    for eye in model.eye_vertices:
        across, height, depth = model.correspondence[eye].T
        across, depth = across - 0.5, depth - HEAD_MIDDLE
        side = np.sign(across.mean())
        share = side * across / (np.abs(across) + np.abs(depth))
        share += MIDDLE[0] - share.mean()
        places = [0.5 + side * RADIUS * share, height + MIDDLE[1] - height.mean(), HEAD_MIDDLE + RADIUS * (1.0 - share)]
        vertices.append(np.asarray(eye, np.int64))
        codes.append(np.stack(places, 1))
    return np.concatenate(vertices), np.concatenate(codes).astype(np.float32)
