from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from models.camera import Camera
from models.params import FaceParams
from reenact.motion import Motion, track_motion
from reenact.video import VideoError


def motion(times_s: list[float]) -> Motion:
    faces = [FaceParams.neutral().replace(rotation=np.array([time_s, 0, 0], np.float32)) for time_s in times_s]
    return Motion(
        time_s=times_s, params=FaceParams.stack(faces), states=Counter(tracked=len(faces)),
        neutral=FaceParams.neutral(), camera=Camera.webcam(64, 48),
    )  # fmt: skip


def test_between_two_frames_the_face_is_on_its_way() -> None:
    moving = motion([0.0, 0.1, 0.3])
    yaws = [float(moving.at(time_s).rotation[0]) for time_s in (-1.0, 0.0, 0.05, 0.1, 0.2, 0.3, 9.0)]
    assert yaws == pytest.approx([0.0, 0.0, 0.05, 0.1, 0.2, 0.3, 0.3], abs=1e-5)


def test_the_nearest_frame() -> None:
    moving = motion([0.0, 0.1, 0.3])
    assert [moving.nearest(time_s) for time_s in (-1.0, 0.04, 0.06, 0.19, 0.21, 9.0)] == [0, 0, 1, 1, 2, 2]


def test_a_motion_that_must_last_goes_forwards_and_backwards() -> None:
    moving = motion([0.0, 0.1, 0.2])
    shown = [moving.back_and_forth(time_s) for time_s in (0.0, 0.11, 0.2, 0.25, 0.33, 0.41, 0.6)]
    assert shown == pytest.approx([0.0, 0.11, 0.2, 0.15, 0.07, 0.01, 0.2])
    assert motion([0.0]).back_and_forth(99.0) == 0.0


def test_times_must_rise() -> None:
    with pytest.raises(ValueError, match="rise"):
        motion([0.0, 0.2, 0.1])


def test_what_is_no_motion_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, a=np.zeros(3))
    with pytest.raises(VideoError, match="holds no motion"):
        Motion.read(path)
    with pytest.raises(VideoError, match=r"none\.mp4 cannot be opened"):
        track_motion(tmp_path / "none.mp4", tmp_path)
