from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from capture.follow import MEASURES, follow_correlation, measure
from capture.landmarks import Landmarks
from models.params import EXPRESSION_NAMES
from tests.unit.capture.conftest import Points, head

FPS = 30.0


@pytest.fixture(scope="module")
def performance(project: Points) -> list[Landmarks]:
    frames = []
    for i in range(120):
        t = i / FPS
        blink = 0.9 if i % 40 in (20, 21, 22) else 0.0
        named = {
            "jawOpen": 0.3 + 0.3 * np.sin(9 * t), "mouthPucker": 0.3 + 0.3 * np.sin(5 * t),
            "eyeBlinkLeft": blink, "eyeBlinkRight": blink,
            **dict.fromkeys(("browInnerUp", "browOuterUpLeft", "browOuterUpRight"), 0.8 + 0.8 * np.sin(7 * t)),
        }  # fmt: skip
        frames.append(
            project(
                head(
                    rotation=(0.3 * np.sin(2 * t), 0.15 * np.sin(3 * t), 0.1 * np.sin(1.3 * t)),
                    gaze=np.tile([0.3 * np.sin(4 * t), 0.15 * np.sin(2.3 * t)], (2, 1)),
                    expression=[named.get(name, 0.0) for name in EXPRESSION_NAMES],
                )
            )
        )
    return frames


def series(frames: list[Landmarks]) -> dict[str, NDArray[np.float64]]:
    return measure(np.stack([f.points_px for f in frames]), np.stack([f.depth_px for f in frames]))


def test_measures_what_was_done(performance: list[Landmarks]) -> None:
    t = np.arange(len(performance)) / FPS
    got = series(performance)
    assert set(got) == set(MEASURES)  # the corners of the mouth have a test of their own
    for name, truth in {
        "yaw": 0.3 * np.sin(2 * t), "pitch": 0.15 * np.sin(3 * t), "roll": 0.1 * np.sin(1.3 * t),
        "mouth_opening": np.sin(9 * t), "mouth_width": -np.sin(5 * t), "gaze_horizontal": np.sin(4 * t),
        "gaze_vertical": np.sin(2.3 * t), "brow_height": np.sin(7 * t),
    }.items():  # fmt: skip
        usable = np.isfinite(got[name])
        # An opening mouth also narrows.
        assert np.corrcoef(got[name][usable], truth[usable])[0, 1] > (0.7 if name == "mouth_width" else 0.9), name
    assert np.ptp(got["yaw"]) == pytest.approx(0.6, abs=0.08)
    assert np.isfinite(got["gaze_horizontal"][:18]).all()
    assert got["eye_opening"][21] < 0.6 * np.median(got["eye_opening"])


def test_corners_of_the_mouth_rise_with_a_smile_and_fall_with_a_frown_in_any_pose(project: Points) -> None:
    t = np.arange(60) / FPS
    shown = np.sin(6 * t)
    frames = []
    for time_s, value in zip(t, shown, strict=True):
        side = "mouthSmile" if value > 0 else "mouthFrown"
        expression = [abs(value) if name.startswith(side) else 0.0 for name in EXPRESSION_NAMES]
        frames.append(project(head(rotation=(0.3 * np.sin(2 * time_s), 0.0, 0.1), expression=expression)))
    corners = series(frames)["mouth_corners"]
    assert np.corrcoef(corners, shown)[0, 1] > 0.93
    assert corners[shown > 0.3].min() > corners[shown < -0.3].max()


def test_an_echo_follows_perfectly_and_its_delay_is_found(performance: list[Landmarks]) -> None:
    source = series(performance)
    echo = {name: np.concatenate([values[:1].repeat(4), values[:-4]]) for name, values in source.items()}
    for following in follow_correlation(source, echo, FPS).values():
        assert following.correlation > 0.99
        assert following.lag_s == pytest.approx(4 / FPS)


def test_something_else_does_not_follow(performance: list[Landmarks]) -> None:
    source = series(performance)
    other = {name: np.random.default_rng(0).normal(size=len(values)) for name, values in source.items()}
    assert all(following.correlation < 0.5 for following in follow_correlation(source, other, FPS).values())


def test_frames_without_a_face_are_left_out(performance: list[Landmarks]) -> None:
    source = series(performance)
    gaps = [
        f if i % 7 else Landmarks(np.full_like(f.points_px, np.nan), np.full_like(f.depth_px, np.nan), 0)
        for i, f in enumerate(performance)
    ]
    output = series(gaps)
    assert np.isnan(output["yaw"][::7]).all()
    assert follow_correlation(source, output, FPS)["roll"].correlation > 0.99


def test_nothing_seen_is_not_a_number_and_lengths_must_match(performance: list[Landmarks]) -> None:
    source = series(performance)
    nothing = {name: np.full(len(values), np.nan) for name, values in source.items()}
    assert all(np.isnan(f.correlation) for f in follow_correlation(source, nothing, FPS).values())
    with pytest.raises(ValueError, match="one length"):
        follow_correlation(source, {name: values[:-1] for name, values in source.items()}, FPS)
