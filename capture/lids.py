"""How far lids are shut, from the fitted blinks: the detector's lids close sooner, and never quite."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.params import BLINKS

Array = NDArray[np.float32]

FITTED = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.48, 0.55])
ACTUAL = np.array([0.0, 0.17, 0.3, 0.45, 0.62, 0.8, 1.0])
"""Measured on a head whose every parameter is known: mean actual blink for a fitted one."""
SHUT_GAP_M = 0.0032
"""Gap that the detector sees between shut lids, at the fitted blink that means shut."""
MIN_SCALE, MAX_SCALE = 0.4, 1.4
LARGEST_BLINK = FITTED[-1] / MIN_SCALE
"""Greatest blink to be fitted."""


def lid_scale(gap_m: float, usual_gap_m: float) -> float:
    """Tell what a fitted blink counts for someone whose lids at rest are `gap_m` apart.

    Lids that are further apart than the average face's, `usual_gap_m`, have a longer way to go until they are shut.
    """
    way = max(gap_m - SHUT_GAP_M, 1e-4)
    return float(np.clip((usual_gap_m - SHUT_GAP_M) / way, MIN_SCALE, MAX_SCALE))


def fitted_blinks(blinks: Array, scale: float = 1.0) -> Array:
    """Give the fitted blinks that mean `blinks`, for eyes of a `lid_scale`: what `lid_weights` undoes."""
    return np.interp(blinks, ACTUAL, FITTED).astype(blinks.dtype) / scale


def lid_weights(expression: Array, scale: float = 1.0) -> Array:
    """Replace the fitted blinks in weights `[52]` by what they mean for eyes of a `lid_scale`."""
    corrected = expression.copy()
    corrected[BLINKS] = np.interp(scale * expression[BLINKS], FITTED, ACTUAL)
    return corrected
