"""Crops of the faces in unlabelled videos, with their landmarks: what the second phase of training learns from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from capture.crop import Crop
from capture.progress import Progress
from capture.tracker import Track, Tracker
from capture.video import read_video, video_info
from models.camera import Camera

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

FRAMES = 6000
"""Most frames taken from all videos together, evenly."""
CROPS = 2
"""Crops taken of each frame, each a little elsewhere."""
SHIFT, SCALE, TURN_RAD = 0.06, 0.08, 0.12
"""Standard deviations of the crops' places (of their width), sizes (logarithm) and turns around the exact ones."""
MIN_CONFIDENCE = 0.3
"""Frames that the landmark tracker explains worse than this are left out."""


class VideoFaces:
    """Crops held in memory: a minute of video takes about 100 MB at most."""

    def __init__(self, crop: Image, focal_px: Array, landmarks_px: Array) -> None:
        """Take crops `[N, S, S, 3]`, their cameras' focal lengths `[N]` and landmarks `[N, 478, 2]` in them."""
        self.crop, self.focal_px, self.landmarks_px = crop, focal_px, landmarks_px

    @classmethod
    def read(cls, paths: Sequence[Path], size: int, *, seed: int = 0) -> VideoFaces:
        """Track the face through each video. Raises `VideoError`, or `ValueError` where no face is found at all."""
        rng = np.random.default_rng(seed)
        infos = [video_info(path) for path in paths]
        step = max(1, round(sum(info.num_frames for info in infos) / FRAMES))
        rows: list[tuple[Image, float, Array]] = []
        total = sum(info.num_frames for info in infos) // step
        with Tracker() as tracker, Progress(total, "video") as progress:
            for path, info in zip(paths, infos, strict=True):
                tracker.reset()
                camera = Camera.webcam(info.width, info.height)
                for index, (time_s, image) in enumerate(read_video(path)):
                    if index % step:
                        continue
                    progress.advance()
                    rows += _crops(image, tracker.process(image, time_s, camera), camera, size, rng)
        if not rows:
            raise ValueError(f"no face was found in {', '.join(map(str, paths))}")
        crops, focal, landmarks = zip(*rows, strict=True)
        return cls(np.stack(crops), np.array(focal, np.float32), np.stack(landmarks))

    def __len__(self) -> int:
        return len(self.crop)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Image, Array, Array]:
        """Draw `count` crops, focal lengths and landmarks at random."""
        chosen = rng.integers(0, len(self), count)
        return self.crop[chosen], self.focal_px[chosen], self.landmarks_px[chosen]


def _crops(
    image: Image, track: Track, camera: Camera, size: int, rng: np.random.Generator
) -> list[tuple[Image, float, Array]]:
    if track.landmarks_px is None or track.confidence < MIN_CONFIDENCE:
        return []
    exact = Crop.around(track.params, camera, pixels=size)
    rows = []
    for _ in range(CROPS):
        shift = rng.normal(0.0, SHIFT * exact.size_px, 2)
        crop = Crop(
            camera,
            (exact.center_px[0] + float(shift[0]), exact.center_px[1] + float(shift[1])),
            exact.size_px * float(np.exp(rng.normal(0.0, SCALE))),
            exact.angle_rad + float(rng.normal(0.0, TURN_RAD)),
            size,
        )
        pixels = crop.cut(image, np.zeros((size, size, 3), np.uint8))
        rows.append((pixels, crop.camera.focal_px, in_crop(crop, track.landmarks_px)))
    return rows


def in_crop(crop: Crop, points_px: Array) -> Array:
    """Take points `[N, 2]` of the frame's pixels into the crop's."""
    homogeneous = np.column_stack([points_px, np.ones(len(points_px))]) @ np.linalg.inv(crop.homography).T
    return np.asarray(homogeneous[:, :2] / homogeneous[:, 2:], np.float32)
