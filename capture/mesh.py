"""The tracked face as a light mesh of the 478 landmarks: what a page draws over the camera's picture."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from capture.binding import LandmarkBinding
from models.camera import Camera, rotation_matrix
from models.face import FaceModel, look_weights
from models.params import FaceParams

Array = NDArray[np.float32]

IRISES = (slice(473, 478), slice(468, 473))
"""Landmarks of the left and of the right iris."""


class Mesh:
    """The face model at its landmarks alone: a hundredth of the vertices, projected in a tenth of a millisecond."""

    def __init__(self, model: FaceModel, binding: LandmarkBinding) -> None:
        """Take the landmarks out of every basis of `model`."""
        self.mean = binding.points(model, model.mean)
        """`[478, 3]` landmarks of the average face, head frame, metres."""
        self._identity = binding.points(model, model.identity_basis).reshape(len(model.identity_basis), -1)
        self._expression = binding.points(model, model.expression_basis).reshape(len(model.expression_basis), -1)
        self._eye_centers = model.eye_centers(model.mean)

    def points(self, params: FaceParams) -> Array:
        """Deform and pose one face: `[478, 3]` in the view frame, metres. Eyeballs turn about the average's centres."""
        weights = params.expression + look_weights(params.gaze)
        moved = self.mean + (params.identity @ self._identity).reshape(-1, 3)
        shift = moved - self.mean
        moved = moved + (weights @ self._expression).reshape(-1, 3)
        for eye, iris in enumerate(IRISES):
            center = self._eye_centers[eye] + shift[iris].mean(0)
            turn = rotation_matrix(np.array([*params.gaze[eye], 0.0], np.float32))
            moved[iris] = (moved[iris] - center) @ turn.T + center
        return np.asarray(moved @ rotation_matrix(params.rotation).T + params.translation, np.float32)

    def project(self, params: FaceParams, camera: Camera) -> Array:
        """Project one face: `[478, 2]` (u, v) in pixels of `camera`."""
        return np.asarray(camera.project(self.points(params)), np.float32)


@functools.cache
def mesh_edges() -> list[tuple[int, int]]:
    """List the edges between the landmarks, each once: MediaPipe's own triangulation and the irises' rims."""
    from mediapipe.python.solutions.face_mesh_connections import FACEMESH_IRISES, FACEMESH_TESSELATION

    return sorted({(min(a, b), max(a, b)) for a, b in FACEMESH_TESSELATION | FACEMESH_IRISES})
