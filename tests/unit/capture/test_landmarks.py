from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from capture import landmarks
from capture.landmarks import LandmarkDetector
from models.camera import Camera
from tests.unit.capture.conftest import Painter, head


@pytest.fixture(autouse=True)
def _forget(detector: LandmarkDetector) -> None:
    detector.reset()


def test_finds_the_landmarks_of_a_head(detector: LandmarkDetector, paint: Painter) -> None:
    found = detector.detect(paint(head()))
    assert found is not None
    assert found.points_px.shape == (478, 2)
    assert found.depth_px.shape == (478,)
    assert found.num_faces == 1
    right_iris, left_iris, nose = found.points_px[468], found.points_px[473], found.points_px[1]
    assert right_iris[0] < nose[0] < left_iris[0]
    assert nose[1] > left_iris[1]


def test_the_same_frames_give_the_same_landmarks(detector: LandmarkDetector, paint: Painter) -> None:
    frames = [paint(head(rotation=(yaw, 0.0, 0.0))) for yaw in (0.0, 0.1)]
    first = [detector.detect(frame) for frame in frames]
    detector.reset()
    second = [detector.detect(frame) for frame in frames]
    for one, two in zip(first, second, strict=True):
        assert one is not None
        assert two is not None
        np.testing.assert_array_equal(one.points_px, two.points_px)


def test_no_face_is_none_and_a_face_that_enters_is_found(detector: LandmarkDetector, paint: Painter) -> None:
    empty = np.full((480, 480, 3), 90, np.uint8)
    picture = paint(head())
    assert detector.detect(empty) is None
    assert detector.detect(picture) is not None
    assert detector.detect(empty) is None
    assert detector.detect(picture) is not None


def test_a_cut_to_another_place_loses_no_frame(detector: LandmarkDetector, paint: Painter) -> None:
    places = [paint(head(translation=(x, 0.0, -0.8))) for x in (-0.2, 0.2)]
    assert all(detector.detect(places[index // 2 % 2]) is not None for index in range(8))


def test_a_face_that_jumped_is_looked_at_where_it_is_now(
    detector: LandmarkDetector, paint: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = (
        paint(head(translation=(0.0, 0.0, -0.6))),
        paint(head(rotation=(0.2, 0.1, 0.0), translation=(0.04, 0.01, -0.6))),
    )
    settled = [detector.detect(after) for _ in range(3)][-1]
    assert settled is not None

    def error_after_the_jump() -> float:
        detector.reset()
        for _ in range(3):
            detector.detect(before)
        found = detector.detect(after)
        assert found is not None
        return float(np.abs(found.points_px - settled.points_px).mean())

    error_px = error_after_the_jump()
    monkeypatch.setattr(landmarks, "JUMP", np.inf)
    assert error_px < 0.6 * error_after_the_jump()


def test_of_two_faces_the_prominent_one_is_followed_and_both_are_counted(
    detector: LandmarkDetector, paint: Painter
) -> None:
    small = paint(head(translation=(0.0, 0.0, -0.7)))
    large = paint(head(translation=(0.0, 0.0, -0.45)))
    assert detector.detect(np.concatenate([small, np.full_like(small, 110)], 1)) is not None
    detector.detect(np.concatenate([small, np.full_like(small, 110)], 1))
    both = np.concatenate([small, large], 1)
    seen = [detector.detect(both) for _ in range(20)]
    assert all(found is not None for found in seen)
    last = seen[-1]
    assert last is not None
    assert last.num_faces == 2
    assert last.points_px[:, 0].mean() > 480


@pytest.mark.parametrize("shape", [(180, 320, 3), (640, 360, 3), (720, 1280, 3)])
def test_takes_any_size_and_format(detector: LandmarkDetector, paint: Painter, shape: tuple[int, int, int]) -> None:
    picture = paint(head(), Camera.webcam(shape[1], shape[0]))
    found = detector.detect(picture)
    assert found is not None
    assert (found.points_px > 0).all()
    assert (found.points_px < [shape[1], shape[0]]).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_refuses_what_is_no_image(detector: LandmarkDetector, image: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        detector.detect(image)


def test_starts_and_detects_without_a_word(capfd: pytest.CaptureFixture[str], paint: Painter) -> None:
    with LandmarkDetector() as detector:
        detector.detect(paint(head()))
        detector.reset()
    assert capfd.readouterr().err == ""
