"""Where a video jumps: cuts, found in small grey pictures of every frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIZE = (48, 27)
"""Width and height of the pictures that are compared."""
NEIGHBOURS = 12
"""Changes on either side that a cut has to stand out from."""
HARD = (14.0, 4.0)
"""Grey levels by which everything changes in a cut to another scene, and how many times its surroundings' change."""
SOFT = (3.5, 10.0)
"""The same for a cut within a scene, where only the head jumps: less, but from one frame to the next."""
FROZEN = 0.05
"""Grey levels below which a frame repeats the one before."""


def find_cuts(pictures: NDArray[np.uint8], times_s: NDArray[np.float64]) -> list[float]:
    """Find the times of cuts in `pictures [T, H, W]` (grey) at `times_s [T]`.

    A cut is a change that stands out from all changes around it, and lasts: a flash comes back, a frame that was
    late is as large a step as its gap is long, and a head that is thrown around moves before and after.
    """
    if len(pictures) < 3:
        return []
    small = pictures.astype(np.float32)
    change = np.abs(np.diff(small, axis=0)).mean((1, 2))
    moved = np.flatnonzero(change > FROZEN)
    cuts = []
    for place, index in enumerate(moved):
        if change[index] < SOFT[0]:
            continue
        around = np.concatenate([moved[max(0, place - NEIGHBOURS) : place], moved[place + 1 : place + 1 + NEIGHBOURS]])
        # Frames that repeat, or never came, are steps too.
        before = moved[place - 1] if place else index - 1
        steps = max(1.0, (times_s[index + 1] - times_s[max(before, 0) + 1]) / _period(times_s))
        usual = max(float(np.max(change[around])) if len(around) else 0.0, 0.2)
        is_hard = change[index] > HARD[0] and change[index] / steps > HARD[1] * usual
        is_soft = change[index] / steps > max(SOFT[0], SOFT[1] * usual)
        if (is_hard or is_soft) and _lasts(small, int(index)):
            cuts.append(float(times_s[index + 1]))
    return cuts


def _period(times_s: NDArray[np.float64]) -> float:
    return max(float(np.median(np.diff(times_s))), 1e-3)


def _lasts(small: NDArray[np.float32], index: int) -> bool:
    """Whether what came with the change `index` is still there some frames later."""
    later = min(index + 4, len(small) - 1)
    change = np.abs(small[index + 1] - small[index]).mean()
    return bool(np.abs(small[later] - small[index]).mean() > 0.5 * change)
