"""Turn a video of a person into a `Recording`: square pictures around the head and tracked parameters.

Tracked twice: the first pass finds out who it is, the second fits every frame to that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from capture.landmarks import LandmarkDetector, Landmarks
from capture.progress import Progress
from capture.tracker import Tracker
from models.camera import Camera
from models.face import FaceModel
from models.params import FaceParams
from reenact.dataset import Recording
from reenact.square import Square
from reenact.video import probe, read_video_frames

Array = NDArray[np.float32]

HELD_OUT_SHARE = 0.1
"""Share of the video, its end, that is judged on and never trained on."""
MIN_FRAMES = 60
"""A target is not trained from less than this."""
MIN_FACE_SHARE = 0.8
"""Share of the frames that must show a face."""
MIN_FACE_PX = 48
"""Smallest median distance between forehead and chin, or cheek and cheek, that is worth training on."""
MAX_PICTURE_PX = 512
"""Pictures are kept at no more than this."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """What the first pass saw."""

    times_s: list[float]
    found: list[Landmarks | None]
    width: int
    height: int


def read_video(path: Path, model: FaceModel, work: Path) -> Recording:
    """Track `path` and cut its pictures into `work/frames`.

    Raises `ValueError` with what to do about it where the video will not do, `VideoError` where it cannot be read.
    """
    info = probe(path)
    seen = _detect(path, info.num_frames)
    found = [landmarks.points_px for landmarks in seen.found if landmarks is not None]
    _check(path, seen, found)
    camera = Camera.webcam(seen.width, seen.height)
    with Tracker(model=model) as tracker:
        for landmarks, time_s in zip(seen.found, seen.times_s, strict=True):
            tracker.process_landmarks(landmarks, time_s, camera)
        tracker.restart()
        tracks = [
            tracker.process_landmarks(landmarks, time_s, camera)
            for landmarks, time_s in zip(seen.found, seen.times_s, strict=True)
        ]
    identity = tracks[-1].params.identity
    params = FaceParams.stack([track.params.replace(identity=identity) for track in tracks])
    left, top, side = _square(found, seen.width, seen.height)
    size = min(side, MAX_PICTURE_PX)
    usable = np.array([index for index, track in enumerate(tracks) if track.state == "tracked"], np.int64)
    pictures = _cut(path, work / "frames", (left, top, side), size, set(usable.tolist()), len(tracks))
    scale = size / side
    center = ((camera.center_px[0] - left) * scale, (camera.center_px[1] - top) * scale)
    return Recording(
        params=params,
        camera=Camera(width=size, height=size, focal_px=camera.focal_px * scale, center_px=center),
        frame_rate=float(info.frame_rate),
        pictured=usable,
        held_out=usable[int(len(usable) * (1 - HELD_OUT_SHARE)) :],
        pictures=tuple(pictures[int(index)] for index in usable),
        name=path.name,
        square=Square(left=left, top=top, side=side, frame_width=seen.width, frame_height=seen.height),
    )


def _detect(path: Path, frames: int) -> _Pass:
    times_s: list[float] = []
    found: list[Landmarks | None] = []
    width = height = 0
    with LandmarkDetector() as detector, Progress(frames, "tracking") as progress:
        for frame in read_video_frames(path):
            height, width = frame.image.shape[:2]
            times_s.append(frame.time_s)
            found.append(detector.detect(frame.image))
            progress.advance()
    return _Pass(times_s, found, width, height)


def _check(path: Path, seen: _Pass, found: list[Array]) -> None:
    """Refuse a video that will not do."""
    if len(seen.found) < MIN_FRAMES:
        raise ValueError(
            f"{path.name} has {len(seen.found)} frames, and {MIN_FRAMES} are needed: record a minute or two."
        )
    share = len(found) / len(seen.found)
    if share < MIN_FACE_SHARE:
        raise ValueError(
            f"{path.name} shows a face in {100 * share:.0f} % of its frames, and {100 * MIN_FACE_SHARE:.0f} % are"
            " needed: keep the face in the picture and well lit."
        )
    extent = float(np.median([np.ptp(points, axis=0).min() for points in found]))
    if extent < MIN_FACE_PX:
        raise ValueError(
            f"{path.name}: the face is {extent:.0f} pixels wide, and {MIN_FACE_PX} are needed:"
            " come closer to the camera."
        )


def _square(found: list[Array], width: int, height: int) -> tuple[int, int, int]:
    """Choose the largest square of the picture with the head in its middle: left, top, side."""
    side = min(width, height)
    middle = np.median([(points.min(0) + points.max(0)) / 2 for points in found], axis=0)
    left = int(np.clip(middle[0] - side / 2, 0, width - side))
    top = int(np.clip(middle[1] - side / 2, 0, height - side))
    return left, top, side


def _cut(
    path: Path, folder: Path, square: tuple[int, int, int], size: int, wanted: set[int], count: int
) -> dict[int, Path]:
    """Write the wanted frames' squares as JPEG, skipping those an earlier run wrote; gives their files."""
    folder.mkdir(parents=True, exist_ok=True)
    left, top, side = square
    files = {index: folder / f"{index:06d}.jpg" for index in wanted}
    with Progress(count, "pictures") as progress:
        for index, frame in enumerate(read_video_frames(path)):
            if index in files and not files[index].exists():
                cut = Image.fromarray(frame.image[top : top + side, left : left + side])
                if size != side:
                    cut = cut.resize((size, size), Image.Resampling.LANCZOS)
                part = files[index].with_suffix(".part")
                cut.save(part, "JPEG", quality=95, subsampling=0)
                part.replace(files[index])
            progress.advance()
    return files
