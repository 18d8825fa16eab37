from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from capture.landmarks import Landmarks
from capture.smoothing import SmoothingSettings
from capture.tracker import Track, Tracker
from models.camera import Camera
from models.face import FaceModel
from models.params import EXPRESSION_INDEX, EXPRESSION_NAMES, FaceParams
from tests.unit.capture.conftest import Painter, Points, head


@pytest.fixture
def tracker(model: FaceModel) -> Iterator[Tracker]:
    with Tracker(model=model, detects=False) as tracker:
        yield tracker


def weights(**named: float) -> list[float]:
    return [named.get(name, 0.0) for name in EXPRESSION_NAMES]


def play(
    tracker: Tracker, camera: Camera, frames: list[Landmarks | None], *, start_s: float = 0.0, fps: float = 30.0
) -> list[Track]:
    return [tracker.process_landmarks(frame, start_s + i / fps, camera) for i, frame in enumerate(frames)]


def degrees(one: FaceParams, other: FaceParams) -> float:
    return float(np.rad2deg(np.abs(one.rotation - other.rotation)).max())


def test_no_face_holds_then_eases_to_neutral_then_is_absent(tracker: Tracker, project: Points, camera: Camera) -> None:
    turned = project(head(rotation=(0.4, 0.0, 0.0), expression=weights(jawOpen=0.5)))
    play(tracker, camera, [project(head())] * 45)
    last = play(tracker, camera, [turned] * 30, start_s=1.5)[-1]
    gone = play(tracker, camera, [None] * 60, start_s=2.5)
    states = [track.state for track in gone]
    assert states[:14] == ["holding"] * 14
    assert states[16:44] == ["easing"] * 28
    assert states[46:] == ["absent"] * 14
    assert degrees(gone[10].params, last.params) < 1e-3
    assert 3.0 < degrees(gone[30].params, last.params) < 20.0
    assert degrees(gone[-1].params, gone[-1].neutral) < 1e-3
    assert all(track.confidence == 0.0 and track.landmarks_px is None and track.num_faces == 0 for track in gone)
    steps = [degrees(a.params, b.params) for a, b in pairwise(gone)]
    assert max(steps) < 2.0


def test_nobody_from_the_start_is_absent_at_neutral(tracker: Tracker, camera: Camera) -> None:
    tracks = play(tracker, camera, [None] * 5)
    assert [track.state for track in tracks] == ["absent"] * 5
    np.testing.assert_array_equal(tracks[-1].params.rotation, np.zeros(3))


def test_a_face_that_returns_elsewhere_is_blended_in(tracker: Tracker, project: Points, camera: Camera) -> None:
    play(tracker, camera, [project(head())] * 45)
    gone = play(tracker, camera, [None] * 10, start_s=1.5)
    back = project(head(rotation=(-0.5, 0.0, 0.0)))
    tracks = play(tracker, camera, [back] * 12, start_s=1.5 + 10 / 30)
    shown = [gone[-1], *tracks]
    steps = [degrees(a.params, b.params) for a, b in pairwise(shown)]
    assert max(steps) < 13.0
    assert abs(np.rad2deg(tracks[-1].params.rotation[0]) + 28.6) < 3.0


def test_learning_makes_no_jump(tracker: Tracker, project: Points, camera: Camera) -> None:
    rng = np.random.default_rng(0)
    someone = rng.normal(0, 1, 80)
    frames = [
        project(head(identity=someone, rotation=(0.35 * np.sin(i / 40), 0.1 * np.sin(i / 27), 0.0))) for i in range(300)
    ]
    tracks = play(tracker, camera, list(frames))
    assert np.abs(tracks[-1].params.identity).max() > 0.05
    asked = [0.35 * (np.sin((i + 1) / 40) - np.sin(i / 40)) for i in range(299)]
    shown = [float(b.params.rotation[0] - a.params.rotation[0]) for a, b in pairwise(tracks)]
    assert np.rad2deg(np.abs(np.array(shown) - asked)).max() < 1.0
    weights_moved = [np.abs(b.params.expression - a.params.expression).max() for a, b in pairwise(tracks)]
    assert max(weights_moved) < 0.12


def test_learning_between_frames_changes_no_frame(model: FaceModel, project: Points, camera: Camera) -> None:
    frames = [
        project(head(rotation=(0.2 * np.sin(i / 5), 0.0, 0.0), expression=weights(jawOpen=0.3))) for i in range(40)
    ]
    with Tracker(model=model, detects=False) as patient, Tracker(model=model, detects=False) as hurried:
        for index, frame in enumerate(frames):
            one = patient.process_landmarks(frame, index / 30, camera)
            other = hurried.process_landmarks(frame, index / 30, camera)
            hurried.learn()
            np.testing.assert_array_equal(one.params.expression, other.params.expression)
            np.testing.assert_array_equal(one.params.translation, other.params.translation)
    assert np.abs(one.params.identity).max() > 0.001


@pytest.mark.parametrize(("fps", "heard"), [(30.0, 60), (60.0, 30)])
def test_quick_frames_are_not_all_learned_from_and_no_time_is_lost(
    tracker: Tracker, project: Points, camera: Camera, monkeypatch: pytest.MonkeyPatch, fps: float, heard: int
) -> None:
    elapsed: list[float] = []
    learn = tracker._person.learn

    def hear(*arguments: Any) -> None:
        elapsed.append(arguments[-1])
        learn(*arguments)

    monkeypatch.setattr(tracker._person, "learn", hear)
    play(tracker, camera, [project(head())] * 60, fps=fps)
    tracker.learn()
    assert len(elapsed) == pytest.approx(heard, abs=1)
    assert sum(elapsed) == pytest.approx(59 / fps, abs=1.1 / fps)


def test_calibrating_takes_the_face_shown_for_rest(tracker: Tracker, project: Points, camera: Camera) -> None:
    play(tracker, camera, [project(head())] * 60)
    odd = head(rotation=(0.12, -0.1, 0.0), expression=weights(browInnerUp=0.6, jawOpen=0.25))
    asked = [tracker.is_calibrating]
    tracker.calibrate()
    asked.append(tracker.is_calibrating)
    last = play(tracker, camera, [project(odd)] * 120, start_s=2.0)[-1]
    assert [*asked, tracker.is_calibrating] == [False, True, False]
    assert degrees(last.params, last.neutral) < 1.0
    assert np.abs(last.params.expression - last.neutral.expression).max() < 0.1
    assert abs(np.rad2deg(last.neutral.rotation[0]) - 6.9) < 2.5


def test_without_being_asked_an_open_mouth_is_not_rest_and_shut_eyes_are_not_rest(
    tracker: Tracker, project: Points, camera: Camera
) -> None:
    shut = project(head(expression=weights(eyeBlinkLeft=0.8, eyeBlinkRight=0.8, jawOpen=0.4)))
    rest = project(head())
    play(tracker, camera, [shut] * 40)
    tracks = play(tracker, camera, [rest] * 240, start_s=40 / 30)
    last = tracks[-1]
    shown = last.params.expression - last.neutral.expression
    assert abs(shown[EXPRESSION_INDEX["jawOpen"]]) < 0.1
    assert shown[EXPRESSION_INDEX["eyeBlinkLeft"]] < 0.15
    assert shown[EXPRESSION_INDEX["eyeWideLeft"]] < 0.15
    shut_again = play(tracker, camera, [shut] * 10, start_s=10.0)[-1]
    assert shut_again.params.expression[EXPRESSION_INDEX["eyeBlinkLeft"]] > 0.8


Turn = tuple[float, float, float]
ASIDE, AHEAD = (0.42, 0.3, 0.0), (0.05, 0.0, 0.0)


@pytest.mark.parametrize(
    ("first", "then", "at_rest"),
    [(ASIDE, ASIDE, ASIDE), (ASIDE, AHEAD, AHEAD), (AHEAD, ASIDE, AHEAD)],
    ids=["a camera beside the screen", "busy when it begins", "looks away later"],
)
def test_rest_is_as_least_turned_where_it_begins_turned(
    tracker: Tracker, project: Points, camera: Camera, first: Turn, then: Turn, at_rest: Turn
) -> None:
    play(tracker, camera, [project(head(rotation=first))] * 40)
    last = play(tracker, camera, [project(head(rotation=then))] * 280, start_s=40 / 30)[-1]
    assert degrees(last.neutral, head(rotation=at_rest)) < 3.0


@pytest.mark.parametrize(("sway", "at_rest"), [(0.0, 0.42), (0.12, np.deg2rad(10.0))], ids=["still", "moving"])
def test_one_who_keeps_still_is_at_rest_as_turned_after_two_seconds(
    tracker: Tracker, project: Points, camera: Camera, sway: float, at_rest: float
) -> None:
    yaws = 0.42 + sway * np.sin(np.arange(108) / 15)
    last = play(tracker, camera, [project(head(rotation=(yaw, 0.0, 0.0))) for yaw in yaws])[-1]
    assert np.rad2deg(abs(last.neutral.rotation[0] - at_rest)) < 3.0


def test_rest_goes_on_being_learned_where_brows_were_up_at_first(
    tracker: Tracker, project: Points, camera: Camera
) -> None:
    brows = ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")
    raised, rest = project(head(expression=weights(**dict.fromkeys(brows, 1.0)))), project(head())
    play(tracker, camera, [raised] * 75)
    before = play(tracker, camera, [rest, raised] * 15, start_s=2.5)
    play(tracker, camera, [rest] * 450, start_s=3.5)
    after = play(tracker, camera, [rest, raised] * 15, start_s=18.5)
    index = [EXPRESSION_INDEX[name] for name in brows]

    def way(tracks: list[Track]) -> float:
        shown = [float(track.params.expression[index].mean()) for track in tracks]
        return max(shown) - min(shown)

    assert way(after) > way(before) + 0.2
    assert np.abs(after[0].params.expression[index]).max() < 0.15


def test_nobody_rests_with_the_mouth_to_one_side(tracker: Tracker, project: Points, camera: Camera) -> None:
    aside = project(head(expression=weights(mouthRight=0.8)))
    last = play(tracker, camera, [aside] * 180)[-1]
    assert last.params.expression[EXPRESSION_INDEX["mouthRight"]] < 0.2


def test_who_smiles_when_it_begins_goes_on_to_smile_where_the_regressor_sees_it(
    tracker: Tracker, project: Points, camera: Camera
) -> None:
    smile = weights(mouthSmileLeft=0.8, mouthSmileRight=0.8)
    seen = head(expression=smile)
    shown = []
    for hint in (None, seen):
        tracker.reset()
        for index in range(240):
            track = tracker.process_landmarks(project(seen), index / 30, camera, hint)
        shown.append(float(track.params.expression[EXPRESSION_INDEX["mouthSmileLeft"]]))
    assert shown[1] > max(shown[0] + 0.03, 0.6)


def test_who_looks_at_the_keys_first_is_not_wide_eyed_after(tracker: Tracker, project: Points, camera: Camera) -> None:
    lids = ("eyeBlinkLeft", "eyeBlinkRight")
    down, up = (head(expression=weights(**dict.fromkeys(lids, weight))) for weight in (0.35, 0.0))
    # Of lids half down the regressor says less than they are.
    readings = {id(down): head(expression=weights(**dict.fromkeys(lids, 0.28))), id(up): up}
    wide, blink = EXPRESSION_INDEX["eyeWideLeft"], EXPRESSION_INDEX["eyeBlinkLeft"]
    shown: dict[bool, list[float]] = {}
    for has_hint in (False, True):
        tracker.reset()
        for index, face in enumerate([down] * 180 + [up] * 90 + [down] * 30 + [up] * 30):
            hint = readings[id(face)] if has_hint else None
            track = tracker.process_landmarks(project(face), index / 30, camera, hint)
            tracker.learn()
            if index == 299:
                shown[has_hint] = [float(track.params.expression[blink] - track.neutral.expression[blink])]
        shown[has_hint].append(float(track.params.expression[wide] - track.neutral.expression[wide]))
    assert shown[False][1] > 0.3  # what it is for
    assert shown[True][1] < 0.1
    assert shown[True][0] > shown[False][0] + 0.1


@pytest.mark.parametrize("fps", [1.0, 15.0, 60.0])
def test_any_frame_rate(tracker: Tracker, project: Points, camera: Camera, fps: float) -> None:
    frames: list[Landmarks | None] = [project(head(rotation=(0.2, 0.0, 0.0)))] * max(round(3 * fps), 4)
    last = play(tracker, camera, frames, fps=fps)[-1]
    assert last.state == "tracked"
    assert abs(last.params.rotation[0] - 0.2) < 0.05


def test_settings_can_change_while_it_runs(tracker: Tracker, project: Points, camera: Camera) -> None:
    play(tracker, camera, [project(head())] * 60)
    tracker.apply(SmoothingSettings(min_cutoff_hz=0.1, beta=0.0))
    slow = play(tracker, camera, [project(head(rotation=(0.4, 0.0, 0.0)))] * 3, start_s=2.0)[-1]
    assert slow.params.rotation[0] < 0.1


def test_reset_forgets_the_person(tracker: Tracker, project: Points, camera: Camera) -> None:
    someone = [project(head(identity=np.random.default_rng(1).normal(0, 1, 80)))] * 90
    first = play(tracker, camera, list(someone), fps=32.0)  # exact in binary
    tracker.reset()
    again = play(tracker, camera, list(someone), start_s=128.0, fps=32.0)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_allclose(a.params.pack(), b.params.pack(), atol=1e-3)


def test_confidence_falls_when_landmarks_are_no_face(tracker: Tracker, project: Points, camera: Camera) -> None:
    good = play(tracker, camera, [project(head())] * 5)[-1]
    bad = play(tracker, camera, [project(head(), noise_px=15.0)] * 5, start_s=1.0)[-1]
    assert good.confidence > 0.95
    assert bad.confidence < 0.3
    assert bad.state == "tracked"


def test_images_end_to_end(model: FaceModel, paint: Painter, camera: Camera) -> None:
    with Tracker(model=model) as tracker:
        tracks = [
            tracker.process(paint(head(rotation=(yaw, 0.0, 0.0))), i / 30)
            for i, yaw in enumerate((0.0, 0.15, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3))
        ]
        assert [track.state for track in tracks] == ["tracked"] * 8
        assert abs(np.rad2deg(tracks[-1].params.rotation[0]) - 17.2) < 5.0
        assert tracks[-1].num_faces == 1
        assert tracker.process(np.full((480, 480, 3), 80, np.uint8), 0.3).state == "holding"
        with pytest.raises(ValueError, match="expected"):
            tracker.process(np.zeros((4, 4), np.uint8), 0.4)


def test_without_a_detector_images_are_refused(tracker: Tracker) -> None:
    with pytest.raises(ValueError, match="without a detector"):
        tracker.process(np.zeros((4, 4, 3), np.uint8), 0.0)
