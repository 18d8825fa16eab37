from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.face import FaceModel
from models.generator import texture_places
from models.halo import BOTTOM_M, CELLS, HALF_WIDTH_M, TOP_M, Halo


def places(codes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give where codes `[N, 3]` lie in the texture, `[N, 2]`, -1 to 1."""
    return np.asarray(texture_places(torch.from_numpy(codes.T.reshape(1, 3, 1, -1).copy()))[0, 0].numpy())


def test_the_card_reaches_around_every_head() -> None:
    halo, model = Halo(), FaceModel.load()
    low, high = halo.points.min(0), halo.points.max(0)
    np.testing.assert_allclose([low[0], high[0], low[1], high[1]], [-HALF_WIDTH_M, HALF_WIDTH_M, BOTTOM_M, TOP_M])
    assert (low[:2] < model.mean.min(0)[:2]).all()
    assert (high[:2] > model.mean.max(0)[:2] + 0.05).all()


def test_it_is_seen_from_the_front() -> None:
    halo = Halo()
    a, b, c = (halo.points[halo.triangles[:, corner]] for corner in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()


def test_each_place_has_a_texel_of_its_own_behind_the_face() -> None:
    halo = Halo()
    u, v = places(halo.correspondence).T
    x, y = halo.points[:, 0], halo.points[:, 1]
    assert (np.abs(u) > 0.54).all()  # the face has the texture's middle
    for side in (x > 1e-6, x < -1e-6):
        # evenly: columns of the card are columns of the texture
        assert np.ptp(np.abs(u[side]) + np.abs(x[side]) / HALF_WIDTH_M * 0.45) < 0.02
    assert np.corrcoef(v, y)[0, 1] > 0.9999
    model = FaceModel.load()
    seen = places(model.correspondence[model.mean[:, 2] > 0.03])
    assert (np.abs(seen[:, 0]) < 0.5).all()


def test_it_is_cut_to_its_cells() -> None:
    cells = np.zeros(CELLS, bool)
    cells[-1, 0] = True  # the upper left, seen from the front
    halo = Halo(cells)
    assert halo.triangles.shape == (2, 3)
    middle = halo.points[halo.triangles].mean((0, 1))
    assert middle[0] < -0.9 * HALF_WIDTH_M
    assert middle[1] > 0.9 * TOP_M
    with pytest.raises(ValueError, match="cells: expected"):
        Halo(np.ones((3, 3), bool))
