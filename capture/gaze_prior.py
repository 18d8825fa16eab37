"""Where the eyes look as the regressor sees it, which landmarks are glad of: their irises lie by a guess, up and down
above all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from capture.lasting import LastingDifference, belief

Array = NDArray[np.float64]

GAZE_SAY = np.array([0.1, 0.7])
"""Say of the regressor's gaze in yaw and pitch, the rest being the landmarks', which know yaw (docs/tracker.md)."""
GAZE_REACH = np.array([1.0, 1.5])
"""What the regressor's gaze is multiplied by: who guesses in doubt guesses too little, up and down above all
(docs/tracker.md)."""


class GazePrior:
    """Draw gaze towards another's, whose lasting difference for this person is learned and taken off."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the person."""
        self._lasting = LastingDifference(2)

    def draw(self, gaze: Array, seen: Array, openness: Array) -> Array:
        """Give `gaze [2, 2]`, (yaw, pitch) of each eye, radians, as drawn towards what was `seen [2, 2]`.

        Both eyes by the same, and the less the less `openness [2]`, 0 to 1, there is.
        """
        shown = openness.mean()
        if shown <= 0.0:
            return gaze
        difference = _difference(gaze, seen, openness) - self._lasting.value
        difference *= belief(difference)
        if self._lasting.is_known:
            gaze = gaze + GAZE_SAY * shown * difference
        self._lasting.learn(difference)
        return gaze


def _difference(gaze: Array, seen: Array, openness: Array) -> Array:
    """Give how far what was `seen [..., 2, 2]` lies from `gaze [..., 2, 2]`, `[..., 2]`: as far as eyes show."""
    weight = openness[..., None]
    return np.asarray((weight * (GAZE_REACH * seen - gaze)).sum(-2) / weight.sum(-2))


def draw_all(gaze: Array, seen: Array, openness: Array) -> Array:
    """Draw the gaze of all frames of a video, `[T, 2, 2]`, as `GazePrior` does, knowing its whole lasting difference.

    Frames of which nothing was `seen [T, 2, 2]`, NaN, or whose eyes are shut, are drawn as those around them.
    """
    shown = openness.mean(1)
    told = np.flatnonzero(np.isfinite(seen).all((1, 2)) & (shown > 0.0))
    if not len(told):
        return gaze
    differences = _difference(gaze[told], seen[told], openness[told])
    is_open = shown[told] >= np.median(shown[told])
    differences -= np.median(differences[is_open], axis=0)
    drawn = [GAZE_SAY * share * belief(d) * d for share, d in zip(shown[told], differences, strict=True)]
    frames = np.arange(len(gaze))
    by_angle = [np.interp(frames, told, angle) for angle in np.array(drawn).T]
    return np.asarray(gaze + np.stack(by_angle, axis=-1)[:, None])
