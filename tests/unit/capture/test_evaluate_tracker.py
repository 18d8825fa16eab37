"""The measures of `reenact evaluate-tracker`, on series whose answer is known."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from capture.binding import LandmarkBinding
from capture.evaluate_tracker import command as evaluate_tracker
from capture.evaluate_tracker.capacity import measure_capacity
from capture.evaluate_tracker.clips import (
    Clip,
    follow,
    hide_by_hand,
    jitter,
    leave_and_return,
    measure_clip,
    recovery_ms,
    still_frames,
)
from capture.evaluate_tracker.command import compare, mean_of_clips
from capture.evaluate_tracker.crops import measure_crops
from capture.evaluate_tracker.sequences import compare_on_sequences, errors, errors_from_rest, perform_person
from capture.evaluate_tracker.weights import fresh_weights, load_weights
from capture.mesh import Mesh
from capture.synthetic import SyntheticConfig, SyntheticFaces, collate
from capture.track import State, Track
from models.camera import Camera
from models.face import FaceModel
from models.levels import FaceLevels
from models.params import EXPRESSION_INDEX, EXPRESSION_SIZE, FaceParams

SIZE = (240, 320)


class Known:
    """Knows what it should say of each frame, and says it; without a face after a frame that is none."""

    def __init__(self, params: list[FaceParams], delay: int = 0, *, sees: bool = True) -> None:
        self._sees = sees
        self._params, self._delay, self._number, self._lost_until = params, delay, 0, -1
        self.resets = 0

    def reset(self) -> None:
        self._number, self._lost_until = 0, -1
        self.resets += 1

    def process(self, image: NDArray[np.uint8], time_s: float, camera: Camera | None = None) -> Track:
        number = self._number
        self._number += 1
        if not self._sees or not image.any():
            self._lost_until = number + self._delay
        state: State = "tracked" if number > self._lost_until else "holding"
        return Track(self._params[number], state, 1.0, 1, FaceParams.neutral(), None)


@pytest.fixture(scope="module")
def faces(model: FaceModel) -> SyntheticFaces:
    return SyntheticFaces(SyntheticConfig(split="test"), model)


@pytest.fixture(scope="module")
def clip(model: FaceModel, binding: LandmarkBinding) -> tuple[Clip, list[FaceParams]]:
    frames = [np.full((*SIZE, 3), 100, np.uint8) for _ in range(130)]
    camera = Camera.webcam(SIZE[1], SIZE[0])
    params = [FaceParams.neutral(distance_m=0.9)] * len(frames)
    points = np.stack([Mesh(model, binding).project(one, camera) for one in params]).astype(np.float64)
    return Clip("still", frames, [k / 30 for k in range(len(frames))], points), params


def test_jitter_is_the_deviation_of_the_noise() -> None:
    rng = np.random.default_rng(0)
    drift = np.arange(200)[:, None, None] * 0.3
    noisy = drift + rng.normal(0, 0.5, (200, 478, 2))
    still = np.ones(200, bool)
    assert jitter(noisy, still) == pytest.approx(0.5 * math.sqrt(2), rel=0.02)  # two coordinates
    assert jitter(np.broadcast_to(drift, noisy.shape), still) == pytest.approx(0.0, abs=1e-9)
    assert math.isnan(jitter(noisy, np.zeros(200, bool)))


def test_still_frames_are_those_without_motion() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 200, (478, 2)) + np.zeros((120, 1, 1))
    points[60:] += (np.arange(60) * 2.0)[:, None, None]
    points = points + rng.normal(0, 0.3, points.shape)
    still = still_frames(points, unit_px=60.0)
    assert still[15:45].all()
    assert not still[65:105].any()


def test_who_says_the_truth_has_no_error_and_recovers_at_once(
    model: FaceModel, clip: tuple[Clip, list[FaceParams]]
) -> None:
    known = Known(clip[1])
    table = measure_clip(clip[0], {"known": known}, model)
    row = table["known"]
    assert row["tracked"] == 1.0
    assert row["reprojection_percent"] < 1e-3
    assert row["jitter_percent"] < 1e-6
    assert row["recovery_absence_ms"] == 0.0
    assert row["frozen_percent"] < 1e-6
    assert known.resets == 4


def test_recovery_is_counted_from_the_first_whole_frame(
    model: FaceModel, binding: LandmarkBinding, clip: tuple[Clip, list[FaceParams]]
) -> None:
    mesh = Mesh(model, binding)
    slow = Known(clip[1], delay=3)
    reference = follow(clip[0], slow, mesh)
    frames, back = leave_and_return(clip[0])
    frames = [frame if k >= back or k < back - 20 else np.zeros_like(frame) for k, frame in enumerate(frames)]
    again = follow(clip[0], slow, mesh, frames)
    assert recovery_ms(again, reference, back, clip[0]) == pytest.approx(100.0)
    assert recovery_ms(np.full_like(again, np.nan), reference, back, clip[0]) == math.inf


def test_a_hand_covers_the_face_for_a_while(clip: tuple[Clip, list[FaceParams]]) -> None:
    frames, back = hide_by_hand(clip[0])
    changed = [k for k, (one, other) in enumerate(zip(frames, clip[0].frames, strict=True)) if (one != other).any()]
    assert changed == list(range(back - 24, back))
    middle = np.round(clip[0].ruler[back - 1].mean(0)).astype(int)
    assert frames[back - 1][middle[1], middle[0], 0] != 100


def test_what_is_always_wrong_by_the_same_is_wrong_at_rest_too() -> None:
    truth = FaceParams.neutral(distance_m=0.5)
    pairs = []
    for k in range(21):
        true = truth.replace(rotation=np.deg2rad([k - 10.0, 0.0, 0.0]).astype(np.float32))
        wrong = 4.0 + (1.0 if k % 2 else -1.0) * (k > 0)
        gaze = np.deg2rad(np.array([[5.0, 2.0], [-5.0, 2.0]])).astype(np.float32)
        turned = np.deg2rad([k - 10.0 + wrong, 0, 0]).astype(np.float32)
        further = np.array([0.0, 0.0, -0.52 if k % 2 else -0.51], np.float32)
        pairs.append((true.replace(rotation=turned, gaze=gaze, translation=further), true))
    row = errors_from_rest(pairs)
    assert row["rotation_from_rest_deg"] == pytest.approx(20 / 21, abs=0.01)
    assert row["gaze_from_rest_deg"] == pytest.approx(0.0, abs=1e-3)
    assert row["translation_from_rest_percent"] == pytest.approx(1.0, abs=0.01)
    assert errors_from_rest([]) == {}


def test_weights_that_follow_are_told_from_those_that_always_say_rest() -> None:
    truth, pairs = FaceParams.neutral(), []
    jaw, brow, smile = (EXPRESSION_INDEX[name] for name in ("jawOpen", "browInnerUp", "mouthSmileLeft"))
    for k in range(20):
        shown, said = np.zeros((2, EXPRESSION_SIZE), np.float32)
        shown[[jaw, brow]] = 0.5 + 0.4 * np.sin([k, 2.0 * k])
        said[jaw], said[smile] = 0.1 + 0.2 * shown[jaw], 0.3 * (k % 2)
        pairs.append((truth.replace(expression=said), truth.replace(expression=shown)))
    assert errors_from_rest(pairs)["expression_r"] == pytest.approx(0.5, abs=0.01)  # 1 of the jaw, 0 of the brow
    assert "expression_r" not in errors_from_rest([(truth, truth)] * 3)


def test_errors_are_in_their_units() -> None:
    truth = FaceParams.neutral(distance_m=0.5)
    said = truth.replace(
        rotation=np.deg2rad([3.0, 0.0, 0.0]).astype(np.float32),
        translation=np.array([0.0, 0.0, -0.51], np.float32),
        gaze=np.deg2rad(np.array([[4.0, 0.0], [6.0, 0.0]])).astype(np.float32),
    )
    row = errors(Track(said, "tracked", 1.0, 1, truth, None), truth)
    assert row["rotation_deg"] == pytest.approx(3.0, abs=0.02)
    assert row["translation_percent"] == pytest.approx(2.0, abs=0.01)
    assert row["gaze_deg"] == pytest.approx(5.0, abs=0.01)
    shut = truth.expression.copy()
    shut[[EXPRESSION_INDEX["eyeBlinkLeft"], EXPRESSION_INDEX["eyeBlinkRight"]]] = 1.0
    row = errors(Track(said, "tracked", 1.0, 1, truth, None), truth.replace(expression=shut))
    assert "gaze_deg" not in row
    assert row["expression"] == pytest.approx(2 / 44)
    assert errors(Track(said, "holding", 0.0, 0, truth, None), truth) == {"tracked": 0.0}


def test_a_video_moves_and_repeats(faces: SyntheticFaces) -> None:
    first, again = (list(perform_person(faces, number=1, frames=3, width=160, height=120)) for _ in range(2))
    assert np.array_equal(first[2].params.pack(), again[2].params.pack())
    assert np.array_equal(first[2].vertices, again[2].vertices)
    assert not np.array_equal(first[0].params.pack(), first[2].params.pack())
    assert np.array_equal(first[0].vertices, first[2].vertices)


def test_a_tracker_on_synthetic_videos(faces: SyntheticFaces) -> None:
    absent = Known([FaceParams.neutral()] * 20, sees=False)
    table = compare_on_sequences(faces, {"absent": absent}, people=1, frames=14)
    assert table["absent"] == {"tracked": 0.0}
    assert set(table) == {"absent", "MediaPipe"}


def test_a_fresh_network_is_measured_all_the_same(model: FaceModel, faces: SyntheticFaces, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = fresh_weights(model)
    groups, blendshapes = measure_crops(weights, model, collate([faces.sample(rng) for _ in range(4)]))
    means = groups["all"]
    assert all(np.isfinite(value) for value in means.values())
    # Levels that change nothing give three times the same.
    assert means["geometry_0_mm"] == means["geometry_2_mm"]
    assert means["photometric_0"] == means["photometric_2"]
    assert len(blendshapes) == 44
    assert all(0.0 <= shape.error <= 2.0 and not abs(shape.r) > 1.0 for shape in blendshapes.values())
    assert not weights.is_trained
    with pytest.raises(FileNotFoundError):
        load_weights(tmp_path, model)


def test_a_level_shows_what_it_holds(model: FaceModel, faces: SyntheticFaces) -> None:
    rng = np.random.default_rng(3)
    crops = collate([faces.sample(rng) for _ in range(4)])
    crops["confidence"][:] = 1.0
    crops["confidence"][3] = 0.0  # whatever it says of a head is not looked at
    crops["vertices"][3] = np.nan
    true, color = crops["vertices"][:3] - model.mean, crops["albedo"][:3] - model.reflectance_mean
    nothing = np.zeros_like(true)
    # Each head itself, ten times as large as usual, so that a tenth of a standard deviation is enough.
    holds = FaceLevels((10.0 * true, nothing), (nothing, 10.0 * color))
    first, second, third = measure_capacity(holds, model, crops).values()
    assert first["geometry_mm"] > 0.2
    assert second["geometry_mm"] == pytest.approx(0.0, abs=0.02)
    assert third["geometry_mm"] == pytest.approx(second["geometry_mm"], abs=1e-3)
    assert first["albedo"] == second["albedo"] > 0.005
    assert third["albedo"] == pytest.approx(0.0, abs=5e-4)
    assert third["photometric"] < first["photometric"]
    crops["confidence"][:] = 0.0
    with pytest.raises(ValueError, match="no crop shows a face"):
        measure_capacity(holds, model, crops)


def test_each_level_that_ships_shows_more_of_heads_it_never_saw(model: FaceModel, faces: SyntheticFaces) -> None:
    rng = np.random.default_rng(0)
    rows = measure_capacity(FaceLevels.load(), model, collate([faces.sample(rng) for _ in range(8)])).values()
    for name in ("geometry_mm", "albedo", "photometric"):
        base, first, second = (row[name] for row in rows)
        assert second < first < base


def report(both: Mapping[str, float] | None = None, /, **regressor: float) -> dict[str, Any]:
    both = both or {}
    good = {"rotation_deg": 1.0, "gaze_deg": 2.0, "expression": 0.05}
    clip = {"reprojection_percent": 4.0, "jitter_percent": 0.1, "recovery_hand_ms": 33.0, "recovery_absence_ms": 33.0}
    mine = {name: regressor.get(name, value) for name, value in clip.items()}
    return {
        "sequences": {
            "landmarks": good,
            "regressor": {name: regressor.get(name, value) for name, value in good.items()},
            "both": {name: both.get(name, value) for name, value in good.items()},
        },
        "clips": {
            "a": {
                "landmarks": clip,
                "regressor": mine,
                "both": {name: both.get(name, value) for name, value in clip.items()},
            }
        },
        "speed": {
            cores: {
                "regressor: frame to parameters": {"median_ms": regressor.get("frame_ms", 1.0)},
                "landmarks: frame to parameters": {"median_ms": 4.0},
                "both: frame to parameters": {"median_ms": both.get("frame_ms", 5.0) if cores == "2" else 9.0},
            }
            for cores in ("1", "2")
        },
    }


def test_the_regressor_is_chosen_only_where_nothing_is_worse() -> None:
    assert compare(report()).choice == "regressor"
    worse = {"gaze_deg": 3.0, "frame_ms": 5.0, "jitter_percent": 0.2, "recovery_hand_ms": math.inf, "expression": 0.1}
    for name, value in worse.items():
        chosen = compare(report(**{name: value}))
        assert chosen.choice == "landmarks"
        assert name in chosen.reason
    json.dumps(dict(compare(report(recovery_hand_ms=math.inf)).figures), allow_nan=False)


def test_both_are_chosen_where_they_gain_and_nothing_is_worse() -> None:
    slow = {"frame_ms": 9.0}
    assert compare(report(**slow)).choice == "landmarks"
    for gain in ({"rotation_deg": 0.8}, {"jitter_percent": 0.05}):
        chosen = compare(report(gain, **slow))
        assert chosen.choice == "both"
        assert next(iter(gain)) in chosen.reason
        assert compare(report(gain)).choice == "regressor"  # it does without landmarks, where it may
    for loss in ({"gaze_deg": 2.5}, {"frame_ms": 8.0}, {"recovery_hand_ms": math.inf}):
        chosen = compare(report({"rotation_deg": 0.8} | loss, **slow))
        assert chosen.choice == "landmarks"
        assert next(iter(loss)) in chosen.reason


def test_means_leave_out_what_was_not_measured() -> None:
    clips = {"a": {"x": {"jitter_percent": math.nan, "n": 1.0}}, "b": {"x": {"jitter_percent": 2.0, "n": 3.0}}}
    assert mean_of_clips(clips) == {"x": {"jitter_percent": 2.0, "n": 2.0}}


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    evaluate_tracker.add_arguments(parser)
    return evaluate_tracker.run(parser.parse_args(list(words)))


def test_the_command_refuses_what_makes_no_sense(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--frames", "3") == 2
    assert command("--write-choice") == 2
    nothing = ("--faces", "0", "--people", "0", "--seconds", "0")
    assert command(*nothing, "--weights", str(tmp_path)) == 1
    assert "missing" in capsys.readouterr().err
    assert command(*nothing, "--video", str(tmp_path / "none.mp4")) == 1
    assert command(*nothing, "--json", "-o", str(tmp_path / "out")) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["clips"] == {}
    assert (tmp_path / "out" / "report.json").is_file()
