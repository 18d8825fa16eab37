from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.body import Body
from models.camera import rotation_matrix
from models.face import FaceModel
from models.halo import (
    BODY_BOTTOM_M,
    BODY_HALF_WIDTH_M,
    BOTTOM_M,
    CELLS,
    DIRECTIONS,
    HALF_WIDTH_M,
    HEAD_ROWS_M,
    MIDDLE_M,
    NECK_M,
    ROWS_M,
    TOP_M,
    VIEW_TERMS,
    Halo,
    Outline,
    view_of,
)
from tests.unit.models.places import places


def test_the_card_reaches_around_every_head_and_down_to_the_shoulders() -> None:
    halo, model = Halo(), FaceModel.load()
    x, y = halo.points[:, 0], halo.points[:, 1]
    np.testing.assert_allclose([y.min(), y.max()], [BODY_BOTTOM_M, TOP_M])
    is_of_head = y > BOTTOM_M - 1e-6
    low, high = halo.points[is_of_head].min(0), halo.points[is_of_head].max(0)
    assert (low[:2] < model.mean.min(0)[:2]).all()
    assert (high[:2] > model.mean.max(0)[:2] + 0.05).all()
    np.testing.assert_allclose([x[y >= 0.0].max(), x.max()], [HALF_WIDTH_M, BODY_HALF_WIDTH_M])
    width = np.array([np.ptp(x[y == height]) for height in np.unique(y)])
    assert (np.diff(width) <= 0.0).all()


def test_a_card_of_before_ends_below_the_chin() -> None:
    halo = Halo(rows_m=HEAD_ROWS_M)
    low, high = halo.points.min(0), halo.points.max(0)
    np.testing.assert_allclose([low[0], high[0], low[1], high[1]], [-HALF_WIDTH_M, HALF_WIDTH_M, BOTTOM_M, TOP_M])
    np.testing.assert_array_equal(halo.correspondence, Halo().correspondence)


def test_it_is_seen_from_the_front() -> None:
    halo = Halo()
    a, b, c = (halo.points[halo.triangles[:, corner]] for corner in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()


def test_each_place_has_a_texel_of_its_own_behind_the_face() -> None:
    halo = Halo()
    u, v = places(halo.correspondence).T
    row = np.repeat(np.arange(CELLS[0] + 1), CELLS[1] + 1)
    across = halo.points[:, 0] / ROWS_M[1, row]
    assert (np.abs(u) > 0.54).all()  # the face has the texture's middle
    for side in (across > 1e-6, across < -1e-6):
        # evenly: columns of the card are columns of the texture, and rows are rows
        assert np.ptp(np.abs(u[side]) + np.abs(across[side]) * 0.45) < 0.02
    assert np.corrcoef(v, row)[0, 1] > 0.9999
    # Where hair is, a texel is hardly higher than the 1.6 mm of a card that has no shoulders.
    is_hair = (halo.points[:, 1] > BOTTOM_M) & (halo.points[:, 1] < 0.17)
    slope, _ = np.polyfit(halo.points[is_hair, 1], v[is_hair] / 2.0 * 256.0, 1)
    assert 1.0 / slope < 0.0019
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


def test_a_texel_knows_its_place() -> None:
    halo, size = Halo(), (256, 384)
    assert np.diff(halo.rows_m[0]).min() > 0.0
    column, row = ((places(halo.correspondence) + 1.0) / 2.0 * size[::-1] - 0.5).round().astype(int).T
    texels = halo.texels(size)
    off = texels[row.clip(0, 255), column.clip(0, 383)] - halo.points[:, :2]
    # A texel of hair is 1.8 mm high and 2.1 mm wide, and of shoulders up to 15 and 3.7; the middle column lies at
    # either edge of the texture.
    is_beside = np.abs(halo.points[:, 0]) > 1e-6
    is_hair = (halo.points[:, 1] > -0.1) & (halo.points[:, 1] < 0.16)
    assert np.nanmax(np.abs(off)[is_beside & is_hair]) < 0.0022
    assert np.nanmax(np.abs(off)[is_beside]) < 0.0152
    assert np.isnan(texels[:, size[1] // 2]).all()


def on_axis(rotation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the translation by which the card's middle lies straight ahead."""
    return np.array([0.0, 0.0, -0.6], np.float32) - rotation_matrix(rotation) @ np.array(MIDDLE_M, np.float32)


def test_a_view_is_against_the_line_of_sight() -> None:
    turned = np.array([0.2, -0.1, 0.3], np.float32)
    np.testing.assert_allclose(view_of(turned, on_axis(turned)), turned[:2], atol=1e-5)
    # Half a metre aside, looking straight on, it is seen from the side.
    aside = view_of(np.zeros(3, np.float32), np.array([0.5, 0.0, -0.6], np.float32))
    assert abs(aside[0]) > 0.6


def test_it_grows_with_the_view_as_far_as_is_known() -> None:
    growth = np.zeros((VIEW_TERMS, DIRECTIONS), np.float32)
    growth[0, DIRECTIONS // 4] = 0.5  # straight up, by yaw
    halo = Halo(outline=Outline(growth, np.array([[0.1, 0.0], [-0.2, -0.2], [0.4, 0.2]], np.float32)))

    def factors(yaw: float) -> NDArray[np.float32]:
        turned, middle = np.array([yaw, 0.0, 0.0], np.float32), np.array(MIDDLE_M, np.float32)
        grown, first = halo.placed(turned, on_axis(turned)) - middle, halo.points - middle
        return np.asarray(np.linalg.norm(grown, axis=1) / np.linalg.norm(first, axis=1).clip(1e-9))

    up = np.flatnonzero((np.abs(halo.points[:, 0]) < 1e-6) & (halo.points[:, 1] > MIDDLE_M[1] + 0.01))
    down = np.flatnonzero(halo.points[:, 1] < MIDDLE_M[1] - 0.01)
    np.testing.assert_allclose(factors(0.1)[up], 1.0, atol=1e-5)
    np.testing.assert_allclose(factors(0.3)[up], np.exp(0.1), rtol=1e-4)
    np.testing.assert_allclose(factors(0.9)[up], np.exp(0.15), rtol=1e-4)
    np.testing.assert_allclose(factors(0.3)[down], 1.0, atol=1e-5)
    turned = np.array([0.7, 0.1, 0.2], np.float32)
    np.testing.assert_allclose(Halo().placed(turned, on_axis(turned)), Halo().points, atol=1e-6)


def test_its_lower_end_stays_with_the_body() -> None:
    rest = np.array([[0.1, -0.05, 0.02], [0.01, 0.02, -0.6]], np.float32)
    body = Body(rest, 0.8)
    halo = Halo(body=body)
    turn, place = np.array([0.4, 0.2, -0.1], np.float32), np.array([0.03, 0.0, -0.7], np.float32)
    posed = halo.points @ rotation_matrix(turn).T + place
    held = halo.hold(posed, halo.points, halo.rigidity, turn, place)
    bottom, top = halo.points[:, 1] <= NECK_M[0], halo.points[:, 1] >= NECK_M[1]
    assert bottom.sum() >= 5 * (CELLS[1] + 1)
    np.testing.assert_allclose(held[bottom], body.carry(halo.points, turn, place)[bottom], atol=1e-6)
    np.testing.assert_allclose(held[top], posed[top], atol=1e-6)
    # In between it goes over without a step.
    share = halo.rigidity.reshape(CELLS[0] + 1, CELLS[1] + 1)[:, 0]
    assert (np.diff(share) >= 0.0).all()
    assert np.abs(np.diff(share)).max() < 0.5
    np.testing.assert_array_equal(Halo().hold(posed, halo.points, halo.rigidity, turn, place), posed)


def test_its_codes_say_what_is_of_the_body() -> None:
    model = FaceModel.load()
    for halo in (Halo(), Halo(rows_m=HEAD_ROWS_M)):
        is_body = halo.of_body(halo.correspondence.T.astype(np.float16).astype(np.float32))
        np.testing.assert_array_equal(is_body, halo.rigidity < 1.0)
    seen = model.correspondence[model.mean[:, 2] > 0.0]
    assert not Halo().of_body(seen.T).any()
