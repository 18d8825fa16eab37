from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from capture.personal import Personal
from capture.tracker import Tracker
from models.camera import Camera
from models.face import FaceModel
from models.params import EXPRESSION_INDEX
from tests.unit.capture.conftest import Points, head


def make(tracker: str = "landmarks", **changes: Any) -> Personal:
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {
        "identity": rng.normal(0, 1, 80), "expression": rng.uniform(0, 0.3, 52), "rotation": rng.uniform(-0.2, 0.2, 3),
        "translation": np.array([0.1, 0.0, -0.7]), "gaze": rng.uniform(-0.1, 0.1, (2, 2)), "gain": np.ones(52),
        "offsets": rng.normal(0, 0.002, (478, 3)) if tracker == "landmarks" else None,
    }  # fmt: skip
    values = {k: v if v is None else np.asarray(v, np.float32) for k, v in (values | changes).items()}
    return Personal(tracker=tracker, **values)


@pytest.mark.parametrize("tracker", ["landmarks", "regressor"])
def test_survives_the_way_through_a_browser(tracker: str) -> None:
    personal = make(tracker)
    text = json.dumps(personal.to_json(), separators=(",", ":"))
    assert len(text) < 12_000
    back = Personal.from_json(json.loads(text))
    assert back.tracker == tracker
    assert back.identity == pytest.approx(personal.identity, abs=1e-4)
    assert back.gaze == pytest.approx(personal.gaze, abs=1e-4)
    if personal.offsets is not None:
        assert back.offsets == pytest.approx(personal.offsets, abs=1e-5)


def test_extremes_are_cut_to_what_is_taken_back() -> None:
    personal = make(identity=np.full(80, 40.0), offsets=np.full((478, 3), 1.0))
    assert Personal.from_json(personal.to_json()).identity.max() == 12.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version 1"),
        ({"version": True}, "version 1"),
        ({"tracker": "abacus"}, "tracker"),
        ({"tracker": ["landmarks"]}, "tracker"),
        ({"tracker": "regressor"}, "offsets belong"),
        ({"identity": [0.0] * 79}, "identity must be a list of 80"),
        ({"identity": "0" * 80}, "identity must be a list of 80"),
        ({"identity": [float("nan")] * 80}, "identity must hold"),
        ({"identity": [1e9] * 80}, "identity must hold"),
        ({"gaze": [True, 0, 0, 0]}, "gaze must hold"),
        ({"expression": [None] * 52}, "expression must hold"),
        ({"translation": [0.0, 0.0, 0.5]}, "in front of the camera"),
        ({"offsets": [9999999] * 1434}, "offsets must hold"),
        ({"offsets": None}, "offsets belong"),
        ({"more": 1}, "unknown field 'more'"),
    ],
)
def test_refuses_what_no_server_has_sent(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Personal.from_json(make().to_json() | change)


@pytest.mark.parametrize("values", [None, [], "x", 3])
def test_refuses_what_is_no_object(values: object) -> None:
    with pytest.raises(ValueError, match="calibration"):
        Personal.from_json(values)


def test_a_calibrated_person_is_known_at_once_in_the_next_session(
    model: FaceModel, camera: Camera, project: Points
) -> None:
    weights = np.zeros(52, np.float32)
    weights[EXPRESSION_INDEX["browInnerUp"]] = 0.4
    rest = head(translation=[0.02, 0.0, -0.55], rotation=[0.1, 0.05, 0.0], expression=weights)
    with Tracker(model=model, detects=False) as tracker:
        assert tracker.personal() is None
        tracker.process_landmarks(project(rest), 0.0, camera)
        tracker.calibrate()
        for step in range(1, 90):
            track = tracker.process_landmarks(project(rest), step / 30, camera)
        assert not tracker.is_calibrating
        known = tracker.personal()
    assert known is not None
    with Tracker(model=model, detects=False) as tracker:
        tracker.restore(Personal.from_json(known.to_json()))
        first = tracker.process_landmarks(project(rest), 0.0, camera)
        assert first.neutral.rotation == pytest.approx(track.neutral.rotation, abs=0.01)
        assert first.neutral.translation == pytest.approx(track.neutral.translation, abs=0.005)
        # What the calibration took for rest is no expression here either.
        assert first.params.expression.max() < 0.1
        with pytest.raises(ValueError, match="'regressor'"):
            tracker.restore(make("regressor"))
