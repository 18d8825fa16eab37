"""The 478 landmarks of MediaPipe's refined face mesh, from an image, on one thread."""

from __future__ import annotations

import functools
import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Array = NDArray[np.float32]

COUNT = 478
"""Face mesh 0-467, the actor's right iris 468-472, the left iris 473-477 (centre first)."""

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


@functools.cache
def _solutions() -> tuple[Any, Any]:
    """Import MediaPipe in a thread of its own; gives `face_detection` and `face_mesh`.

    Where a library is missing that it does not need (PortAudio), MediaPipe keeps the error, with it the stack of who
    was importing, and with that everything they held: an inference thread that ended years ago, its face model.
    """
    with ThreadPoolExecutor(1) as importer:
        names = ("face_detection", "face_mesh")
        found = [
            importer.submit(importlib.import_module, f"mediapipe.python.solutions.{name}").result() for name in names
        ]
    return found[0], found[1]


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
        with _silence():
            face_detection, face_mesh = _solutions()
            self._mesh: Any = _on_own_thread(face_mesh.FaceMesh)(
                static_image_mode=False,
                max_num_faces=1,
                refine_landmarks=True,
                min_detection_confidence=min_confidence,
                min_tracking_confidence=min_confidence,
            )
            self._counter: Any = _on_own_thread(face_detection.FaceDetection)(
                min_detection_confidence=min_confidence, model_selection=0
            )
            # The first run prints too, and is ten times slower than the others.
            blank = np.zeros((64, 64, 3), np.uint8)
            self._mesh.process(blank)
            self._counter.process(blank)
        self._frame = 0
        self._num_faces = 0
        self._last: Array | None = None
        self._has_seen_face = False

    def detect(self, image: Image) -> Landmarks | None:
        """Find the face in `image [H, W, 3]` uint8 RGB; None where there is none.

        Raises `ValueError` for another shape or dtype.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise ValueError(f"image: expected [H, W, 3] uint8, got {image.shape} {image.dtype}")
        image = np.ascontiguousarray(image)
        if self._has_seen_face:
            points = self._follow(image)
            if points is None and self._frame:  # lost where it was: a cut or a jump, search the whole image
                points = self._follow(image)
        else:  # the first face makes the graph print a line, too
            with _silence():
                points = self._follow(image)
        if points is None:
            self._frame = 0
            self._last = None
            return None
        if self._has_jumped(points):
            again = self._follow(image)
            points = points if again is None else again
        self._has_seen_face = True
        if self._frame % self._count_every == 0:
            points = self._prefer_prominent(image, points)
        self._last = points
        self._frame += 1
        return Landmarks(points[:, :2].copy(), points[:, 2].copy(), max(self._num_faces, 1))

    def reset(self) -> None:
        """Forget the last face, as before the first frame."""
        # A frame without a face: restarting the graph would load its networks anew.
        self._mesh.process(np.zeros((64, 64, 3), np.uint8))
        self._frame = self._num_faces = 0
        self._last = None

    def close(self) -> None:
        """Free the networks. The detector cannot be used afterwards."""
        self._mesh.close()
        self._counter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _has_jumped(self, points: Array) -> bool:
        """Say whether a face is elsewhere than the one of the frame before."""
        if self._last is None:
            return False
        moved_px = float(np.abs(points[:, :2] - self._last[:, :2]).mean())
        return moved_px > JUMP * float(np.ptp(points[:, 0]))

    def _follow(self, image: Image) -> Array | None:
        """Run the mesh once: `[478, 3]` (u, v, depth) in pixels, or None."""
        faces = self._mesh.process(image).multi_face_landmarks
        if not faces:
            return None
        points = _coordinates(faces[0])
        height, width = image.shape[:2]
        return points * np.array([width, height, width], np.float32)

    def _prefer_prominent(self, image: Image, points: Array) -> Array:
        """Count the faces; where another one is clearly more prominent, hide the followed one once and go over."""
        boxes = self._boxes(image)
        self._num_faces = len(boxes)
        if len(boxes) < 2:
            return points
        center = points[:468, :2].mean(0)
        prominence = [_prominence(box, image.shape[1], image.shape[0]) for box in boxes]
        distance = [np.hypot(*(box[:2] + box[2:] / 2 - center)) for box in boxes]
        followed, best = int(np.argmin(distance)), int(np.argmax(prominence))
        if best == followed or prominence[best] < SWITCH_RATIO * prominence[followed]:
            return points
        # The mesh follows wherever its last landmarks lay: with those pixels gone it must search anew.
        hidden = image.copy()
        low = np.maximum(points[:468, :2].min(0), 0).astype(int)
        high = np.maximum(points[:468, :2].max(0), 0).astype(int) + 1
        hidden[low[1] : high[1], low[0] : high[0]] = 0
        for _ in range(2):  # the first run may only notice that the face has gone
            other = self._follow(hidden)
            if other is not None:
                return other
        return points

    def _boxes(self, image: Image) -> list[Array]:
        """Detect faces: (left, top, width, height) in pixels each."""
        height, width = image.shape[:2]
        scale = np.array([width, height, width, height], np.float32)
        boxes = []
        for detection in self._counter.process(image).detections or ():
            box = detection.location_data.relative_bounding_box
            boxes.append(np.array([box.xmin, box.ymin, box.width, box.height], np.float32) * scale)
        return boxes


def _coordinates(face: Any) -> Array:  # noqa: ANN401 - a protobuf message
    """Read the landmarks `[478, 3]` of a message, as the detector gives them."""
    # A landmark is 17 bytes on the wire: two tags, then x, y and z, each a tag and a float. Read at once that is a
    # tenth of the time; anything else is read one by one.
    wire = np.frombuffer(face.SerializeToString(), np.uint8)
    if len(wire) == COUNT * 17:
        records = wire.reshape(COUNT, 17)
        if (records[:, [0, 1, 2, 7, 12]] == [0x0A, 0x0F, 0x0D, 0x15, 0x1D]).all():
            return np.stack([records[:, k : k + 4].copy().view("<f4")[:, 0] for k in (3, 8, 13)], 1)
    return np.array([(p.x, p.y, p.z) for p in face.landmark], np.float32)


def _prominence(box: Array, width: int, height: int) -> float:
    """Weigh a face by its area and by how close to the middle of the image it is."""
    away = np.hypot(*((box[:2] + box[2:] / 2) / (width, height) - 0.5))
    return float(box[2] * box[3] * (1.0 - 0.5 * min(away / 0.5, 1.0)))


def _on_own_thread(solution: type[Any]) -> type[Any]:
    """Give a solution of MediaPipe's whose graph runs in the thread that calls it.

    By default each step of a graph goes to a pool: on a busy machine every hop waits for its turn, 1 ms a frame.
    """

    class OnOwnThread(solution):  # type: ignore[misc]
        def _initialize_graph_interface(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
            config = super()._initialize_graph_interface(*args, **options)
            del config.executor[:]
            config.executor.add().type = "ApplicationThreadExecutor"
            return config

    return OnOwnThread


@contextmanager
def _silence() -> Iterator[None]:
    """Keep absl's and TensorFlow Lite's start-up lines, written by native code, and protobuf's warning off stderr."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
