"""How far lids are shut, from the fitted blinks: the detector's lids close sooner, and never quite."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.params import EXPRESSION_INDEX

Array = NDArray[np.float32]

FITTED = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.48, 0.55])
ACTUAL = np.array([0.0, 0.17, 0.3, 0.45, 0.62, 0.8, 1.0])
"""Measured on a head whose every parameter is known: mean actual blink for a fitted one."""
_BLINKS = [EXPRESSION_INDEX["eyeBlinkLeft"], EXPRESSION_INDEX["eyeBlinkRight"]]


def lid_weights(expression: Array) -> Array:
    """Replace the fitted blinks in weights `[52]` by what they mean."""
    corrected = expression.copy()
    corrected[_BLINKS] = np.interp(expression[_BLINKS], FITTED, ACTUAL)
    return corrected
