"""`reenact track`: the face parameters of every frame of a video, to a file."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from capture.face_reader import FaceReader
from capture.landmarks import Landmarks
from capture.progress import Progress
from capture.smoothing import SmoothingSettings
from capture.tracker import Track, Tracker
from capture.video import VideoError, read_video, video_info
from capture.whole_video import Pictures, square_around, track_whole_video
from models.camera import Camera
from models.face import FaceModel
from models.params import FaceParams

SAVE_EVERY = 300
"""Frames between two saves of the partial file."""
NO_READING = np.full(len(FaceParams.neutral().pack()), np.nan, np.float32)
LEARNING_FRAMES = 600
"""Frames, spread over the video, on which the person is learned before the pass that counts."""


@dataclass
class Detections:
    """What was seen in the frames so far: what an interrupted run resumes from."""

    time_s: list[float] = field(default_factory=list)
    """Seconds from the first frame."""
    points: list[NDArray[np.float32]] = field(default_factory=list)
    """`[478, 3]` (u, v, depth) in pixels each; NaN without a face."""
    num_faces: list[int] = field(default_factory=list)
    """Faces seen in each frame."""
    readings: list[NDArray[np.float32]] = field(default_factory=list)
    """The regressor's reading of each frame, `FaceParams.pack()`; NaN without one."""

    def landmarks(self, index: int) -> Landmarks | None:
        """Give one frame's landmarks, None without a face."""
        points = self.points[index]
        if np.isnan(points[0, 0]):
            return None
        return Landmarks(points[:, :2], points[:, 2], self.num_faces[index])

    def hint(self, index: int) -> FaceParams | None:
        """Give what the regressor read of one frame, None where that is nothing."""
        reading = self.readings[index]
        return None if np.isnan(reading[0]) else FaceParams.unpack(reading)

    def add(self, time_s: float, landmarks: Landmarks | None, hint: FaceParams | None) -> None:
        """Append a frame."""
        self.time_s.append(time_s)
        if landmarks is None:
            self.points.append(np.full((478, 3), np.nan, np.float32))
            self.num_faces.append(0)
        else:
            self.points.append(np.column_stack([landmarks.points_px, landmarks.depth_px]))
            self.num_faces.append(landmarks.num_faces)
        self.readings.append(hint.pack() if hint is not None else NO_READING)

    def save(self, path: Path, key: str) -> None:
        """Write a partial file, whole or not at all."""
        scratch = path.with_name(path.name + ".new")
        with scratch.open("wb") as file:
            np.savez(
                file, key=np.array(key), time_s=np.array(self.time_s), num_faces=np.array(self.num_faces),
                points=np.array(self.points, np.float32).reshape(-1, 478, 3),
                readings=np.array(self.readings, np.float32).reshape(-1, len(NO_READING)),
            )  # fmt: skip
        os.replace(scratch, path)

    @classmethod
    def load(cls, path: Path, key: str) -> Detections:
        """Read a partial file; empty where there is none, or one of another video."""
        try:
            with np.load(path) as data:
                if str(data["key"]) != key:
                    return cls()
                seen = data["time_s"].tolist(), list(data["points"]), data["num_faces"].tolist(), list(data["readings"])
                return cls(*seen)
        except (OSError, ValueError, KeyError):
            return cls()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    defaults = SmoothingSettings()
    parser.add_argument("video", type=Path, metavar="VIDEO", help="video of one person")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.npz", help="where to write")
    parser.add_argument(
        "--min-cutoff-hz", type=float, default=defaults.min_cutoff_hz, help="smoothing: cutoff at rest (%(default)s)"
    )
    parser.add_argument(
        "--beta", type=float, default=defaults.beta, help="smoothing: rise of the cutoff with speed (%(default)s)"
    )
    parser.add_argument("--focal-px", type=float, help="focal length in pixels (default: as long as the longer side)")
    parser.add_argument(
        "--dense", action="store_true",
        help="find the head's pose by all that is rigid in the pictures, not by landmarks alone: slower",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one line of JSON at the end")


def run(args: argparse.Namespace) -> int:
    """Run the command: 0 done, 1 failed, 2 wrong usage. An interrupted run resumes when started again."""
    try:
        settings = SmoothingSettings(min_cutoff_hz=args.min_cutoff_hz, beta=args.beta)
        if args.focal_px is not None and not args.focal_px > 0:
            raise ValueError(f"focal_px: expected a positive number, got {args.focal_px}")
    except ValueError as error:
        print(f"reenact track: {error}", file=sys.stderr)
        return 2
    try:
        summary = track_video(args.video, args.output, settings, focal_px=args.focal_px, is_dense=args.dense)
    except (VideoError, OSError) as error:
        print(f"reenact track: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nreenact track: interrupted; the same command goes on from here.", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(summary))
    else:
        print(f"{args.output}: {summary['frames']} frames, a face in {100 * summary['face_share']:.1f} % of them")
    return 0


def track_video(
    video: Path,
    output: Path,
    settings: SmoothingSettings | None = None,
    *,
    focal_px: float | None = None,
    is_dense: bool = False,
) -> dict[str, Any]:
    """Track every frame of `video` into `output`, and give a summary.

    The file holds the fields of `FaceParams` by name, `[T, ...]`, `time_s [T]`, `confidence [T]`, `state [T]`,
    `num_faces [T]`, the neutral frame as `neutral_NAME`, and the camera as `camera_width`, `camera_height`,
    `camera_focal_px`, `camera_center_px`. Where it `is_dense`, heads are posed as a target's are in training, see
    `track_whole_video`, and smoothed as there. Raises `VideoError` or `OSError`.
    """
    info = video_info(video)
    camera = Camera.webcam(info.width, info.height)
    if focal_px is not None:
        camera = Camera(width=info.width, height=info.height, focal_px=focal_px, center_px=camera.center_px)
    stat = video.stat()
    partial = output.with_name(output.name + ".part")
    key = f"{video.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{focal_px}"
    detections = _detect(video, info.num_frames, camera, partial, key)
    tracks = _track(detections, camera, settings or SmoothingSettings())
    if is_dense:
        tracks = _densely(tracks, detections, video, camera)
    _write(output, detections, tracks, camera)
    partial.unlink(missing_ok=True)
    seen = np.array([track.state == "tracked" for track in tracks])
    return {
        "output": str(output),
        "frames": len(tracks),
        "seconds": round(detections.time_s[-1], 3),
        "face_share": float(seen.mean()),
        "confidence": float(np.mean([track.confidence for track in tracks])),
    }


def _detect(video: Path, num_frames: int, camera: Camera, partial: Path, key: str) -> Detections:
    """Read every frame, going on from a partial file."""
    found = Detections.load(partial, key)
    start = len(found.time_s)
    with FaceReader() as reader, Progress(num_frames, "landmarks", done=start) as progress:
        try:
            for time_s, image in read_video(video, start=start):
                found.add(time_s, *reader.read(image, time_s, camera))
                progress.advance()
                if len(found.time_s) % SAVE_EVERY == 0:
                    found.save(partial, key)
        except KeyboardInterrupt:
            found.save(partial, key)
            raise
    return found


def _track(detections: Detections, camera: Camera, settings: SmoothingSettings) -> list[Track]:
    """Fit all frames, with the person learned from the whole video first: nothing settles in the result."""
    count = len(detections.time_s)
    with Tracker(settings, detects=False) as tracker, Progress(count, "fit") as progress:

        def track(index: int) -> Track:
            time_s = detections.time_s[index]
            return tracker.process_landmarks(detections.landmarks(index), time_s, camera, detections.hint(index))

        step = max(count // LEARNING_FRAMES, 1)
        for index in range(0, count, step):
            track(index)
        tracker.restart()
        tracks = []
        for index in range(count):
            tracks.append(track(index))
            progress.advance()
    return tracks


def _densely(tracks: list[Track], detections: Detections, video: Path, camera: Camera) -> list[Track]:
    """Track the video once more as a whole, by its pictures too; frames that will not do stay as they are."""
    found = [detections.landmarks(index) for index in range(len(tracks))]
    hints = [detections.hint(index) for index in range(len(tracks))]
    faces = [landmarks.points_px for landmarks in found if landmarks is not None]
    if not faces:
        return tracks
    left, top, side = square_around(faces, camera.width, camera.height)
    with GreyFrames(video, left, top, side) as frames, Progress(len(faces), "aligning") as progress:
        pictures = Pictures(frames.read, (side, side), (left, top), 1.0, progress.advance)
        whole = track_whole_video(
            found, detections.time_s, camera, FaceModel.load(), pictures, hints=hints, knows_focal=True
        )
    return [
        replace(track, params=whole.params[index]) if whole.is_usable[index] else track
        for index, track in enumerate(tracks)
    ]


class GreyFrames:
    """A square of a video's frames in grey, in whatever order they are asked for; quickest in their own."""

    def __init__(self, video: Path, left: int, top: int, side: int) -> None:
        self._video = video
        self._rows, self._columns = slice(top, top + side), slice(left, left + side)
        self._frames: Generator[tuple[float, NDArray[np.uint8]], None, None] | None = None
        self._next = 0

    def read(self, frame: int) -> NDArray[np.uint8]:
        """Give frame number `frame`, `[side, side]`. Raises `VideoError` behind the end."""
        if self._frames is None or frame < self._next:
            self.close()
            self._frames, self._next = read_video(self._video), 0
        for _, image in self._frames:
            self._next += 1
            if self._next > frame:
                return np.asarray(cv2.cvtColor(image[self._rows, self._columns], cv2.COLOR_RGB2GRAY), np.uint8)
        raise VideoError(f"{self._video} ends before frame {frame}.")

    def close(self) -> None:
        """Let go of the file."""
        if self._frames is not None:
            self._frames.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _write(output: Path, detections: Detections, tracks: list[Track], camera: Camera) -> None:
    params = FaceParams.stack([track.params for track in tracks])
    neutral = {f"neutral_{name}": value for name, value in tracks[-1].neutral.fields().items()}
    scratch = output.with_name(output.name + ".new")
    with scratch.open("wb") as file:
        np.savez(
            file, **params.fields(), **neutral, time_s=np.array(detections.time_s),
            confidence=np.array([track.confidence for track in tracks], np.float32),
            state=np.array([track.state for track in tracks]),
            num_faces=np.array(detections.num_faces, np.int32),
            camera_width=np.array(camera.width), camera_height=np.array(camera.height),
            camera_focal_px=np.array(camera.focal_px), camera_center_px=np.array(camera.center_px),
        )  # fmt: skip
    os.replace(scratch, output)
