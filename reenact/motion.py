"""The tracked motion of a whole video, and that motion at any moment."""

from __future__ import annotations

import bisect
import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

import capture.track_command
import capture.video
from capture.track import blend
from models.camera import Camera
from models.params import FaceParams
from reenact.video import VideoError


@dataclass(frozen=True, kw_only=True, slots=True)
class Motion:
    """What a video's face does, frame by frame."""

    time_s: list[float]
    """Time of each of the `T` frames, seconds from the first, rising."""
    params: FaceParams
    """Batch `[T]`: the face in each frame, absolute."""
    states: Counter[str]
    """Frames in each state of tracking: see `capture.track.Track`."""
    neutral: FaceParams
    """The face at rest; one frame."""
    camera: Camera
    """Camera that it was tracked with."""

    def __post_init__(self) -> None:
        if not self.time_s or len(self.time_s) != len(self.params.rotation):
            raise ValueError(f"motion: expected a time a frame, got {len(self.time_s)}")
        if self.time_s[0] != 0.0 or any(b <= a for a, b in zip(self.time_s, self.time_s[1:], strict=False)):
            raise ValueError("motion: expected times that rise from 0")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `reenact track` wrote. Raises `VideoError` for another file."""
        try:
            with np.load(path, allow_pickle=False) as data:
                names = FaceParams.neutral().fields()
                center = data["camera_center_px"]
                return cls(
                    time_s=[float(time_s) for time_s in data["time_s"]],
                    params=FaceParams(**{name: data[name].astype(np.float32) for name in names}),
                    states=Counter(str(state) for state in data["state"]),
                    neutral=FaceParams(**{name: data[f"neutral_{name}"].astype(np.float32) for name in names}),
                    camera=Camera(
                        width=int(data["camera_width"]),
                        height=int(data["camera_height"]),
                        focal_px=float(data["camera_focal_px"]),
                        center_px=(float(center[0]), float(center[1])),
                    ),
                )
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise VideoError(f"{path} holds no motion that `reenact track` wrote ({error}).") from None

    @property
    def faces(self) -> list[FaceParams]:
        """Give the frames one by one."""
        return [self.params[index] for index in range(len(self.time_s))]

    @property
    def period_s(self) -> float:
        """Mean time from one frame to the next; of a single frame a thirtieth of a second."""
        return self.time_s[-1] / (len(self.time_s) - 1) if len(self.time_s) > 1 else 1 / 30

    @property
    def duration_s(self) -> float:
        """Time to the end of the last frame."""
        return self.time_s[-1] + self.period_s

    def nearest(self, time_s: float) -> int:
        """Give the frame nearest in time."""
        after = bisect.bisect_left(self.time_s, time_s)
        if after == 0 or after == len(self.time_s):
            return min(after, len(self.time_s) - 1)
        return after if self.time_s[after] - time_s < time_s - self.time_s[after - 1] else after - 1

    def at(self, time_s: float) -> FaceParams:
        """Give the face at a moment, between two frames on the way from one to the other."""
        after = bisect.bisect_right(self.time_s, time_s + 1e-6)
        if after == 0 or after == len(self.time_s):
            return self.params[max(after - 1, 0)]
        start, stop = self.time_s[after - 1], self.time_s[after]
        share = (time_s - start) / (stop - start)
        return self.params[after - 1] if share < 1e-4 else blend(self.params[after - 1], self.params[after], share)

    def back_and_forth(self, time_s: float) -> float:
        """Give the moment of this motion that is shown at `time_s` where it must last: forwards and backwards in turn.

        The last frame before a turn is not shown twice.
        """
        length = self.time_s[-1]
        if length <= 0.0:
            return 0.0
        turn, rest = divmod(max(time_s, 0.0), length)
        return rest if int(turn) % 2 == 0 else length - rest


def track_motion(video: Path, folder: Path, *, focal_px: float | None = None, is_dense: bool = False) -> Motion:
    """Track a whole video, going on from what an interrupted run left in `folder`; done before, it is only read.

    Where it `is_dense`, by all that is rigid in its pictures. A `.npz` is taken for what `reenact track` wrote. Raises
    `VideoError` where no face is seen in all of it.
    """
    if video.suffix.lower() == ".npz":
        return Motion.read(video)
    try:
        stat = video.stat()
    except OSError as error:
        raise VideoError(f"{video} cannot be opened as a video ({error.strerror}).") from None
    key = f"{video.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{focal_px}|{is_dense}"
    path = folder / f"motion-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    try:
        if not path.exists():
            capture.track_command.track_video(video, path, focal_px=focal_px, is_dense=is_dense)
    except capture.video.VideoError as error:
        raise VideoError(str(error)) from None
    motion = Motion.read(path)
    if not motion.states["tracked"]:
        raise VideoError(f"{video}: no face was found in any of its {len(motion.time_s)} frames.")
    return motion
