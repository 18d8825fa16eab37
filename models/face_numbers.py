"""The numbers of a face by which a target's colours change: creases and shadows, lips and lids follow them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.params import EXPRESSION_SIZE, FaceParams

FACE_NUMBERS = EXPRESSION_SIZE + 3 + 4
"""Expression, rotation, gaze."""


def face_numbers(params: FaceParams) -> NDArray[np.float32]:
    """Give `[..., FACE_NUMBERS]` of one face or a batch: weights 0 to 1, and radians."""
    batch = params.expression.shape[:-1]
    return np.concatenate(
        [params.expression, params.rotation, params.gaze.reshape(*batch, 4)], axis=-1, dtype=np.float32
    )
