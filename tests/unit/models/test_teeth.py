from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.face import FaceModel
from models.params import EXPRESSION_INDEX, EXPRESSION_SIZE, IDENTITY_SIZE
from models.teeth import CODE_ROWS, COLUMNS, ROWS, Teeth

HALF = ROWS * COLUMNS


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return FaceModel.load()


@pytest.fixture(scope="module")
def teeth(model: FaceModel) -> Teeth:
    return Teeth(model)


def expression(**named: float) -> NDArray[np.float32]:
    weights = np.zeros(EXPRESSION_SIZE, np.float32)
    for name, value in named.items():
        weights[EXPRESSION_INDEX[name]] = value
    return weights


def test_the_jaw_carries_the_lower_row_alone(model: FaceModel, teeth: Teeth) -> None:
    moved = teeth.vertices(teeth.mean, expression(jawOpen=1.0)) - teeth.mean
    np.testing.assert_array_equal(moved[:HALF], 0.0)
    # The chin turns about the same hinge, at about the same distance.
    chin = np.argmin(np.linalg.norm(model.mean - [0.0, -0.1028, 0.1097], axis=1))
    drop = model.expression_basis[EXPRESSION_INDEX["jawOpen"], chin, 1]
    assert drop < -0.02
    assert moved[HALF + COLUMNS // 2, 1] == pytest.approx(drop, rel=0.15)
    sideways = teeth.vertices(teeth.mean, expression(jawLeft=1.0)) - teeth.mean
    assert (sideways[HALF:, 0] > 0.001).all() or (sideways[HALF:, 0] < -0.001).all()


def test_what_moves_no_bone_moves_no_tooth(teeth: Teeth) -> None:
    lips = expression(mouthSmileLeft=1.0, mouthUpperUpRight=1.0, mouthFunnel=1.0)
    np.testing.assert_array_equal(teeth.vertices(teeth.mean, lips), teeth.mean)


def test_they_stay_behind_the_lips_of_every_head(model: FaceModel, teeth: Teeth) -> None:
    rng = np.random.default_rng(5)
    lips = np.flatnonzero(np.linalg.norm(model.expression_basis[EXPRESSION_INDEX["mouthPucker"]], axis=1) > 0.004)
    for _ in range(20):
        identity = rng.normal(size=IDENTITY_SIZE).astype(np.float32)
        bands, face = teeth.neutral(identity), model.neutral(identity)
        middle = np.abs(bands[:, 0] - bands[:, 0].mean()) < 0.004
        front = face[lips, 2].max()
        assert 0.003 < front - bands[middle, 2].max() < 0.03
        assert abs(bands[:, 0].mean() - face[lips, 0].mean()) < 0.004


def test_a_head_twice_as_far_from_the_average_moves_them_twice_as_far(teeth: Teeth) -> None:
    identity = np.random.default_rng(6).normal(size=IDENTITY_SIZE).astype(np.float32)
    once, twice = teeth.neutral(identity) - teeth.mean, teeth.neutral(2 * identity) - teeth.mean
    np.testing.assert_allclose(twice, 2 * once, atol=1e-6)
    assert np.abs(once).max() > 1e-4


def test_their_code_is_that_of_nothing_else(model: FaceModel, teeth: Teeth) -> None:
    drawn = np.unique(model.triangles[model.rigidity[model.triangles].min(1) > 0.5])
    assert max(last for _, last in CODE_ROWS) < model.correspondence[drawn, 1].min()
    assert teeth.correspondence.min() > 0.0
    assert teeth.correspondence.max() <= 1.0


def test_each_row_goes_with_what_of_a_persons_own_shape_lies_around_it(model: FaceModel, teeth: Teeth) -> None:
    identity = np.zeros(IDENTITY_SIZE, np.float32)
    up = np.tile(np.array([0.0, 0.002, 0.0], np.float32), (len(model.mean), 1))
    moved = teeth.neutral(identity, up) - teeth.neutral(identity)
    np.testing.assert_allclose(moved, np.tile(up[0], (len(moved), 1)), atol=1e-6)
    chin = np.where((model.mean[:, 1] < -0.0725)[:, None], up, 0.0).astype(np.float32)
    upper, lower = np.split(teeth.neutral(identity, chin) - teeth.neutral(identity), 2)
    assert np.abs(upper).max() < 1e-6
    assert lower[:, 1].min() > 1e-4
    assert np.ptp(lower, axis=0).max() < 1e-6


def test_each_row_rises_by_its_own(teeth: Teeth) -> None:
    identity = np.zeros(IDENTITY_SIZE, np.float32)
    moved = teeth.neutral(identity, rise_m=np.array([-0.004, 0.006], np.float32)) - teeth.neutral(identity)
    upper, lower = np.split(moved, 2)
    np.testing.assert_allclose(upper, np.tile([0.0, -0.004, 0.0], (len(upper), 1)), atol=1e-6)
    np.testing.assert_allclose(lower, np.tile([0.0, 0.006, 0.0], (len(lower), 1)), atol=1e-6)
