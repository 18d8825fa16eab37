from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.camera import Camera, rotation_matrix
from models.halo import DIRECTIONS, MIDDLE_M
from models.params import FaceParams
from reenact.head_outline import _radii, fit_growth

RNG = np.random.default_rng(5)


def turning(frames: int, span: float) -> NDArray[np.float64]:
    """Give views that wander over `span` radians of yaw and half of that in pitch."""
    time = np.linspace(0, 6, frames)
    return np.stack([span * np.sin(time), 0.5 * span * np.cos(1.7 * time)], 1)


def test_growth_is_found_beside_hands_and_edges() -> None:
    views = turning(200, 0.3)
    true = np.zeros((2, DIRECTIONS))
    true[0] = 0.8 * np.sin(np.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS)
    radii = 0.12 * np.exp((views - views.mean(0)) @ true + 0.01 * RNG.normal(size=(200, DIRECTIONS)))
    radii[:40, 10:20] *= 1.6  # a hand beside the head for a while
    radii[:, 50:54] = np.nan  # beyond the picture's edge
    found = fit_growth(radii, views)
    known = np.setdiff1d(np.arange(DIRECTIONS), np.arange(48, 56))
    np.testing.assert_allclose(found.outline.growth[0, known], true[0, known], atol=0.12)
    np.testing.assert_allclose(found.reach_m[known], 0.12, rtol=0.05)
    assert np.isfinite(found.reach_m).all()
    low, high = found.outline.views[1:]
    assert (low < views.min(0)).all()
    assert (high > views.max(0)).all()


def test_a_head_that_hardly_turns_says_little_of_growth() -> None:
    views = turning(200, 0.004)
    radii = np.repeat(0.12 * np.exp(0.03 * RNG.normal(size=(200, 1))), DIRECTIONS, axis=1)
    assert np.abs(fit_growth(radii, views).outline.growth).max() < 0.3


def test_within_the_outline_is_nearer_than_it() -> None:
    radii = np.tile(np.where(np.arange(DIRECTIONS) < DIRECTIONS // 2, 0.15, 0.08), (60, 1))
    found = fit_growth(radii, turning(60, 0.1))
    x, y = MIDDLE_M[:2]
    places = np.array([[x, y + 0.12], [x, y - 0.12], [x, y - 0.05], [np.nan, y]], np.float32)
    assert found.contains(places).tolist() == [True, False, True, False]
    unknown = fit_growth(np.full((60, DIRECTIONS), np.nan), turning(60, 0.1))
    assert not unknown.outline.growth.any()
    assert not unknown.contains(places).any()


@pytest.mark.parametrize("yaw", [0.0, 0.4])
def test_radii_are_those_on_the_card(yaw: float) -> None:
    camera = Camera.webcam(256, 256)
    params = FaceParams.neutral().replace(
        rotation=np.array([yaw, 0.1, 0.2], np.float32), translation=np.array([0.03, 0.0, -0.7], np.float32)
    )
    # A disc of 9 cm on the card itself, as the camera sees it.
    matrix = rotation_matrix(params.rotation).astype(np.float64)
    v, u = np.mgrid[:256, :256] + 0.5
    right, up = u - camera.center_px[0], camera.center_px[1] - v
    rays = np.stack([right / camera.focal_px, up / camera.focal_px, np.full_like(u, -1.0)], -1)
    normal, middle = matrix[:, 2], matrix @ MIDDLE_M + params.translation
    on_card = (rays * ((middle @ normal) / (rays @ normal))[..., None] - params.translation) @ matrix
    disc = (np.hypot(*(on_card - MIDDLE_M)[..., :2].transpose(2, 0, 1)) < 0.09).astype(np.float32)
    radii = _radii(disc, params, camera)
    np.testing.assert_allclose(radii, 0.09, atol=0.004)
    cut = disc.copy()
    cut[:100] = 1.0  # the person fills the picture's upper part: its end is not seen
    assert np.isnan(_radii(cut, params, camera)[DIRECTIONS // 4])
