"""The eyeball: rings of a sphere around the line of sight, from the pupil's centre to the equator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.face import EQUATOR_SIZE, IRIS_RAD

Array = NDArray[np.float64]

PUPIL_RAD = np.deg2rad(8.0)
RING_ANGLES = np.concatenate([np.deg2rad([4, 8, 12, 16, 19, 22, 30, 40, 52, 68]), [np.pi / 2]])
"""Angle of each ring from the line of sight; the last is the equator, so that its mean is the centre."""


def eyeball() -> tuple[Array, NDArray[np.int64], Array]:
    """Make a unit eyeball looking along +z: vertices `[E, 3]`, outward triangles `[G, 3]`, ring angles `[E]` rad."""
    around = np.linspace(0, 2 * np.pi, EQUATOR_SIZE, endpoint=False)
    rings = [
        np.stack([np.sin(a) * np.cos(around), np.sin(a) * np.sin(around), np.full(EQUATOR_SIZE, np.cos(a))], -1)
        for a in RING_ANGLES
    ]
    vertices = np.concatenate([[[0.0, 0.0, 1.0]], *rings])
    here, after = np.arange(EQUATOR_SIZE), (np.arange(EQUATOR_SIZE) + 1) % EQUATOR_SIZE
    triangles = [np.stack([np.zeros(EQUATOR_SIZE, int), 1 + here, 1 + after], -1)]
    for ring in range(len(RING_ANGLES) - 1):
        inner, outer = 1 + ring * EQUATOR_SIZE, 1 + (ring + 1) * EQUATOR_SIZE
        triangles.append(np.stack([inner + here, outer + here, outer + after], -1))
        triangles.append(np.stack([inner + here, outer + after, inner + after], -1))
    angles = np.concatenate([[0.0], np.repeat(RING_ANGLES, EQUATOR_SIZE)])
    return vertices, np.concatenate(triangles), angles


def eyeball_albedo(angles: Array) -> Array:
    """Colour an eyeball `[E, 3]`, linear: dark pupil, brown iris, off-white sclera."""
    pupil, iris, sclera = np.array([0.01, 0.01, 0.01]), np.array([0.13, 0.07, 0.035]), np.array([0.58, 0.54, 0.50])
    color = np.where((angles < PUPIL_RAD + 1e-6)[:, None], pupil, iris)
    return np.where((angles > IRIS_RAD)[:, None], sclera, color)
