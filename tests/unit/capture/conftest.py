"""Heads with known parameters: landmarks of them by projection, pictures of them by the binding's own painter."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from capture.binding import LandmarkBinding
from capture.build_binding import draw
from capture.fitting import Fitter
from capture.landmark_model import FREE, Fit
from capture.landmarks import LandmarkDetector, Landmarks
from capture.mesh import Mesh
from models.camera import Camera, rotation_matrix
from models.face import FaceModel
from models.params import FaceParams

CAMERA = Camera.webcam(480, 480)

Points = Callable[..., Landmarks]
Painter = Callable[..., NDArray[np.uint8]]


@pytest.fixture(scope="session")
def model() -> FaceModel:
    return FaceModel.load()


@pytest.fixture(scope="session")
def binding() -> LandmarkBinding:
    return LandmarkBinding.load()


@pytest.fixture(scope="session")
def camera() -> Camera:
    return CAMERA


@pytest.fixture(scope="session")
def mesh(model: FaceModel, binding: LandmarkBinding) -> Mesh:
    return Mesh(model, binding)


@pytest.fixture
def fitter(model: FaceModel, binding: LandmarkBinding) -> Fitter:
    return Fitter(model, binding)


@pytest.fixture(scope="session")
def detector() -> Iterator[LandmarkDetector]:
    with LandmarkDetector() as detector:
        yield detector


def head(**changes: ArrayLike) -> FaceParams:
    """Make the average head 0.6 m away under soft light from above, with some fields replaced."""
    light = np.zeros((3, 9), np.float32)
    light[:, 0], light[:, 2] = 2.8, 0.6
    values = {name: np.asarray(value, np.float32) for name, value in changes.items()}
    return FaceParams.neutral().replace(illumination=light).replace(**values)


@pytest.fixture(scope="session")
def project(model: FaceModel, binding: LandmarkBinding) -> Points:
    """Landmarks as the detector would place them without error, with noise in pixels if asked."""
    known = Fitter(model, binding)

    def landmarks(params: FaceParams, noise_px: float = 0.0, seed: int = 0, num_faces: int = 1) -> Landmarks:
        neutral, centers = known.landmarks.neutral(params.identity.astype(np.float64))
        rotation = rotation_matrix(params.rotation).astype(np.float64)
        translation, gaze = params.translation.astype(np.float64), params.gaze.astype(np.float64)
        fit = Fit(rotation, translation, gaze, params.expression[FREE].astype(np.float64), 0.0)
        points = known.landmarks.landmarks(fit, neutral, centers)
        pixels = CAMERA.project(points.astype(np.float32))
        pixels = pixels + np.random.default_rng(seed).normal(0.0, 1.0, pixels.shape) * noise_px
        depth = (-points[:, 2] + translation[2]) * CAMERA.focal_px / -translation[2]
        return Landmarks(pixels.astype(np.float32), depth.astype(np.float32), num_faces)

    return landmarks


@pytest.fixture(scope="session")
def paint(model: FaceModel) -> Painter:
    def picture(params: FaceParams, camera: Camera = CAMERA) -> NDArray[np.uint8]:
        return draw(model, params, model.neutral(params.identity), camera, np.full(3, 110, np.float32))

    return picture
