"""Heads drawn as discs, a network that reads them, and a detector that knows where they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from capture.crop import Crop
from capture.landmarks import Landmarks
from capture.mesh import Mesh
from models.camera import Camera, rotation_matrix
from models.framing import ANCHOR_M, HEAD_M
from models.params import FaceParams
from models.regressor import RegressorConfig

CAMERA = Camera.webcam(640, 480)
FIELDS = RegressorConfig().fields
FRAME_S = 1.0 / 30.0
Image = NDArray[np.uint8]


def head(u: float = 320.0, v: float = 240.0, range_m: float = 0.6, tilt: float = 0.0, **changes: object) -> FaceParams:
    """Make a head whose anchor projects to (u, v) and that faces the camera."""
    crop = Crop(CAMERA, (u, v), CAMERA.focal_px * HEAD_M / range_m, tilt)
    place = np.array([0.0, 0.0, -range_m]) - np.array(ANCHOR_M)
    values = {name: np.asarray(value, np.float32) for name, value in changes.items()}
    return crop.to_frame(FaceParams.neutral().replace(translation=place.astype(np.float32), **values))


def picture(params: FaceParams | None) -> Image:
    """Draw a head as a red disc at its anchor, a third of a crop wide, with a green one above."""
    image = np.full((480, 640, 3), 30, np.uint8)
    if params is None:
        return image
    rotation = rotation_matrix(params.rotation)
    anchor = params.translation + rotation @ np.array(ANCHOR_M, np.float32)
    size = CAMERA.focal_px * HEAD_M / float(np.linalg.norm(anchor))
    for offset, radius, color in ((0.0, size / 6, (255, 0, 0)), (0.08, size / 14, (0, 255, 0))):
        u, v = CAMERA.project(anchor + offset * rotation[:, 1])
        left, top, reach = int(u - radius), int(v - radius), int(2 * radius) + 2
        window = image[max(top, 0) : top + reach, max(left, 0) : left + reach]
        y, x = np.mgrid[: window.shape[0], : window.shape[1]] + 0.5
        window[np.hypot(x + max(left, 0) - u, y + max(top, 0) - v) < radius] = color
    return image


class Seer:
    """An engine that reads those discs out of the crop's own pixels: what a perfectly trained network would."""

    name, precision = "seer", "fp32"

    def __init__(self) -> None:
        self.runs = 0
        self.expression = np.zeros(52, np.float32)
        self.identity = np.zeros(80, np.float32)
        self.is_closed = False

    def run(self, crop: Image) -> NDArray[np.float32]:
        self.runs += 1
        values = np.zeros(RegressorConfig().outputs, np.float32)
        red = (crop[..., 0] > 128) & (crop[..., 1] < 128)
        green = (crop[..., 1] > 128) & (crop[..., 0] < 128)
        values[FIELDS["rotation"]] = [1, 0, 0, 0, 1, 0]
        if red.sum() < 60 or green.sum() < 8:
            values[FIELDS["confidence"]] = -5.0
            return values
        center = np.argwhere(red).mean(0)[::-1] + 0.5
        above = np.argwhere(green).mean(0)[::-1] + 0.5
        tilt = np.arctan2(above[0] - center[0], center[1] - above[1])
        values[FIELDS["rotation"]] = [np.cos(tilt), -np.sin(tilt), 0, np.sin(tilt), np.cos(tilt), 0]
        radius, half = np.sqrt(red.sum() / np.pi), len(crop) / 2
        values[FIELDS["place"]] = [center[0] / half - 1, 1 - center[1] / half, np.log(radius / (half / 3))]
        values[FIELDS["confidence"]] = 4.0
        values[FIELDS["expression"]] = self.expression
        values[FIELDS["identity"]] = self.identity
        return values

    def close(self) -> None:
        self.is_closed = True


class Finder:
    """A detector that knows where the head is."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self.head: FaceParams | None = None
        self.searches = 0
        self.is_closed = False

    def detect(self, image: Image) -> Landmarks | None:
        self.searches += 1
        if self.head is None:
            return None
        points = self._mesh.points(self.head)
        depth = -points[:, 2] + points[:, 2].mean()
        depth_px = (depth * CAMERA.focal_px / -points[:, 2].mean()).astype(np.float32)
        return Landmarks(CAMERA.project(points), depth_px, 2)

    def reset(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True
