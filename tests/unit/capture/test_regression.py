from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch

from capture.binding import LandmarkBinding
from capture.landmarks import LandmarkDetector
from capture.mesh import Mesh, mesh_edges
from capture.personal import Personal
from capture.regressed_person import RegressedPerson
from capture.regression import SEARCH_INTERVAL_S, RegressionTracker
from capture.regressor_engines import TorchRegressor
from capture.smoothing import SmoothingSettings
from capture.track import Track
from models.face import FaceModel
from models.params import EXPRESSION_INDEX, FaceParams
from models.regressor import FaceRegressor
from tests.unit.capture.discs import CAMERA, FRAME_S, Finder, Seer, head, picture

QUICK = SmoothingSettings(min_cutoff_hz=30.0, beta=50.0)


def assert_same_place(got: FaceParams, expected: FaceParams) -> None:
    # Off the axis a disc in the frame is no disc in the crop: its size is read a few per cent wrong.
    assert got.translation[2] == pytest.approx(expected.translation[2], rel=0.08)
    assert CAMERA.project(got.translation) == pytest.approx(CAMERA.project(expected.translation), abs=5.0)


class Stage:
    """A tracker before a head that the test moves about."""

    def __init__(self, model: FaceModel, mesh: Mesh) -> None:
        self.seer, self.finder = Seer(), Finder(mesh)
        self.tracker = RegressionTracker(
            QUICK, model=model, engine=self.seer, detector=cast(LandmarkDetector, self.finder)
        )
        self.seer.runs = 0
        self.time_s = 0.0

    def show(self, params: FaceParams | None) -> Track:
        self.finder.head = params
        self.time_s += FRAME_S
        return self.tracker.process(picture(params), self.time_s, CAMERA)


@pytest.fixture
def stage(model: FaceModel, mesh: Mesh) -> Stage:
    return Stage(model, mesh)


def test_follows_a_head_across_the_frame_without_the_detector(stage: Stage) -> None:
    for step in range(60):
        u, v = 320 + 200 * np.sin(step / 9), 240 + 80 * np.cos(step / 7)
        params = head(u, v, 0.8 + 0.2 * np.sin(step / 11), 0.4 * np.sin(step / 8))
        track = stage.show(params)
        assert track.state == "tracked"
        assert_same_place(track.params, params)
        assert track.params.rotation == pytest.approx(params.rotation, abs=0.06)
    assert stage.finder.searches == 1
    assert stage.seer.runs == 60 + 1
    assert track.num_faces == 2
    assert track.confidence > 0.9


def test_searches_at_a_bounded_rate_and_says_what_it_shows_meanwhile(stage: Stage) -> None:
    states = [stage.show(head()).state for _ in range(5)]
    assert set(states) == {"tracked"}
    stage.finder.searches = 0
    states = [stage.show(None).state for _ in range(60)]
    changes = [state for before, state in zip([None, *states], states, strict=False) if state != before]
    assert changes == ["holding", "easing", "absent"]
    assert states.count("holding") == pytest.approx(0.5 * 30, abs=1)
    assert stage.finder.searches <= 60 * FRAME_S / SEARCH_INTERVAL_S + 1


@pytest.mark.parametrize("moved", [0.0, 200.0])
def test_recovers_within_200_ms_of_an_occlusion(stage: Stage, moved: float) -> None:
    for _ in range(5):
        stage.show(head())
    for _ in range(20):
        assert stage.show(None).state != "tracked"
    back = head(320 + moved, 240 - 0.2 * moved, 0.7)
    states = [stage.show(back).state for _ in range(6)]
    assert "tracked" in states[: int(0.2 / FRAME_S)]
    assert_same_place(stage.show(back).params, back)


def test_a_face_that_comes_back_elsewhere_is_blended_in(stage: Stage) -> None:
    for _ in range(5):
        stage.show(head(180, 240, 0.7))
    for _ in range(12):
        stage.show(None)
    places = [float(stage.show(head(460, 240, 0.7)).params.translation[0]) for _ in range(12)]
    start, end = head(180, 240, 0.7).translation[0], head(460, 240, 0.7).translation[0]
    assert places[-1] == pytest.approx(end, abs=0.02)
    assert np.abs(np.diff([start, *places])).max() < 0.6 * (end - start)


def test_another_size_of_frame_is_searched_anew(stage: Stage) -> None:
    stage.show(head())
    stage.finder.head = None
    track = stage.tracker.process(np.zeros((240, 320, 3), np.uint8), 5.0)
    assert track.state != "tracked"


def test_learns_the_face_at_rest_and_calibrates_it_anew(stage: Stage) -> None:
    brows = EXPRESSION_INDEX["browDownLeft"]
    for step in range(90):
        stage.seer.expression[brows] = 0.1 + 0.5 * (step % 3 == 0)
        stage.seer.identity[3] = 1.5
        track = stage.show(head(tilt=0.05))
    assert track.neutral.expression[brows] == pytest.approx(0.1, abs=0.02)
    assert track.neutral.rotation[2] == pytest.approx(0.05, abs=0.02)
    assert track.params.identity[3] == pytest.approx(1.5, abs=0.1)
    stage.seer.expression[brows] = 0.5
    stage.tracker.calibrate()
    asked = [stage.tracker.is_calibrating]
    for _ in range(150):
        track = stage.show(head(tilt=0.05))
        asked.append(stage.tracker.is_calibrating)
    assert asked[0]
    assert sum(asked) == pytest.approx(30 + 90, abs=5)  # a second of rest, three of range
    # A neutral face that was asked for is rest whatever it shows.
    assert track.neutral.expression[brows] == pytest.approx(0.5, abs=0.02)
    stage.tracker.restart()
    assert stage.show(head()).neutral.expression[brows] == pytest.approx(0.5, abs=0.02)
    stage.tracker.reset()
    assert np.abs(stage.show(head()).params.identity[3] - 1.5) < 1e-5
    assert stage.show(head()).neutral.expression[brows] < 0.35


@pytest.mark.parametrize(("first", "then", "at_rest"), [(0.5, 0.5, 0.5), (0.5, 0.05, 0.05), (0.05, 0.5, 0.05)])
def test_rest_is_as_least_turned_where_it_begins_turned(first: float, then: float, at_rest: float) -> None:
    person, time_s = RegressedPerson(), 0.0
    for yaw, seconds in ((first, 1.3), (then, 9.0)):
        for _ in range(round(seconds / FRAME_S)):
            rotation = np.array([yaw, 0.0, 0.0], np.float32)
            person.hear(FaceParams.neutral().replace(rotation=rotation), time_s, FRAME_S)
            time_s += FRAME_S
    assert person.neutral.rotation[0] == pytest.approx(at_rest, abs=0.01)


def test_identity_is_robust_against_a_frame_that_sees_another(stage: Stage) -> None:
    stage.seer.identity[:] = 0.2
    for _ in range(30):
        stage.show(head())
    stage.seer.identity[:] = 30.0
    stage.show(head())
    stage.seer.identity[:] = 0.2
    assert stage.show(head()).params.identity == pytest.approx(np.full(80, 0.2), abs=0.15)


def test_lids_that_never_seem_to_shut_are_stretched_until_they_do(stage: Stage) -> None:
    blink = EXPRESSION_INDEX["eyeBlinkLeft"]
    for step in range(150):
        stage.seer.expression[blink] = 0.7 if step % 30 < 4 else 0.0
        stage.show(head())
    stage.seer.expression[blink] = 0.7
    shut = [stage.show(head()).params.expression[blink] for _ in range(3)][-1]
    assert shut == pytest.approx(1.0, abs=0.05)
    other = EXPRESSION_INDEX["jawOpen"]
    stage.seer.expression[other] = 0.7
    assert [stage.show(head()).params.expression[other] for _ in range(5)][-1] == pytest.approx(0.7, abs=0.05)


def test_a_calibration_learns_how_far_a_face_moves(stage: Stage) -> None:
    jaw, smile, brow = (EXPRESSION_INDEX[name] for name in ("jawOpen", "mouthSmileLeft", "browInnerUp"))
    stage.seer.expression[smile] = 0.1
    stage.show(head())
    stage.tracker.calibrate()
    for step in range(140):
        shows = step >= 45
        stage.seer.expression[jaw] = 0.5 * (shows and step % 30 < 12)
        stage.seer.expression[smile] = 0.1 + 0.8 * (shows and step % 30 < 12)
        stage.seer.expression[brow] = 0.1 * (shows and step % 30 < 12)
        stage.show(head())
    assert not stage.tracker.is_calibrating
    stage.seer.expression[[jaw, smile, brow]] = 0.5, 0.9, 0.1
    shown = [stage.show(head()).params.expression for _ in range(8)][-1]
    assert shown[jaw] == pytest.approx(0.7, abs=0.05)  # at its furthest: as far as people usually go
    assert shown[smile] == pytest.approx(0.7, abs=0.05)
    assert shown[brow] == pytest.approx(0.1, abs=0.02)  # it was not shown, so it is not stretched


def test_shows_the_face_it_tracks_as_a_mesh(stage: Stage) -> None:
    assert stage.tracker.mesh_px() is None
    params = head(450, 200, 0.6)
    stage.show(params)
    points = stage.tracker.mesh_px()
    assert points is not None
    found = stage.finder.detect(picture(params))
    assert found is not None
    assert np.abs(points - found.points_px).max() < 4.0
    stage.show(None)
    assert stage.tracker.mesh_px() is None


def test_refuses_what_is_no_image_and_closes_what_it_owns(stage: Stage) -> None:
    with pytest.raises(ValueError, match="expected \\[H, W, 3\\] uint8"):
        stage.tracker.process(np.zeros((4, 4), np.uint8), 0.0)
    with stage.tracker:
        pass
    assert stage.seer.is_closed
    assert stage.finder.is_closed


def test_fresh_weights_run_on_a_real_picture(model: FaceModel, detector: LandmarkDetector) -> None:
    torch.manual_seed(0)
    regressor = FaceRegressor().eval()
    with torch.no_grad():
        regressor.out.bias[regressor.config.fields["confidence"]] = 2.0
    engine = TorchRegressor(regressor)
    tracker = RegressionTracker(model=model, regressor=regressor, engine=engine, detector=detector)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (480, 640, 3)).astype(np.uint8)
    for step in range(4):
        track = tracker.process(image, step * FRAME_S)
        assert np.isfinite(track.params.pack()).all()
    assert track.state == "absent"  # the detector finds no face in noise
    assert tracker.reading is None


@pytest.mark.parametrize("seed", range(3))
def test_the_mesh_is_the_face_model_at_its_landmarks(model: FaceModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    expression = np.zeros(52, np.float32)
    expression[EXPRESSION_INDEX["jawOpen"]] = rng.uniform(0, 0.8)
    expression[EXPRESSION_INDEX["mouthSmileLeft"]] = rng.uniform(0, 0.8)
    params = FaceParams.neutral().replace(
        identity=rng.normal(0, 1, 80).astype(np.float32), expression=expression,
        rotation=rng.uniform(-0.4, 0.4, 3).astype(np.float32),
        gaze=np.repeat(rng.uniform(-0.3, 0.3, (1, 2)), 2, 0).astype(np.float32),
    )  # fmt: skip
    binding = LandmarkBinding.load()
    expected = binding.points(model, model.view_vertices(params))
    # Lids that an eyeball pushes out are left in it, and eyeballs turn about nearly the right centre.
    error = np.linalg.norm(Mesh(model, binding).points(params) - expected, axis=1)
    assert np.median(error) < 1e-6
    assert error.max() < 0.002


def test_edges_join_landmarks_once() -> None:
    edges = mesh_edges()
    assert len(edges) > 1000
    assert len(set(edges)) == len(edges)
    assert all(0 <= a < b < 478 for a, b in edges)


def test_a_calibrated_person_is_known_at_once_in_the_next_session(stage: Stage, model: FaceModel, mesh: Mesh) -> None:
    smile = EXPRESSION_INDEX["mouthSmileLeft"]
    assert stage.tracker.personal() is None
    stage.seer.expression[smile], stage.seer.identity[2] = 0.4, 1.0
    stage.show(head())
    stage.tracker.calibrate()
    for _ in range(90):
        stage.show(head(tilt=0.1))
    known = stage.tracker.personal()
    assert known is not None
    other = Stage(model, mesh)
    other.seer.expression[smile] = 0.4
    other.tracker.restore(Personal.from_json(known.to_json()))
    track = other.show(head())
    assert track.neutral.expression[smile] == pytest.approx(0.4, abs=0.01)
    assert track.neutral.rotation[2] == pytest.approx(0.1, abs=0.02)
    assert track.params.identity[2] == pytest.approx(1.0, abs=0.05)
    with pytest.raises(ValueError, match="'landmarks'"):
        other.tracker.restore(replace(known, tracker="landmarks"))
