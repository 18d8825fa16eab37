from __future__ import annotations

import numpy as np
import pytest

from models.face import look_weights
from models.params import EXPRESSION_INDEX, EXPRESSION_NAMES, FaceParams
from reenact.face_change import LIMITS, FaceChange


def changed(**values: float) -> FaceParams:
    return FaceChange.of(values).apply(FaceParams.neutral())


def test_every_name_moves_the_face_and_nothing_changes_without_one() -> None:
    rest = FaceParams.neutral()
    assert FaceChange().apply(rest) is rest
    for name in LIMITS:
        moved = FaceChange.of({name: LIMITS[name] / 2}).apply(rest)
        assert not np.array_equal(moved.pack(), rest.pack()), name


def test_numbers_have_the_units_they_say() -> None:
    face = changed(yaw=10, pitch=-5, roll=3, x=2, z=-10, jawOpen=0.4, blink=0.5, gazeYaw=20)
    np.testing.assert_allclose(np.rad2deg(face.rotation), [10, -5, 3], atol=1e-3)
    np.testing.assert_allclose(face.translation, [0.02, 0, -0.7], atol=1e-6)
    assert face.expression[EXPRESSION_INDEX["jawOpen"]] == pytest.approx(0.4)
    assert face.expression[EXPRESSION_INDEX["eyeBlinkLeft"]] == pytest.approx(0.5)
    np.testing.assert_allclose(np.rad2deg(face.gaze), [[20, 0], [20, 0]], atol=1e-4)


@pytest.mark.parametrize("name", [name for name in EXPRESSION_NAMES if name.startswith("eyeLook")])
def test_where_eyes_look_by_shapes_is_where_their_lids_follow(name: str) -> None:
    face = changed(**{name: 0.5})
    weights = look_weights(face.gaze)
    assert weights[EXPRESSION_INDEX[name]] == pytest.approx(0.5, abs=1e-5)
    assert np.count_nonzero(weights > 1e-6) == 1


def test_turns_follow_one_another_and_shapes_stay_within_their_range() -> None:
    face = FaceChange.of({"yaw": 30, "mouthPucker": -1, "jawOpen": 1}).apply(changed(yaw=20, jawOpen=0.5))
    assert np.rad2deg(face.rotation[0]) == pytest.approx(50, abs=1e-3)
    assert (face.expression.min(), face.expression.max()) == (0.0, 1.0)


@pytest.mark.parametrize(("name", "reach"), [("jawOpen", 1.0), ("browInnerUp", 2.0), ("mouthPucker", 2.0)])
def test_one_is_as_far_as_people_go(name: str, reach: float) -> None:
    index = EXPRESSION_INDEX[name]
    assert changed(**{name: 1.0}).expression[index] == pytest.approx(reach)
    assert changed(**{name: 0.4}).expression[index] == pytest.approx(0.4 * reach)
    assert FaceChange.of({name: 0.9}).apply(changed(**{name: 0.9})).expression[index] == pytest.approx(reach)


def test_what_is_too_much_is_brought_to_the_limit() -> None:
    assert FaceChange.of({"yaw": 1e6, "jawOpen": -7}).values == {"yaw": 60.0, "jawOpen": -1.0}


@pytest.mark.parametrize(
    "values", [None, [], {"ear": 1}, {"yaw": "1"}, {"yaw": True}, {"yaw": float("nan")}, {"yaw": float("inf")}, {3: 1}]
)
def test_nonsense_is_refused(values: object) -> None:
    with pytest.raises(ValueError, match="values"):
        FaceChange.of(values)


def test_between_two_changes() -> None:
    mixed = FaceChange({"yaw": 10.0}).blend(FaceChange({"jawOpen": 0.8}), 0.25)
    assert mixed.values == pytest.approx({"jawOpen": 0.2, "yaw": 7.5})
