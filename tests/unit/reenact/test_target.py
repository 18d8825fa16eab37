from __future__ import annotations

import json

import numpy as np
import pytest

from models.params import EXPRESSION_INDEX, PACKED_SIZE, FaceParams
from reenact.target import PAINTED_REACH, REACH, Target
from tests.unit.reenact.make import make_target


def recording(count: int = 2000) -> FaceParams:
    rng = np.random.default_rng(0)
    params = FaceParams.unpack(np.zeros((count, PACKED_SIZE), np.float32))
    rotation = rng.normal(0.1, 0.2, (count, 3)).astype(np.float32)
    rotation[0] = 50.0  # a frame gone wrong
    expression = np.tile(np.linspace(0, 0.8, count, dtype=np.float32)[:, None], (1, 52))
    return params.replace(rotation=rotation, expression=expression, identity=np.full((count, 80), 0.5, np.float32))


def test_it_rests_at_the_median_pose_without_expression() -> None:
    target = Target.from_recording(recording(), make_target().camera)
    np.testing.assert_allclose(target.neutral.rotation, 0.1, atol=0.02)
    assert not target.neutral.expression.any()
    np.testing.assert_allclose(target.neutral.identity, 0.5)


def test_limits_leave_outliers_out_and_hold_rest() -> None:
    target = Target.from_recording(recording(), make_target().camera)
    assert 0.5 < target.high["rotation"].max() < 1.0
    np.testing.assert_allclose(target.high["expression"], 0.8, atol=0.01)
    for name in target.low:
        rest = getattr(target.neutral, name)
        assert (target.low[name] <= rest).all()
        assert (rest <= target.high[name]).all()


def test_one_may_reach_further_than_it_was_seen_to_but_not_further_than_people() -> None:
    seen = Target.from_recording(recording(), make_target().camera)
    further = Target.from_recording(recording(), make_target().camera, REACH)
    for name in ("rotation", "translation", "gaze"):
        reach = REACH.get(name, np.float32(0.0))
        for gained in (seen.low[name] - further.low[name], further.high[name] - seen.high[name]):
            np.testing.assert_allclose(gained, np.broadcast_to(reach, gained.shape), atol=1e-6)
    assert (further.low["expression"] == 0.0).all()
    smile, brow = EXPRESSION_INDEX["mouthSmileLeft"], EXPRESSION_INDEX["browInnerUp"]
    assert seen.high["expression"][[smile, brow]] == pytest.approx([0.8, 0.8], abs=0.01)
    assert further.high["expression"][[smile, brow]] == pytest.approx([1.0, 1.6], abs=0.01)
    painted = Target.from_recording(recording(), make_target().camera, PAINTED_REACH)
    assert painted.high["expression"][[smile, brow]] == pytest.approx([0.8, 1.6], abs=0.01)


def test_json_brings_it_back() -> None:
    target = make_target()
    again = Target.from_json(json.loads(json.dumps(target.to_json())))
    np.testing.assert_allclose(again.neutral.pack(), target.neutral.pack(), atol=1e-6)
    assert again.camera == target.camera


def test_a_single_frame_is_no_recording() -> None:
    with pytest.raises(ValueError, match="expected a batch of frames"):
        Target.from_recording(FaceParams.neutral(), make_target().camera)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "target: expected camera, neutral, limits, got NoneType"),
        ({"camera": {}}, "target: expected camera, neutral, limits, got camera"),
    ],
)
def test_nonsense_is_refused_by_name(values: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Target.from_json(values)


def test_at_rest_eyes_do_not_squint_and_look_the_same_way() -> None:
    params = recording()
    gaze = np.zeros((len(params.rotation), 2, 2), np.float32)
    gaze[:, 0], gaze[:, 1] = np.deg2rad([-6.0, -4.0]), np.deg2rad([10.0, -4.0])  # 16 degrees inwards
    target = Target.from_recording(params.replace(gaze=gaze), make_target().camera)
    left, right = np.rad2deg(target.neutral.gaze)
    np.testing.assert_allclose(right[0] - left[0], 6.0, atol=1e-4)
    np.testing.assert_allclose((left + right) / 2, [2.0, -4.0], atol=1e-4)
    assert (target.low["gaze"] <= np.deg2rad([[-6.0, -4.0], [5.0, -4.0]]) + 1e-6).all()
    straight = Target.from_recording(params.replace(gaze=gaze / 4), make_target().camera)
    np.testing.assert_allclose(straight.neutral.gaze, gaze[0] / 4, atol=1e-6)
