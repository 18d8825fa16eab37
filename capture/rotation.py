"""Rotations as vectors: axis times angle, where they may be scaled, averaged and filtered."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def rotation_vector(matrix: Array) -> Array:
    """Turn a rotation matrix `[3, 3]` into axis times angle `[3]`, rad; angles below half a turn."""
    axis = np.array([matrix[2, 1] - matrix[1, 2], matrix[0, 2] - matrix[2, 0], matrix[1, 0] - matrix[0, 1]]) / 2.0
    sine = float(np.linalg.norm(axis))
    angle = np.arctan2(sine, (np.trace(matrix) - 1.0) / 2.0)
    return np.asarray(axis * (angle / sine if sine > 1e-9 else 1.0))


def rotation_from_vector(vector: Array) -> Array:
    """Invert `rotation_vector` (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross))


def blend_rotations(start: Array, end: Array, share: float) -> Array:
    """Turn `share` of the way from one rotation matrix to another, on the shortest path."""
    return np.asarray(rotation_from_vector(share * rotation_vector(end @ start.T)) @ start)
