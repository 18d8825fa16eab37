from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.face import DEFAULT_PATH, LID_CLEARANCE, FaceModel, look_weights
from models.params import EXPRESSION_INDEX, EXPRESSION_NAMES, EXPRESSION_SIZE, FaceParams


@functools.cache
def face() -> FaceModel:
    return FaceModel.load()


def shape_of(**weights: float) -> FaceParams:
    expression = np.zeros(EXPRESSION_SIZE, np.float32)
    for name, weight in weights.items():
        expression[EXPRESSION_INDEX[name]] = weight
    return FaceParams.neutral().replace(expression=expression)


def looking(yaw: float, pitch: float) -> FaceParams:
    return FaceParams.neutral().replace(gaze=np.tile(np.array([yaw, pitch], np.float32), (2, 1)))


def random_params(seed: int) -> FaceParams:
    rng = np.random.default_rng(seed)
    look = [index for index, name in enumerate(EXPRESSION_NAMES) if name.startswith("eyeLook")]
    expression = rng.uniform(0, 0.6, EXPRESSION_SIZE).astype(np.float32)
    expression[look] = 0
    return FaceParams.neutral().replace(
        identity=rng.normal(size=80).astype(np.float32),
        expression=expression,
        gaze=rng.uniform(-0.3, 0.3, (2, 2)).astype(np.float32),
        rotation=rng.uniform(-0.5, 0.5, 3).astype(np.float32),
    )


def test_a_head_has_a_heads_size_and_looks_along_z() -> None:
    model = face()
    skin = model.mean[model.rigidity > 0.99]
    width, height, depth = np.ptp(skin, axis=0)
    assert 0.13 < width < 0.22
    assert 0.18 < height < 0.32
    assert 0.15 < depth < 0.30
    left, right = model.eye_centers(model.mean)
    assert left[0] > 0 > right[0]  # the actor's left is image right
    assert 0.05 < left[0] - right[0] < 0.08
    assert min(left[2], right[2]) > 0  # eyes are in front


def test_it_is_symmetric() -> None:
    left, right = face().eye_centers(face().mean)
    np.testing.assert_allclose(left * [-1, 1, 1], right, atol=5e-4)


def test_triangles_are_closed_around_their_vertices_and_turned_outwards() -> None:
    model = face()
    assert model.triangles.min() == 0
    assert model.triangles.max() == len(model.mean) - 1
    corners = model.mean[model.triangles[np.isin(model.triangles, model.eye_vertices[0]).all(1)]].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outwards = (normals * (corners.mean(1) - model.eye_centers(model.mean)[0])).sum(1)
    assert (outwards > 0).mean() > 0.99


def test_jaw_open_lowers_the_chin_and_a_blink_only_its_own_eye() -> None:
    model = face()
    rest = model.vertices(shape_of())
    opened = model.vertices(shape_of(jawOpen=1.0))
    assert (opened - rest)[:, 1].min() < -0.015
    blink = np.abs(model.vertices(shape_of(eyeBlinkLeft=1.0)) - rest).max(1)
    left, right = model.lid_vertices
    assert blink[left].max() > 0.004
    assert blink[right].max() < 0.2 * blink[left].max()


def test_every_shape_but_the_looks_mirrors_its_other_side() -> None:
    model = face()
    for name in EXPRESSION_NAMES:
        if name.endswith("Left"):
            left = model.expression_basis[EXPRESSION_INDEX[name]]
            right = model.expression_basis[EXPRESSION_INDEX[name.removesuffix("Left") + "Right"]]
            size = np.linalg.norm(left)
            if size > 1e-3:
                assert abs(np.linalg.norm(right) - size) / size < 0.1, name
                # The sums of sideways offsets cancel, the others agree.
                np.testing.assert_allclose((left + right).sum(0)[0], 0, atol=0.15 * np.abs(left).sum(), err_msg=name)


def test_gaze_turns_the_eyeballs_by_exactly_its_angles() -> None:
    model = face()
    yaw, pitch = 0.3, -0.2
    rest, turned = model.vertices(looking(0, 0)), model.vertices(looking(yaw, pitch))
    for eye, (start, _) in enumerate(model.eye_ranges):
        center = model.eye_centers(model.mean)[eye]
        ahead = turned[start] - center
        np.testing.assert_allclose(np.linalg.norm(ahead), np.linalg.norm(rest[start] - center), rtol=1e-4)
        assert np.arctan2(ahead[0], ahead[2]) == pytest.approx(yaw, abs=0.03)
        assert np.arcsin(ahead[1] / np.linalg.norm(ahead)) == pytest.approx(pitch, abs=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_lids_stay_outside_the_eyeballs(seed: int) -> None:
    model, params = face(), random_params(seed)
    neutral = model.neutral(params.identity)
    moved, centers = model.vertices(params), model.eye_centers(neutral)
    for eye, (start, _) in enumerate(model.eye_ranges):
        radius = np.linalg.norm(neutral[start] - centers[eye])
        assert (
            np.linalg.norm(moved[model.lid_vertices[eye]] - centers[eye], axis=1).min() > 0.999 * LID_CLEARANCE * radius
        )


def test_the_compiled_sum_equals_the_plain_one() -> None:
    model, params = face(), random_params(5).replace(gaze=np.zeros((2, 2), np.float32))
    plain = model.mean + np.einsum("k,kva->va", params.identity, model.identity_basis)
    plain = plain + np.einsum("k,kva->va", params.expression, model.expression_basis)
    untouched = np.setdiff1d(np.arange(len(plain)), np.concatenate([*model.lid_vertices, *model.eye_vertices]))
    np.testing.assert_allclose(model.vertices(params)[untouched], plain[untouched], atol=2e-6)


def test_a_known_rest_shape_changes_nothing_and_pose_moves_rigidly() -> None:
    model, params = face(), random_params(7)
    np.testing.assert_array_equal(model.vertices(params), model.vertices(params, model.neutral(params.identity)))
    local, posed = model.vertices(params), model.view_vertices(params)
    np.testing.assert_allclose(
        np.linalg.norm(posed[:100] - posed[100:200], axis=1),
        np.linalg.norm(local[:100] - local[100:200], axis=1),
        atol=1e-5,
    )
    np.testing.assert_allclose(posed.mean(0)[2], -0.6, atol=0.1)


def test_look_weights_follow_gaze_inwards_and_outwards() -> None:
    weights = look_weights(np.array([[0.2, 0.1], [0.2, -0.1]], np.float32))
    named = {name: float(weights[index]) for name, index in EXPRESSION_INDEX.items() if weights[index] > 0}
    assert set(named) == {"eyeLookOutLeft", "eyeLookUpLeft", "eyeLookInRight", "eyeLookDownRight"}
    assert named["eyeLookOutLeft"] == pytest.approx(0.2 / np.deg2rad(30))
    assert look_weights(np.full((2, 2), 9.0, np.float32)).max() == 1.0


def test_albedo_stays_a_colour() -> None:
    albedo = face().albedo(np.full(80, 3.0, np.float32))
    assert 0.0 <= albedo.min() <= albedo.max() <= 1.0


def test_a_model_without_its_bases_is_refused(tmp_path: Path) -> None:
    tensors = load_file(DEFAULT_PATH)
    tensors["expression_basis"] = tensors["expression_basis"][:50]
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"expected expression_basis \[52, V, 3\], got \(50,"):
        FaceModel.load(tmp_path / "model.safetensors")
