from __future__ import annotations

import numpy as np
import pytest

from models.face import FaceModel
from models.halo import Halo
from models.mouth import DEEP_M, inner_mouth, tongue_correspondence
from models.params import EXPRESSION_INDEX
from models.teeth import Teeth
from reenact.conditioning import MIN_RIGIDITY
from tests.unit.models.places import places


@pytest.mark.parametrize("part", ["tongue", "walls"])
def test_tongue_and_walls_share_their_texels_with_nothing_that_is_drawn(part: str) -> None:
    model = FaceModel.load()
    tongue, walls = tongue_correspondence(model), inner_mouth(model)
    own, other = tongue[1], walls.correspondence
    if part == "walls":
        own, other = other, own
    own = places(own)
    low, high = own.min(0), own.max(0)
    is_wall = np.zeros(len(model.triangles), bool)
    is_wall[walls.triangles] = True
    is_drawn = model.rigidity[model.triangles].min(1) > MIN_RIGIDITY
    drawn = model.triangles[is_drawn]
    is_outside = ~np.isin(drawn, tongue[0]).any(1) & ~is_wall[is_drawn]
    others = [model.correspondence[np.unique(drawn[is_outside])], Teeth(model).correspondence, Halo().correspondence]
    margin = 2.0 / 256
    for beside in (*(places(each) for each in others), places(other)):
        assert not ((beside > low - margin) & (beside < high + margin)).all(1).any()
    # Nor do its own vertices lie on each other, but for left and right, and what lies in the dark.
    assert len(np.unique(own.round(3), axis=0)) > 120


def test_the_tongue_lies_there_as_it_lies_in_the_mouth() -> None:
    model = FaceModel.load()
    tongue, codes = tongue_correspondence(model)
    assert len(tongue) == 226
    assert (model.mean[tongue, 2] > 0.02).all()
    u, v = places(codes).T
    assert np.corrcoef(u, model.mean[tongue, 0])[0, 1] > 0.999
    assert np.corrcoef(v, model.mean[tongue, 2])[0, 1] > 0.99


def test_the_walls_begin_where_the_lips_meet_and_close_behind() -> None:
    model = FaceModel.load()
    walls = inner_mouth(model)
    points = model.mean[walls.vertices]
    edge = points[walls.depth_m == 0]
    assert np.ptp(edge[:, 1]) < 0.005  # a shut mouth is a line
    assert 0.045 < np.ptp(edge[:, 0]) < 0.055
    assert edge[:, 2].min() > 0.1
    assert points[:, 2].min() < 0.01
    # A bag: but for the lips' edge, each edge has a triangle on both sides.
    corners = model.triangles[walls.triangles]
    sides = np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]), 1)
    open_sides = [side for side, count in zip(*np.unique(sides, axis=0, return_counts=True), strict=True) if count == 1]
    at_lips = np.isin(open_sides, walls.vertices[walls.depth_m == 0]).all(1)
    assert len(edge) <= len(at_lips) < 1.2 * len(edge)
    assert at_lips.all()


def test_what_is_left_in_the_mouth_lies_where_what_is_right_does_and_up_apart_from_down() -> None:
    model = FaceModel.load()
    walls = inner_mouth(model)
    u, v = places(walls.correspondence).T
    mirrored = np.array([
        np.argmin(np.linalg.norm(model.mean[walls.vertices] - [-x, y, z], axis=1))
        for x, y, z in model.mean[walls.vertices]
    ])  # fmt: skip
    near = walls.depth_m < DEEP_M
    off = np.maximum(abs(u - u[mirrored]), abs(v - v[mirrored]))[near]
    assert (off < 0.01).mean() > 0.97
    moves = model.expression_basis[EXPRESSION_INDEX["jawOpen"], walls.vertices, 1]
    lips = walls.depth_m == 0
    lower, upper = lips & (moves < -0.02), lips & (moves > -0.003)
    assert lower.sum() > 5 < upper.sum()
    assert abs(u[lower]).min() > abs(u[upper]).max()
