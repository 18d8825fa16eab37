"""Where the eyes look as the regressor sees it, which landmarks are glad of: their irises lie by a guess, up and down
above all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from capture.rotation_prior import MEMORY, belief

Array = NDArray[np.float64]

GAZE_SAY = np.array([0.1, 0.7])
"""Say of the regressor's gaze in yaw and pitch, the rest being the landmarks', who know yaw (docs/tracker.md)."""


class GazePrior:
    """Draw gaze towards another's, whose lasting difference for this person is learned and taken off."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the person."""
        self._bias = np.zeros(2)
        self._count = 0

    def draw(self, gaze: Array, seen: Array, openness: Array) -> Array:
        """Give `gaze [2, 2]`, (yaw, pitch) of each eye, radians, as drawn towards what was `seen [2, 2]`.

        Both eyes by the same, and the less the less `openness [2]`, 0 to 1, there is.
        """
        shown = openness.mean()
        if shown <= 0.0:
            return gaze
        difference = openness @ (seen - gaze) / openness.sum() - self._bias
        difference *= belief(difference)
        drawn = gaze + (GAZE_SAY * shown * difference if self._count else 0.0)
        self._count = min(self._count + 1, MEMORY)
        self._bias = self._bias + difference / self._count
        return np.asarray(drawn)
