"""A head that is known, seen as landmarks: what a whole video says of it is nearer than what a live tracker does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from capture.landmarks import Landmarks
from capture.tracker import Tracker
from capture.whole_video import Pictures, WholeVideo, track_whole_video
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


def test_what_the_regressor_sees_of_lids_and_gaze_counts(
    model: FaceModel, camera: Camera, found: list[Landmarks | None]
) -> None:
    left, right = EXPRESSION_INDEX["eyeBlinkLeft"], EXPRESSION_INDEX["eyeBlinkRight"]
    expected = performance()
    glance = np.zeros(COUNT, np.float32)
    glance[20:26] = np.deg2rad(12.0)
    hints: list[FaceParams | None] = []
    for frame, pitch in zip(expected, glance, strict=True):
        expression = frame.expression.copy()
        expression[left] = max(expression[left], 0.5 if pitch else 0.0)
        # Its gaze lies off for good, which is taken off again.
        gaze = frame.gaze + np.array([0.1, 0.15], np.float32) + np.array([0.0, 1.0], np.float32) * pitch
        hints.append(frame.replace(expression=expression, gaze=gaze))
    hints[NO_FACE] = None
    with_pictures = Pictures(lambda _: np.full((480, 480), 90, np.uint8), (480, 480), (0.0, 0.0), 1.0)
    for pictures in (None, with_pictures):
        plain = track_whole_video(found, TIMES_S, camera, model, pictures).params
        hinted = track_whole_video(found, TIMES_S, camera, model, pictures, hints=hints).params
        calm, looked = [*range(2, 10), *range(80, 88)], slice(21, 25)
        lifted = (hinted.gaze - plain.gaze)[..., 1].mean(1)
        assert np.rad2deg(np.abs(lifted[calm]).mean()) < 3.0
        assert 0.4 * 12.0 < np.rad2deg(lifted[looked].mean() - lifted[calm].mean()) < 12.0
        apart = [params.expression[looked, left] - params.expression[looked, right] for params in (plain, hinted)]
        assert apart[1].mean() > apart[0].mean() + 0.1
