"""How far lids are shut, from the fitted blinks: the detector's lids close sooner, and never quite."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.params import EXPRESSION_INDEX

Array = NDArray[np.float32]

FITTED = np.array([0.0, 0.05, 1.0])
ACTUAL = np.array([0.0, 0.0, 1.0])
_BLINKS = [EXPRESSION_INDEX["eyeBlinkLeft"], EXPRESSION_INDEX["eyeBlinkRight"]]


def lid_weights(expression: Array) -> Array:
    """Replace the fitted blinks in weights `[52]` by what they mean."""
    corrected = expression.copy()
    corrected[_BLINKS] = np.interp(expression[_BLINKS], FITTED, ACTUAL)
    return corrected
