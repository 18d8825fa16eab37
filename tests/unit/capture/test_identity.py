from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from capture.fitting import Fitter
from capture.identity import FRAMES_PER_BIN, IdentityEstimator
from models.camera import Camera
from models.face import FaceModel
from tests.unit.capture.conftest import Points, head


def shape_error_m(model: FaceModel, identity: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Mean distance over the front of the face, with position and size taken out: one camera tells neither."""
    front = (model.mean[:, 2] > 0.05) & (model.rigidity > 0.99)
    a = model.neutral(identity.astype(np.float32))[front]
    b = model.neutral(truth.astype(np.float32))[front]
    a, b = a - a.mean(0), b - b.mean(0)
    return float(np.linalg.norm(a * (a * b).sum() / (a * a).sum() - b, axis=1).mean())


def test_a_turning_head_tells_who_it_is(model: FaceModel, fitter: Fitter, project: Points, camera: Camera) -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(0, 1, 80)
    estimator = IdentityEstimator(fitter)
    for step in range(40):
        rotation = (0.45 * np.sin(step / 4), 0.2 * np.sin(step / 7), 0.0)
        found = project(head(identity=truth, rotation=rotation), noise_px=0.5, seed=step)
        fit = fitter.fit(found.points_px, camera)
        estimator.update(found.points_px, camera, fit, step * 0.25)
        fitter.set_identity(estimator.target)
    assert shape_error_m(model, estimator.target, truth) < 0.6 * shape_error_m(model, np.zeros(80), truth)
    assert np.abs(estimator.target).max() < 4.0


def test_sitting_still_is_soon_no_news(fitter: Fitter, project: Points, camera: Camera) -> None:
    estimator = IdentityEstimator(fitter)
    found = project(head())
    news = [
        estimator.update(found.points_px, camera, fitter.fit(found.points_px, camera), index / 30)
        for index in range(300)
    ]
    assert sum(news) == FRAMES_PER_BIN
    assert not any(news[60:])


def test_frames_that_fit_badly_are_not_heard(fitter: Fitter, project: Points, camera: Camera) -> None:
    estimator = IdentityEstimator(fitter)
    points = project(head(), noise_px=30.0).points_px
    assert not estimator.update(points, camera, fitter.fit(points, camera), 0.0)
    np.testing.assert_array_equal(estimator.target, np.zeros(80))
