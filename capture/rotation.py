"""Rotations as vectors, axis times angle, where they can be scaled, averaged and filtered; compiled: they are many.

Compiled functions of small matrices are written out in numbers: numba takes seconds to compile an array expression, `@`
or an array that is assigned to a part of another, and a user's first start waits for all of them.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@numba.njit(cache=True)
def multiply(left: Array, right: Array) -> Array:  # pragma: no cover - compiled
    """Multiply two matrices `[3, 3]`."""
    product = np.empty((3, 3))
    for row in range(3):
        for column in range(3):
            product[row, column] = (
                left[row, 0] * right[0, column] + left[row, 1] * right[1, column] + left[row, 2] * right[2, column]
            )
    return product


@numba.njit(cache=True)
def rotation_vector(matrix: Array) -> Array:  # pragma: no cover - compiled
    """Turn a rotation matrix `[3, 3]` into axis times angle `[3]`, rad; angles below half a turn."""
    axis = np.empty(3)
    axis[0] = (matrix[2, 1] - matrix[1, 2]) / 2.0
    axis[1] = (matrix[0, 2] - matrix[2, 0]) / 2.0
    axis[2] = (matrix[1, 0] - matrix[0, 1]) / 2.0
    sine = np.sqrt(axis[0] * axis[0] + axis[1] * axis[1] + axis[2] * axis[2])
    angle = np.arctan2(sine, (matrix[0, 0] + matrix[1, 1] + matrix[2, 2] - 1.0) / 2.0)
    if sine > 1e-9:
        for k in range(3):
            axis[k] *= angle / sine
    return axis


@numba.njit(cache=True)
def rotation_from_vector(vector: Array) -> Array:  # pragma: no cover - compiled
    """Invert `rotation_vector` (Rodrigues)."""
    angle = np.sqrt(vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2])
    matrix = np.zeros((3, 3))
    matrix[0, 0] = matrix[1, 1] = matrix[2, 2] = 1.0
    if angle < 1e-12:
        return matrix
    x, y, z = vector[0] / angle, vector[1] / angle, vector[2] / angle
    sine, versine = np.sin(angle), 1.0 - np.cos(angle)
    matrix[0, 0] += versine * (x * x - 1.0)
    matrix[1, 1] += versine * (y * y - 1.0)
    matrix[2, 2] += versine * (z * z - 1.0)
    matrix[0, 1], matrix[1, 0] = versine * x * y - sine * z, versine * x * y + sine * z
    matrix[0, 2], matrix[2, 0] = versine * x * z + sine * y, versine * x * z - sine * y
    matrix[1, 2], matrix[2, 1] = versine * y * z - sine * x, versine * y * z + sine * x
    return matrix


def blend_rotations(start: Array, end: Array, share: float) -> Array:
    """Turn `share` of the way from one rotation matrix to another, on the shortest path."""
    return np.asarray(rotation_from_vector(share * rotation_vector(end @ start.T)) @ start)
