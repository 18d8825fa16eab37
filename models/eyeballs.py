"""Places of their own in the texture for the eyeballs.

The texture is laid around the head, and so an eyeball and the lids before it would share their texels: whoever opens
the eyes wider than was ever seen, or looks down, would show the skin of a lid on the eye.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.face import FaceModel
from models.halo import HEAD_MIDDLE, front_codes

Array = NDArray[np.float32]

MIDDLE = (0.864, 0.155)
"""Middle of each eyeball's place: share of the way from straight ahead to its side, as
`models.generator.texture_places` reckons, and height. Beside the chin, below the ears, nothing of the face is drawn,
and before the card's texels there is room for an eyeball as large as it was."""


def eyeball_correspondence(model: FaceModel) -> list[Array]:
    """Give the codes `[N, 3]`, in 0 to 1, that each of `FaceModel.eye_vertices` has there."""
    codes = []
    for eye in model.eye_vertices:
        across, height, depth = model.correspondence[eye].T
        across, depth = across - 0.5, depth - HEAD_MIDDLE
        share = across / (np.abs(across) + np.abs(depth))
        middle = np.sign(across.mean()) * MIDDLE[0]
        codes.append(front_codes(share + middle - share.mean(), height + MIDDLE[1] - height.mean()))
    return codes
