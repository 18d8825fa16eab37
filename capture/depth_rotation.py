"""The head's rotation by the detector's own guess of depth, which landmarks on a turning face are glad of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from capture.rotation import rotation_from_vector, rotation_vector
from models.camera import ray_rotation

Array = NDArray[np.float64]

DEPTH_SAY = np.array([0.65, 0.6, 0.15])
"""Say of the detector's depth in pitch, yaw and roll, the rest being the landmarks': near the best for known heads."""
DEPTH_MEMORY = 300
"""Frames over which the depth's lasting error is learned."""


class DepthRotation:
    """Turn depth into a prior on rotation, its lasting error for this person learned and taken off."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the person."""
        self._bias = np.zeros(3)
        self._count = 0

    @property
    def is_learned(self) -> bool:
        """Whether the lasting error is known at all."""
        return self._count > 0

    def turn(self, observed: Array, depth: Array, rest: Array, weight: Array, translation: Array) -> Array:
        """Fit a rotation `[3, 3]` to rays `observed [478, 2]` with `depth [478]` over focal length.

        `rest [478, 3]` is the face at rest, `weight [478]` what each landmark says of pose, `translation` where the
        head is.
        """
        weight = weight / weight.sum()
        seen = np.column_stack([observed, -depth])
        arms = (seen - weight @ seen) * weight[:, None]
        u, _, vt = np.linalg.svd(arms.T @ (rest - weight @ rest))
        turn = (u * [1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
        # The detector sees as if the camera looked straight at the face.
        return np.asarray(rotation_from_vector(-self._bias) @ ray_rotation(translation) @ turn)

    def add_prior(self, hessian: Array, gradient: Array, turned: Array, rotation: Array) -> None:
        """Draw the pose's equations `[6, 6]`, `[6]` at `rotation` towards `turned`, by the depth's say."""
        if not self.is_learned:
            return
        known = hessian[:3, :3] - hessian[:3, 3:] @ np.linalg.solve(hessian[3:, 3:], hessian[3:, :3])
        precision = DEPTH_SAY / (1.0 - DEPTH_SAY) * np.diag(known)
        hessian[:3, :3] += np.diag(precision)
        gradient[:3] -= precision * rotation_vector(turned @ rotation.T)

    def learn(self, turned: Array, rotation: Array) -> None:
        """Follow the lasting difference between rotation by depth and by landmarks: the person's, not the moment's."""
        difference = rotation_vector(turned @ rotation.T)
        if self.is_learned:  # the fit has given in by the depth's share
            difference /= 1.0 - DEPTH_SAY
        self._count = min(self._count + 1, DEPTH_MEMORY)
        self._bias = self._bias + difference / self._count
