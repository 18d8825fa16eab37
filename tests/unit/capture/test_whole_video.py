"""A head that is known, seen as landmarks: what a whole video says of it is nearer than what a live tracker does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from capture.landmarks import Landmarks
from capture.tracker import Tracker
from capture.whole_video import WholeVideo, track_whole_video
from models.camera import Camera
from models.face import FaceModel
from models.params import EXPRESSION_INDEX, FaceParams
from tests.unit.capture.conftest import Points, head

FPS = 30.0
COUNT = 90
NOISE_PX = 0.6
NO_FACE, WRONG_FACE = 40, 60


def performance() -> list[FaceParams]:
    """Turn, speak, look about and blink for three seconds."""
    frames = []
    for index in range(COUNT):
        time_s = index / FPS
        expression = np.zeros(52)
        expression[EXPRESSION_INDEX["jawOpen"]] = 0.3 + 0.3 * np.sin(9.0 * time_s)
        for side in ("Left", "Right"):
            expression[EXPRESSION_INDEX["eyeBlink" + side]] = 0.9 if index % 30 in (14, 15, 16) else 0.0
        rotation = [0.25 * np.sin(5.0 * time_s), 0.1 * np.cos(4.0 * time_s), 0.0]
        frames.append(head(expression=expression, rotation=rotation, gaze=[[0.2 * np.sin(4.0 * time_s), 0.0]] * 2))
    return frames


@pytest.fixture(scope="module")
def found(project: Points) -> list[Landmarks | None]:
    """Give noisy landmarks of the performance; one frame shows no face, and one a face that is none."""
    seen: list[Landmarks | None] = [project(f, noise_px=NOISE_PX, seed=i) for i, f in enumerate(performance())]
    wrong = seen[WRONG_FACE]
    assert wrong is not None
    seen[WRONG_FACE] = dataclasses.replace(wrong, points_px=wrong.points_px[::-1].copy())
    seen[NO_FACE] = None
    return seen


TIMES_S = [index / FPS for index in range(COUNT)]


@pytest.fixture(scope="module")
def whole(model: FaceModel, camera: Camera, found: list[Landmarks | None]) -> WholeVideo:
    return track_whole_video(found, TIMES_S, camera, model)


def yaw_error(rotation: NDArray[np.float32]) -> float:
    """Give the mean error of yaw, radians, over frames with a face, but for its mean: that is the neutral's."""
    usable = [index for index in range(COUNT) if index not in (NO_FACE, WRONG_FACE)]
    error = (rotation[:, 0] - np.array([frame.rotation[0] for frame in performance()]))[usable]
    return float(np.abs(error - error.mean()).mean())


def test_it_comes_nearer_than_a_live_tracker(
    whole: WholeVideo, model: FaceModel, camera: Camera, found: list[Landmarks | None]
) -> None:
    with Tracker(model=model, detects=False) as tracker:
        live = [tracker.process_landmarks(f, t, camera).params for f, t in zip(found, TIMES_S, strict=True)]
    assert yaw_error(whole.params.rotation) < 0.7 * yaw_error(np.stack([params.rotation for params in live]))
    assert yaw_error(whole.params.rotation) < np.deg2rad(0.8)


def test_one_person_is_seen_through_the_usual_camera(whole: WholeVideo, model: FaceModel, camera: Camera) -> None:
    assert (whole.params.identity == whole.params.identity[0]).all()
    assert whole.camera == camera
    assert whole.checks["focal_factor"] == 1.0
    assert whole.shape.shape == model.mean.shape
    assert not whole.shape.any()  # nobody knows the pose but by the landmarks


def test_frames_without_the_face_are_not_to_be_learned_from(whole: WholeVideo) -> None:
    assert np.flatnonzero(~whole.is_usable).tolist() == [NO_FACE, WRONG_FACE]
    assert np.isnan(whole.error_m[NO_FACE])
    assert whole.checks["outliers"] == 1


def test_gaze_blinks_and_mouth_are_held_against_landmarks(whole: WholeVideo) -> None:
    for name in ("blink", "gaze", "mouth", "yaw"):
        assert whole.checks[name] > 0.85, name
