"""The head's rotation as others see it, which landmarks on a face that turns or grimaces are glad of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from capture.lasting import LastingDifference, belief
from capture.rotation import rotation_from_vector, rotation_vector
from models.camera import ray_rotation

Array = NDArray[np.float64]

DEPTH_SAY = np.array([0.65, 0.6, 0.15])
"""Say of the detector's depth in pitch, yaw and roll, the rest being the landmarks': near the best for known heads."""
HINT_SAY = np.array([0.3, 0.5, 0.4])
"""The same of the regressor's rotation."""


class RotationPrior:
    """Draw a fit towards another's rotation, whose lasting difference for this person is learned and taken off."""

    def __init__(self, say: Array) -> None:
        """Give it this `say [3]` in pitch, yaw and roll, 0 to 1, the rest being that of all else."""
        self._say = say
        self.reset()

    def reset(self) -> None:
        """Forget the person."""
        self._lasting = LastingDifference(3)

    def corrected(self, rotation: Array) -> Array:
        """Take the lasting difference off a `rotation [3, 3]`."""
        return np.asarray(rotation_from_vector(-self._lasting.value) @ rotation)

    def add(self, hessian: Array, gradient: Array, wanted: Array, rotation: Array) -> None:
        """Draw the pose's equations `[6, 6]`, `[6]` at `rotation` towards `wanted`, once its difference is known."""
        if not self._lasting.is_known:
            return
        known = hessian[:3, :3] - hessian[:3, 3:] @ np.linalg.solve(hessian[3:, 3:], hessian[3:, :3])
        difference = rotation_vector(wanted @ rotation.T)
        precision = self._say / (1.0 - self._say) * np.diag(known) * belief(difference)
        hessian[:3, :3] += np.diag(precision)
        gradient[:3] -= precision * difference

    def learn(self, wanted: Array, rotation: Array) -> None:
        """Follow the lasting difference of a `corrected` rotation from the fit's: the person's, not the moment's."""
        difference = rotation_vector(wanted @ rotation.T)
        if self._lasting.is_known:  # the fit has given in by its share
            difference /= 1.0 - self._say
        self._lasting.learn(belief(difference) * difference)


def rotation_by_depth(observed: Array, depth: Array, rest: Array, weight: Array, translation: Array) -> Array:
    """Fit a rotation `[3, 3]` to rays `observed [478, 2]` with `depth [478]` over focal length.

    `rest [478, 3]` is the face at rest, `weight [478]` what each landmark says of pose, `translation` the head's place.
    """
    weight = weight / weight.sum()
    seen = np.column_stack([observed, -depth])
    arms = (seen - weight @ seen) * weight[:, None]
    u, _, vt = np.linalg.svd(arms.T @ (rest - weight @ rest))
    turn = (u * [1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    # The detector sees as if the camera looked straight at the face.
    return np.asarray(ray_rotation(translation) @ turn)
