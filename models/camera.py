"""Perspective camera and rotations, in the conventions of `models/__init__.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """Pinhole camera with square pixels and no distortion."""

    width: int
    """Image width in pixels."""
    height: int
    """Image height in pixels."""
    focal_px: float
    """Focal length in pixels."""
    center_px: tuple[float, float]
    """Principal point (u, v) in pixels."""

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0 or not self.focal_px > 0:
            raise ValueError(
                "camera: expected positive width, height and focal_px,"
                f" got {self.width}, {self.height}, {self.focal_px}"
            )

    @classmethod
    def webcam(cls, width: int, height: int) -> Camera:
        """Assume a common webcam: principal point centred, focal length as long as the longer side (53 degrees)."""
        return cls(width=width, height=height, focal_px=float(max(width, height)), center_px=(width / 2, height / 2))

    def scaled(self, width: int, height: int) -> Camera:
        """Make the same view at another size of the same aspect ratio."""
        factor = width / self.width
        center = (self.center_px[0] * factor, self.center_px[1] * height / self.height)
        return Camera(width=width, height=height, focal_px=self.focal_px * factor, center_px=center)

    def project(self, points: Array) -> Array:
        """Project view-frame points `[..., 3]` (metres, `z < 0`) to pixels `[..., 2]` (u, v)."""
        scale = -self.focal_px / points[..., 2]
        u, v = self.center_px
        # Axis by axis: short last axes are slow in NumPy.
        return np.stack([points[..., 0] * scale + u, v - points[..., 1] * scale], -1)


def rotation_matrix(rotation: Array) -> Array:
    """Turn (yaw, pitch, roll) `[..., 3]` radians into matrices `[..., 3, 3]`: `Ry(yaw) Rx(-pitch) Rz(-roll)`."""
    angles = np.asarray(rotation, np.float64)
    return _matrices(np.ascontiguousarray(angles.reshape(-1, 3))).reshape(*angles.shape, 3)


def rotation_angles(matrix: Array) -> Array:
    """Invert `rotation_matrix`: `[..., 3, 3]` to (yaw, pitch, roll) `[..., 3]` radians, pitch within 90 degrees."""
    matrices = np.asarray(matrix, np.float64)
    return _angles(np.ascontiguousarray(matrices.reshape(-1, 3, 3))).reshape(matrices.shape[:-1])


def ray_rotation(point: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Give the smallest turn `[3, 3]` that points the camera's axis at `point [3]` of its view frame.

    A head with rotation `R` at `point` looks into the camera as one with `ray_rotation(point).T @ R` would on its axis.
    """
    x, y, z = (float(value) for value in point)
    aside = float(np.hypot(x, y))
    angle = float(np.arctan2(aside, -z))
    if aside < 1e-9:
        return np.eye(3)
    across, up = x / aside, y / aside
    sine, rest = np.sin(angle), 1.0 - np.cos(angle)
    # Rodrigues about (up, -across, 0).
    return np.array([
        [1.0 - rest * across * across, -rest * across * up, -sine * across],
        [-rest * across * up, 1.0 - rest * up * up, -sine * up],
        [sine * across, sine * up, 1.0 - rest],
    ])  # fmt: skip


@numba.njit(cache=True)
def _matrices(angles: NDArray[np.float64]) -> Array:  # pragma: no cover - compiled
    out = np.empty((len(angles), 3, 3), np.float32)
    for index in range(len(angles)):
        yaw, pitch, roll = angles[index]
        cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
        m = out[index]
        m[0, 0], m[0, 1], m[0, 2] = cy * cr + sy * sp * sr, cy * sr - sy * sp * cr, sy * cp
        m[1, 0], m[1, 1], m[1, 2] = -cp * sr, cp * cr, sp
        m[2, 0], m[2, 1], m[2, 2] = -sy * cr + cy * sp * sr, -sy * sr - cy * sp * cr, cy * cp
    return out


@numba.njit(cache=True)
def _angles(matrices: NDArray[np.float64]) -> Array:  # pragma: no cover - compiled
    out = np.empty((len(matrices), 3), np.float32)
    for index in range(len(matrices)):
        m = matrices[index]
        out[index, 0] = np.arctan2(m[0, 2], m[2, 2])
        out[index, 1] = np.arcsin(min(max(m[1, 2], -1.0), 1.0))
        out[index, 2] = np.arctan2(-m[1, 0], m[1, 1])
    return out
