"""The 478 landmarks of MediaPipe's refined face mesh, from an image, on one thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from capture.face_mesh import COUNT, MESH, FaceMesh, Region
from capture.solutions import on_own_thread, silence, solution

Image = NDArray[np.uint8]
Array = NDArray[np.float32]

__all__ = ["COUNT", "LandmarkDetector", "Landmarks"]

COUNT_EVERY = 15
"""Frames between two looks for further faces: half a second at 30 fps."""
JUMP = 0.05
"""Share of its width that a face must have moved, in the mean of its landmarks, to be looked at again where it is now.
The mesh looks where the face was, and is wrong at the edge of what it sees; 0.01 is exceeded by one frame in ten."""
SWITCH_RATIO = 1.5
"""How much more prominent another face must be before the mesh leaves the one that it follows."""


@dataclass(frozen=True, slots=True)
class Landmarks:
    """The landmarks of one face in one image."""

    points_px: Array
    """`[478, 2]` (u, v) in pixels of the image, pixel centres at halves."""
    depth_px: Array
    """`[478]` MediaPipe's own guess of depth in pixels, smaller is nearer: for measuring, not for fitting."""
    num_faces: int
    """Faces seen in the image, this one included."""


@dataclass(frozen=True, slots=True)
class Detection:
    """A face as the detector sees it, in pixels of the image."""

    box_px: Array
    """Left, top, width and height."""
    eyes_px: Array
    """`[2, 2]` (u, v), the left one in the image first."""


class LandmarkDetector:
    """Find and follow one face: the largest and most central one.

    Owns native resources: `close()` it, or use it as a context manager. Frames must come in order, since each search
    starts where the last one ended; `reset()` forgets that.
    """

    def __init__(self, *, min_confidence: float = 0.5, count_every: int = COUNT_EVERY) -> None:
        """Load the networks out of the wheel of mediapipe; nothing is downloaded.

        Further faces are looked for in one of `count_every` frames.
        """
        self._count_every = count_every
        self._min_confidence = min_confidence
        with silence():
            self._finder: Any = on_own_thread(solution("face_detection").FaceDetection)(
                min_detection_confidence=min_confidence, model_selection=0
            )
            # The first run prints too, and is ten times slower than the others.
            self._finder.process(np.zeros((64, 64, 3), np.uint8))
        self._mesh = FaceMesh()
        self._frame = self._num_faces = 0
        self._last: Array | None = None

    def detect(self, image: Image) -> Landmarks | None:
        """Find the face in `image [H, W, 3]` uint8 RGB; None where there is none.

        Raises `ValueError` for another shape or dtype.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise ValueError(f"image: expected [H, W, 3] uint8, got {image.shape} {image.dtype}")
        image = np.ascontiguousarray(image)
        last = self._last
        points = None if last is None else self._look(image, Region.of_landmarks(last[:, :2]))
        if points is None:  # lost where it was: a cut or a jump, search the whole image
            self._frame = 0
            points = self._find(image)
        elif last is not None and _has_jumped(last, points):
            again = self._look(image, Region.of_landmarks(points[:, :2]))
            points = points if again is None else again
        if points is not None and self._frame and self._frame % self._count_every == 0:
            points = self._prefer_prominent(image, points)
        self._last = points
        if points is None:
            return None
        self._frame += 1
        return Landmarks(points[:, :2].copy(), points[:, 2].copy(), max(self._num_faces, 1))

    def reset(self) -> None:
        """Forget the last face, as before the first frame."""
        self._frame = self._num_faces = 0
        self._last = None

    def close(self) -> None:
        """Free the networks. The detector cannot be used afterwards."""
        self._mesh.close()
        self._finder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _look(self, image: Image, region: Region) -> Array | None:
        """Run the mesh once: `[478, 3]` (u, v, depth) in pixels, or None where it sees no face."""
        points, confidence = self._mesh.look(image, region)
        return points if confidence >= self._min_confidence and np.isfinite(points).all() else None

    def _find(self, image: Image) -> Array | None:
        """Search the whole image and count; of several faces the most prominent one that the mesh sees too."""
        found = sorted(self._detections(image), key=lambda face: -_prominence(face.box_px, *image.shape[1::-1]))
        self._num_faces = len(found)
        for face in found:
            points = self._look(image, Region.of_box(face.box_px, face.eyes_px))
            if points is not None:  # a box is a coarser place than landmarks are
                again = self._look(image, Region.of_landmarks(points[:, :2]))
                return points if again is None else again
        return None

    def _prefer_prominent(self, image: Image, points: Array) -> Array:
        """Count the faces; go over to another one where that is clearly more prominent."""
        found = self._detections(image)
        self._num_faces = len(found)
        if len(found) < 2:
            return points
        center = points[:MESH, :2].mean(0)
        prominence = [_prominence(face.box_px, image.shape[1], image.shape[0]) for face in found]
        distance = [np.hypot(*(face.box_px[:2] + face.box_px[2:] / 2 - center)) for face in found]
        followed, best = int(np.argmin(distance)), int(np.argmax(prominence))
        if best == followed or prominence[best] < SWITCH_RATIO * prominence[followed]:
            return points
        other = self._look(image, Region.of_box(found[best].box_px, found[best].eyes_px))
        return points if other is None else other

    def _detections(self, image: Image) -> list[Detection]:
        """Detect faces anywhere in the image."""
        height, width = image.shape[:2]
        scale = np.array([width, height, width, height], np.float32)
        faces = []
        for detection in self._finder.process(image).detections or ():
            place = detection.location_data
            box = place.relative_bounding_box
            eyes = np.array([(point.x, point.y) for point in place.relative_keypoints[:2]], np.float32)
            faces.append(
                Detection(np.array([box.xmin, box.ymin, box.width, box.height], np.float32) * scale, eyes * scale[:2])
            )
        return faces


def _has_jumped(before: Array, points: Array) -> bool:
    """Say whether a face is elsewhere than the one of the frame before."""
    moved_px = float(np.abs(points[:, :2] - before[:, :2]).mean())
    return moved_px > JUMP * float(np.ptp(points[:, 0]))


def _prominence(box: Array, width: int, height: int) -> float:
    """Weigh a face by its area and by how close to the middle of the image it is."""
    away = np.hypot(*((box[:2] + box[2:] / 2) / (width, height) - 0.5))
    return float(box[2] * box[3] * (1.0 - 0.5 * min(away / 0.5, 1.0)))
