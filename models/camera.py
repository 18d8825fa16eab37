"""Perspective camera and rotations, in the conventions of `models/__init__.py`."""

from __future__ import annotations

from dataclasses import dataclass

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
        depth = -points[..., 2:]
        center = np.asarray(self.center_px, np.float32)
        return center + self.focal_px * points[..., :2] * np.array([1.0, -1.0], np.float32) / depth


def rotation_matrix(rotation: Array) -> Array:
    """Turn (yaw, pitch, roll) `[..., 3]` radians into matrices `[..., 3, 3]`: `Ry(yaw) Rx(-pitch) Rz(-roll)`."""
    yaw, pitch, roll = np.moveaxis(np.asarray(rotation, np.float64), -1, 0)
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    rows = [
        [cy * cr + sy * sp * sr, cy * sr - sy * sp * cr, sy * cp],
        [-cp * sr, cp * cr, sp],
        [-sy * cr + cy * sp * sr, -sy * sr - cy * sp * cr, cy * cp],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2).astype(np.float32)


def rotation_angles(matrix: Array) -> Array:
    """Invert `rotation_matrix`: `[..., 3, 3]` to (yaw, pitch, roll) `[..., 3]` radians, pitch within 90 degrees."""
    m = np.asarray(matrix, np.float64)
    yaw = np.arctan2(m[..., 0, 2], m[..., 2, 2])
    pitch = np.arcsin(np.clip(m[..., 1, 2], -1.0, 1.0))
    roll = np.arctan2(-m[..., 1, 0], m[..., 1, 1])
    return np.stack([yaw, pitch, roll], -1).astype(np.float32)
