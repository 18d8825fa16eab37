"""Turn a video of a person into a `Recording`: square pictures around the head and tracked parameters.

What was tracked stays in the training's folder, with a picture to look at: going on does not track again.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from capture.face_reader import FaceReader
from capture.landmarks import Landmarks
from capture.progress import Progress
from capture.whole_video import Pictures, WholeVideo, square_around, track_whole_video
from models.camera import Camera
from models.face import FaceModel
from models.params import FaceParams
from reenact.conditioning import ConditioningRenderer
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
TRACKING = "tracking.npz"
"""File of a training's folder that holds what was tracked."""
TRACKING_VERSION = 6
"""What was tracked by another version is tracked again."""
MAX_PICTURE_PX = 512
"""Pictures are kept at no more than this."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """What the first pass saw."""

    times_s: list[float]
    found: list[Landmarks | None]
    hints: list[FaceParams | None]
    width: int
    height: int


def read_video(path: Path, model: FaceModel, work: Path, held_out_share: float = HELD_OUT_SHARE) -> Recording:
    """Track `path`, cut its pictures into `work/frames`, and show in `work/tracking.png` what was tracked.

    Raises `ValueError` with what to do about it where the video will not do, `VideoError` where it cannot be read.
    """
    if not 0 <= held_out_share < 1:
        raise ValueError(f"held-out share: expected 0 or more and less than 1, got {held_out_share}")
    info = probe(path)
    whole, square = _track(path, model, work, info.num_frames)
    usable = np.flatnonzero(whole.is_usable).astype(np.int64)
    pictures = _cut(path, work / "frames", square, set(usable.tolist()), len(whole.is_usable))
    recording = Recording(
        params=whole.params,
        camera=_pictures(square, pictures).camera(whole.camera),
        frame_rate=float(info.frame_rate),
        pictured=usable,
        held_out=usable[int(len(usable) * (1 - held_out_share)) :],
        pictures=tuple(pictures[int(index)] for index in usable),
        name=path.name,
        square=square,
        shape=whole.shape,
        checks=whole.checks,
    )
    draw_tracking(recording, model, work / "tracking.png")
    return recording


def _track(path: Path, model: FaceModel, work: Path, frames: int) -> tuple[WholeVideo, Square]:
    """Track `path`, or read what an earlier run found in the same file."""
    stat = path.stat()
    key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{TRACKING_VERSION}"
    saved = work / TRACKING
    if (known := _load(saved, key)) is not None:
        return known
    seen = _detect(path, frames)
    found = [landmarks.points_px for landmarks in seen.found if landmarks is not None]
    _check(path, seen, found)
    camera = Camera.webcam(seen.width, seen.height)
    left, top, side = square_around(found, seen.width, seen.height)
    square = Square(left=left, top=top, side=side, frame_width=seen.width, frame_height=seen.height)
    work.mkdir(parents=True, exist_ok=True)
    faces = {index for index, landmarks in enumerate(seen.found) if landmarks is not None}
    files = _cut(path, work / "frames", square, faces, len(seen.found))
    with Progress(len(faces), "aligning") as progress:
        pictures = _pictures(square, files, progress.advance)
        whole = track_whole_video(seen.found, seen.times_s, camera, model, pictures, hints=seen.hints)
    part = work / "tracking.part"
    with part.open("wb") as file:
        np.savez(
            file, key=np.array(key), **whole.params.fields(), is_usable=whole.is_usable, error_m=whole.error_m,
            shape=whole.shape, focal_px=np.array(whole.camera.focal_px),
            square=np.array([left, top, side, seen.width, seen.height]), check_names=np.array(list(whole.checks)),
            checks=np.array(list(whole.checks.values())),
        )  # fmt: skip
    part.replace(saved)
    return whole, square


def _load(saved: Path, key: str) -> tuple[WholeVideo, Square] | None:
    """Read what `_track` wrote of the file that `key` speaks of; None where there is nothing that can be used."""
    try:
        with np.load(saved, allow_pickle=False) as data:
            values = {name: data[name] for name in data.files}
        if str(values["key"]) != key:
            return None
        left, top, side, width, height = (int(value) for value in values["square"])
        usual = Camera.webcam(width, height)
        camera = Camera(width=width, height=height, focal_px=float(values["focal_px"]), center_px=usual.center_px)
        params = FaceParams(**{name: values[name] for name in FaceParams.neutral().fields()})
        checks = dict(zip(values["check_names"].tolist(), values["checks"].tolist(), strict=True))
        whole = WholeVideo(params, camera, values["is_usable"], values["error_m"], checks, values["shape"])
        return whole, Square(left=left, top=top, side=side, frame_width=width, frame_height=height)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _pictures(square: Square, files: dict[int, Path], on_frame: Callable[[], None] = lambda: None) -> Pictures:
    """Describe what `_cut` wrote."""
    size = min(square.side, MAX_PICTURE_PX)

    def read(frame: int) -> NDArray[np.uint8]:
        with Image.open(files[frame]) as image:
            return np.asarray(image.convert("L"))

    return Pictures(read, (size, size), (square.left, square.top), size / square.side, on_frame)


def draw_tracking(recording: Recording, model: FaceModel, path: Path, count: int = 6) -> None:
    """Write a picture to look at: pictures of a spread of frames, and under each the fitted head laid over it."""
    camera = recording.camera
    renderer = ConditioningRenderer(model, camera, shape=recording.shape)
    frames = recording.pictured[np.linspace(0, len(recording.pictured) - 1, count).astype(int)]
    columns = []
    for frame in frames:
        picture = recording.picture(int(frame), camera.width).astype(np.float32) / 255.0
        drawn = renderer.render(recording.params[int(frame)])
        head, eyes = drawn[:3].transpose(1, 2, 0), drawn[6:9].transpose(1, 2, 0)
        is_head, is_iris = drawn[3:6].sum(0)[..., None] > 0, eyes[..., 1:2] > 0.5
        over = np.where(is_iris, [0.1, 1.0, 0.2], np.where(is_head, 0.45 * picture + 0.55 * head, picture))
        columns.append(np.concatenate([picture, over]))
    sheet = Image.fromarray((np.concatenate(columns, 1).clip(0, 1) * 255 + 0.5).astype(np.uint8))
    sheet.thumbnail((256 * count, 512))
    sheet.save(path)


def _detect(path: Path, frames: int) -> _Pass:
    times_s: list[float] = []
    found: list[Landmarks | None] = []
    hints: list[FaceParams | None] = []
    width = height = 0
    with FaceReader() as reader, Progress(frames, "tracking") as progress:
        for frame in read_video_frames(path):
            height, width = frame.image.shape[:2]
            landmarks, hint = reader.read(frame.image, frame.time_s, Camera.webcam(width, height))
            times_s.append(frame.time_s)
            found.append(landmarks)
            hints.append(hint)
            progress.advance()
    return _Pass(times_s, found, hints, width, height)


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


def _cut(path: Path, folder: Path, square: Square, wanted: set[int], count: int) -> dict[int, Path]:
    """Write the wanted frames' squares as JPEG, skipping those an earlier run wrote; gives their files."""
    folder.mkdir(parents=True, exist_ok=True)
    left, top, side = square.left, square.top, square.side
    size = min(side, MAX_PICTURE_PX)
    files = {index: folder / f"{index:06d}.jpg" for index in wanted}
    if all(file.exists() for file in files.values()):
        return files
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
