from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.camera import Camera, ray_rotation, rotation_angles, rotation_matrix
from models.options import options
from models.params import EXPRESSION_INDEX, EXPRESSION_NAMES, FaceParams
from reenact.transfer import KNEE, Transfer, TransferSettings, expression_group, mirrored, soft_limit
from tests.unit.reenact.make import make_target

WEBCAM = Camera.webcam(640, 480)
REST = FaceParams.neutral(distance_m=0.6)


def moved(**changes: object) -> FaceParams:
    return REST.replace(**{name: np.asarray(value, np.float32) for name, value in changes.items()})


def expression(**weights: float) -> NDArray[Any]:
    values = np.zeros(len(EXPRESSION_NAMES), np.float32)
    for name, weight in weights.items():
        values[EXPRESSION_INDEX[name]] = weight
    return values


def transferred(source: FaceParams, neutral: FaceParams = REST, **settings: object) -> FaceParams:
    return Transfer(make_target(), TransferSettings(**settings))(source, neutral, WEBCAM)  # type: ignore[arg-type]


def test_a_source_at_rest_shows_the_target_at_rest() -> None:
    odd_rest = moved(
        rotation=[0.3, -0.1, 0.05], translation=[0.1, 0.05, -0.8], gaze=[[0.1, 0], [0.1, 0]],
        expression=expression(eyeBlinkLeft=0.3), identity=np.full(80, 0.5), reflectance=np.full(80, 1.0),
    )  # fmt: skip
    np.testing.assert_allclose(transferred(odd_rest, odd_rest).pack(), make_target().neutral.pack(), atol=1e-5)


def test_identity_reflectance_and_light_are_the_targets() -> None:
    source = moved(identity=np.full(80, 2.0), reflectance=np.full(80, 2.0), illumination=np.full((3, 9), 0.3))
    result, neutral = transferred(source), make_target().neutral
    for name in ("identity", "reflectance", "illumination"):
        np.testing.assert_array_equal(getattr(result, name), getattr(neutral, name))


def test_small_motion_passes_unchanged() -> None:
    source = moved(
        rotation=[0.1, 0.05, -0.08], gaze=[[0.1, -0.05]] * 2, expression=expression(jawOpen=0.4, browInnerUp=0.3)
    )
    result, neutral = transferred(source), make_target().neutral
    turn = rotation_matrix(neutral.rotation).T @ rotation_matrix(result.rotation)
    np.testing.assert_allclose(rotation_angles(turn), source.rotation, atol=1e-3)
    np.testing.assert_allclose(result.gaze - neutral.gaze, source.gaze, atol=1e-6)
    np.testing.assert_allclose(result.expression, source.expression, atol=1e-6)


def test_rotation_is_relative_in_the_frame_of_the_head_at_rest() -> None:
    # A camera at the side sees a head at rest turned by 40 degrees; nodding in front of it is still nodding.
    rest = moved(rotation=[0.7, 0.0, 0.0])
    nod = rotation_matrix(rest.rotation) @ rotation_matrix(np.array([0, 0.2, 0], np.float32))
    result = transferred(moved(rotation=rotation_angles(nod)), rest)
    turn = rotation_matrix(make_target().neutral.rotation).T @ rotation_matrix(result.rotation)
    np.testing.assert_allclose(rotation_angles(turn), [0, 0.2, 0], atol=2e-3)


def test_who_faces_the_camera_from_the_side_has_the_target_face_it() -> None:
    target, place = make_target(), np.array([0.08, -0.05, -0.6], np.float32)
    result = transferred(moved(translation=place, rotation=rotation_angles(ray_rotation(place).astype(np.float32))))

    def seen(params: FaceParams) -> NDArray[Any]:
        return ray_rotation(params.translation).T @ rotation_matrix(params.rotation)

    assert np.abs(result.translation - target.neutral.translation).max() > 0.02
    np.testing.assert_allclose(seen(result), seen(target.neutral), atol=2e-3)


@pytest.mark.parametrize("gain", [0.0, 0.5, 1.0, 2.0])
def test_gains_scale_their_own_group(gain: float) -> None:
    shapes = {"mouth": "jawOpen", "brows": "browInnerUp", "eyes": "eyeBlinkLeft"}
    source = moved(expression=expression(jawOpen=0.3, browInnerUp=0.3, eyeBlinkLeft=0.3))
    for group in shapes:
        settings: dict[str, Any] = {f"{group}_gain": gain}
        result = transferred(source, **settings).expression
        for other, shape in shapes.items():
            expected = 0.3 * (gain if other == group else 1.0)
            assert result[EXPRESSION_INDEX[shape]] == pytest.approx(expected, abs=1e-5)
    turned = transferred(moved(rotation=[0.1, 0, 0], gaze=[[0.1, 0]] * 2), rotation_gain=gain, gaze_gain=gain)
    assert turned.rotation[0] - make_target().neutral.rotation[0] == pytest.approx(0.1 * gain, abs=2e-3)
    assert turned.gaze[0, 0] == pytest.approx(0.1 * gain, abs=1e-3)


def test_expression_stays_within_0_and_what_the_target_was_trained_on() -> None:
    result = transferred(moved(expression=expression(jawOpen=1.0)), mouth_gain=2.0).expression
    assert result[EXPRESSION_INDEX["jawOpen"]] == pytest.approx(0.9)
    rest = moved(expression=expression(mouthSmileLeft=0.5))
    assert transferred(REST, rest).expression.min() == 0.0


def test_an_eye_that_is_half_closed_at_rest_still_closes() -> None:
    rest = moved(expression=expression(eyeBlinkLeft=0.4))
    half = transferred(moved(expression=expression(eyeBlinkLeft=0.7)), rest).expression[
        EXPRESSION_INDEX["eyeBlinkLeft"]
    ]
    shut = transferred(moved(expression=expression(eyeBlinkLeft=1.0)), rest).expression[
        EXPRESSION_INDEX["eyeBlinkLeft"]
    ]
    assert half == pytest.approx(0.5)
    assert shut == pytest.approx(0.9)  # the target's limit


@pytest.mark.parametrize("distance_m", [0.4, 0.6, 1.0])
def test_translation_moves_the_same_share_of_the_picture(distance_m: float) -> None:
    rest = FaceParams.neutral(distance_m=distance_m)
    target = make_target()
    shift_px = 12.0
    source = rest.replace(translation=np.array([shift_px / WEBCAM.focal_px * distance_m, 0, -distance_m], np.float32))
    result = transferred(source, rest)
    moved_px = (
        target.camera.project(result.translation[None])[0, 0]
        - target.camera.project(target.neutral.translation[None])[0, 0]
    )
    assert moved_px / target.camera.width == pytest.approx(shift_px / WEBCAM.width, rel=1e-3)
    closer = rest.replace(translation=rest.translation * np.float32(0.98))
    assert transferred(closer, rest).translation[2] / target.neutral.translation[2] == pytest.approx(0.98, rel=1e-4)
    assert transferred(source, rest, translation_gain=0.0).translation == pytest.approx(target.neutral.translation)


def test_pose_never_leaves_the_targets_range_and_keeps_its_order() -> None:
    target, transfer = make_target(), Transfer(make_target())
    yaws = []
    for yaw in np.linspace(0, 1.4, 30):
        for aside in (yaw, 0.0):
            result = transfer(moved(rotation=[yaw, 0, 0], translation=[aside, 0, -0.6]), REST, WEBCAM)
            assert (result.rotation <= target.high["rotation"] + 1e-6).all()
            assert (result.translation <= target.high["translation"] + 1e-6).all()
        yaws.append(result.rotation[0])
    assert (np.diff(yaws) > 0).all()
    assert yaws[-1] > 0.9 * target.high["rotation"][0]


def test_soft_limit_is_the_identity_near_rest_and_smooth_at_the_knee() -> None:
    rest, low, high = np.zeros(1, np.float32), np.full(1, -1, np.float32), np.full(1, 2, np.float32)
    for value in (0.0, 1.39, -0.69):
        assert soft_limit(np.array([value], np.float32), rest, low, high)[0] == pytest.approx(value, abs=1e-6)
    grid = np.linspace(-5, 5, 4001, dtype=np.float32)
    bent = np.array([soft_limit(np.array([v]), rest, low, high)[0] for v in grid], np.float64)
    assert -1.0 <= bent.min() < -0.99
    assert 1.99 < bent.max() <= 2.0
    slope = np.diff(bent) / np.diff(grid)
    assert (slope >= -1e-3).all()
    assert np.abs(np.diff(slope)).max() < 0.05
    assert KNEE == 0.3


def test_a_target_that_never_moved_is_kept_still() -> None:
    rest = np.array([0.2], np.float32)
    assert soft_limit(np.array([5.0], np.float32), rest, rest, rest)[0] == pytest.approx(0.2, abs=1e-6)


def test_mirror_swaps_sides_and_signs() -> None:
    source = moved(
        rotation=[0.3, 0.2, -0.1], translation=[0.05, 0.02, -0.6], gaze=[[0.1, 0.2], [0.3, 0.4]],
        expression=expression(mouthSmileLeft=0.7, jawRight=0.2, jawOpen=0.5),
    )  # fmt: skip
    image = mirrored(source)
    np.testing.assert_allclose(image.rotation, [-0.3, 0.2, 0.1], atol=1e-6)
    np.testing.assert_allclose(image.translation, [-0.05, 0.02, -0.6], atol=1e-7)
    np.testing.assert_allclose(image.gaze, [[-0.3, 0.4], [-0.1, 0.2]], atol=1e-7)
    np.testing.assert_allclose(image.expression, expression(mouthSmileRight=0.7, jawLeft=0.2, jawOpen=0.5))
    np.testing.assert_allclose(mirrored(image).pack(), source.pack(), atol=1e-6)


def test_a_mirrored_target_turns_to_the_other_side() -> None:
    source = moved(rotation=[0.2, 0, 0], translation=[0.02, 0, -0.6], expression=expression(eyeBlinkLeft=0.6))
    plain, image = transferred(source), transferred(source, is_mirrored=True)
    neutral = make_target().neutral
    assert plain.rotation[0] - neutral.rotation[0] == pytest.approx(0.2, abs=0.03)
    assert image.rotation[0] - neutral.rotation[0] == pytest.approx(neutral.rotation[0] - plain.rotation[0], abs=2e-3)
    assert plain.translation[0] == pytest.approx(-image.translation[0])
    assert image.expression[EXPRESSION_INDEX["eyeBlinkRight"]] == pytest.approx(0.6)


def test_settings_apply_from_the_next_frame() -> None:
    transfer, source = Transfer(make_target()), moved(expression=expression(jawOpen=0.4))
    transfer.apply(TransferSettings(mouth_gain=0.5))
    assert transfer(source, REST, WEBCAM).expression[EXPRESSION_INDEX["jawOpen"]] == pytest.approx(0.2)


def test_every_shape_has_a_group_and_every_setting_its_words() -> None:
    groups = {name: expression_group(name) for name in EXPRESSION_NAMES}
    assert set(groups.values()) == {"mouth", "brows", "eyes"}
    assert groups["noseSneerLeft"] == "mouth"
    assert groups["eyeBlinkLeft"] == "eyes"
    described = options(TransferSettings)
    assert all(text.text.endswith(".") for text in described.values())
    assert all((o.minimum, o.maximum) == (0.0, 2.0) for name, o in described.items() if name.endswith("_gain"))
    with pytest.raises(ValueError, match=r"mouth_gain: expected 0\.0 to 2\.0, got 2\.5"):
        TransferSettings(mouth_gain=2.5)
