"""How a head lies in the regressor's crop: what the crop spans, and the three numbers that say where the head is in it.

Apart from `models.regressor`, so that those who only cut or render crops need no PyTorch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

HEAD_M = 0.24
"""Width in metres that a crop spans at the depth of its anchor when it is placed exactly."""
ANCHOR_M = (0.0, -0.035, 0.06)
"""Point of the head frame that lies in the middle of an exact crop: in the head, behind the nose."""


def translation_in_crop(place: Array, rotation: Array, focal_px: float, size: int) -> Array:
    """Turn `place [3]` into the translation `[3]`, metres, of a head with `rotation [3, 3]` in a crop's view frame.

    `place` is the anchor's way right and up from the middle of the crop, in half widths of it, and the natural
    logarithm of the head's size against one that spans the crop exactly. `focal_px` is that of the crop's camera, whose
    principal point is the middle of its `size` pixels.
    """
    depth = HEAD_M * focal_px / (size * np.exp(place[2]))
    half = 0.5 * size * depth / focal_px
    return np.array([place[0] * half, place[1] * half, -depth]) - rotation @ np.array(ANCHOR_M)


def place_in_crop(translation: Array, rotation: Array, focal_px: float, size: int) -> Array:
    """Invert `translation_in_crop`."""
    anchor = translation + rotation @ np.array(ANCHOR_M)
    depth = -anchor[2]
    factor = 2.0 * focal_px / (size * depth)
    return np.array([anchor[0] * factor, anchor[1] * factor, np.log(HEAD_M * focal_px / (size * depth))])
