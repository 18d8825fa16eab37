from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from capture import regressor_engines, select_tracker
from capture.regression import RegressionTracker
from capture.select_tracker import Comparison, choose_tracker, make_tracker, refusal
from capture.tracker import Tracker
from models import regressor
from models.regressor import FaceRegressor, RegressorConfig

SMALL = RegressorConfig(size=64, widths=(4, 4, 8, 8), narrow=4, summary_channels=(4, 4), code=(16, 8))


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(regressor, "DEFAULT_PATH", tmp_path / "regressor.safetensors")
    monkeypatch.setattr(select_tracker, "CHOICE_PATH", tmp_path / "tracker_choice.json")
    monkeypatch.setattr(regressor_engines, "AUTO", (("torch", "fp32"),))
    return tmp_path / "regressor.safetensors"


def test_without_weights_the_regressor_is_refused_in_a_sentence() -> None:
    reason = refusal("regressor")
    assert reason is not None
    assert "no weights" in reason
    assert reason.endswith(".")
    with pytest.raises(ValueError, match="no weights"):
        choose_tracker("regressor")
    choice = choose_tracker()
    assert (choice.name, choice.reason) == ("landmarks", "the regressor has no weights here")
    assert refusal("landmarks") is None
    with pytest.raises(ValueError, match="expected one of auto, landmarks, regressor"):
        choose_tracker("abacus")


def test_auto_takes_what_was_measured_to_be_better_of_these_very_weights(weights: Path, tmp_path: Path) -> None:
    FaceRegressor(SMALL).save(weights)
    assert choose_tracker().reason == "the regressor was not measured against it"
    path = tmp_path / "tracker_choice.json"
    Comparison("regressor", "gaze is a third closer", {"gaze_degrees": 2.5}).save(path)
    assert choose_tracker() == select_tracker.TrackerChoice("regressor", "measured: gaze is a third closer")
    loaded = Comparison.load(path)
    assert loaded is not None
    assert loaded.figures == {"gaze_degrees": 2.5}
    FaceRegressor(SMALL).save(weights)
    assert choose_tracker().name == "landmarks"
    assert "other weights" in choose_tracker().reason
    assert choose_tracker("regressor").reason == "asked for"


@pytest.mark.parametrize("content", ["{", "[]", '{"choice": "abacus", "reason": "x"}', '{"choice": "regressor"}'])
def test_a_damaged_comparison_leaves_the_landmarks(weights: Path, tmp_path: Path, content: str) -> None:
    FaceRegressor(SMALL).save(weights)
    (tmp_path / "tracker_choice.json").write_text(content, encoding="utf-8")
    choice = choose_tracker()
    assert choice.name == "landmarks"
    assert "does not hold" in choice.reason


def test_makes_what_was_chosen_and_with_auto_something_that_works(weights: Path, tmp_path: Path) -> None:
    weights.write_bytes(b"damaged")
    Comparison("regressor", "it was", {}).save(tmp_path / "tracker_choice.json")
    with pytest.raises(ValueError, match="holds no regressor"):
        make_tracker("regressor")
    tracker, choice = make_tracker("auto")
    with tracker:
        assert isinstance(tracker, Tracker)
        assert choice.name == tracker.name == "landmarks"
        assert "does not run" in choice.reason
    FaceRegressor(SMALL).save(weights)
    tracker, choice = make_tracker("regressor")
    with tracker:
        assert isinstance(tracker, RegressionTracker)
        assert choice.name == tracker.name == "regressor"
    Comparison("both", "they gain", {}).save(tmp_path / "tracker_choice.json")
    for name in ("auto", "both"):
        tracker, choice = make_tracker(name)
        with tracker:
            assert isinstance(tracker, Tracker)
            assert (choice.name, tracker.name) == ("both", "landmarks")
            # One who looks at nothing for a while: the network is asked once it is known where the face is.
            assert tracker.process(np.zeros((480, 640, 3), np.uint8), 0.0).state == "absent"
