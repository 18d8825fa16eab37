"""Fit a target's reflectance and illumination to its pictures: light and albedo in turn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.face import FaceModel
from models.illumination import sh_basis, srgb_to_linear, vertex_normals
from models.params import REFLECTANCE_SIZE, FaceParams
from models.rasterize import Rasterizer
from reenact.dataset import Recording

Array = NDArray[np.float32]

ALBEDO_NOISE = 0.05
"""Expected misfit of albedo in linear light (hair, shadows, highlights): weighs the unit prior on reflectance."""
GRAZING = 0.3
"""Vertices that turn further from the camera than this cosine are not used."""


def fit_appearance(model: FaceModel, recording: Recording, *, frames: int = 24, rounds: int = 6) -> FaceParams:
    """Fit one reflectance and one light to a spread of training pictures; gives one `FaceParams` that holds them.

    Uses only skin that is seen. The light is the actor's: spherical harmonics in the view frame.
    """
    chosen = recording.training[np.linspace(0, len(recording.training) - 1, frames).astype(int)]
    seen, colors, bases = [], [], []
    for frame in chosen:
        is_seen, color, basis = _observe(model, recording, int(frame))
        seen.append(is_seen)
        colors.append(color)
        bases.append(basis)
    albedo = model.reflectance_mean.copy()
    reflectance = np.zeros(REFLECTANCE_SIZE)
    illumination = np.zeros((3, 9))
    for _ in range(rounds):
        rows = np.concatenate(bases)
        target = np.concatenate(colors)
        for channel in range(3):
            a = rows * np.concatenate([albedo[index, channel] for index in seen])[:, None]
            weight = _robust(a @ illumination[channel] - target[:, channel]) if illumination.any() else np.ones(len(a))
            left = (a * weight[:, None]).T @ a + 1e-3 * len(a) * np.diag([0.0] + [0.02] * 8)
            illumination[channel] = np.linalg.solve(left, (a * weight[:, None]).T @ target[:, channel])
        gram, right = np.eye(REFLECTANCE_SIZE) * ALBEDO_NOISE**2 * frames, np.zeros(REFLECTANCE_SIZE)
        for index, color, basis in zip(seen, colors, bases, strict=True):
            light = np.maximum(basis @ illumination.T, 0.0)
            jacobian = (model.reflectance_basis[:, index] * light).reshape(REFLECTANCE_SIZE, -1)
            miss = (color - model.reflectance_mean[index] * light).ravel()
            weight = _robust(miss - reflectance @ jacobian)
            gram += (jacobian * weight) @ jacobian.T
            right += (jacobian * weight) @ miss
        reflectance = np.linalg.solve(gram, right)
        albedo = model.albedo(reflectance.astype(np.float32))
    return recording.params[int(chosen[0])].replace(
        reflectance=np.clip(reflectance, -3.5, 3.5).astype(np.float32), illumination=illumination.astype(np.float32)
    )


def _robust(residual: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weigh residuals so that hair, teeth and highlights do not pull (Geman-McClure at 0.12 linear)."""
    return np.asarray(1.0 / (1.0 + (residual / 0.12) ** 2) ** 2)


def _observe(model: FaceModel, recording: Recording, frame: int) -> tuple[NDArray[np.int64], Array, Array]:
    """Find the skin vertices seen in a picture: indices `[K]`, linear colours `[K, 3]`, harmonics `[K, 9]`."""
    params = recording.params[frame]
    camera = recording.camera
    picture = srgb_to_linear(recording.picture(frame, camera.width).astype(np.float32) / 255.0)
    vertices = model.view_vertices(params, recording.neutral(model))
    normals = vertex_normals(vertices, model.triangles)
    pixels = camera.project(vertices)
    rasterizer = Rasterizer(model.triangles, camera.height, camera.width)
    rasterizer.draw(pixels, -vertices[:, 2])
    drawn = np.zeros(len(vertices), bool)
    drawn[model.triangles[np.unique(rasterizer.face[rasterizer.face >= 0])]] = True
    facing = -(normals * vertices).sum(1) / np.linalg.norm(vertices, axis=1)
    column, row = np.floor(pixels).astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
    is_skin = (model.eye_angle > 3.0) & (model.rigidity > 0.9) & (model.reflectance_basis.std((0, 2)) > 1e-4)
    index = np.flatnonzero(drawn & (facing > GRAZING) & inside & is_skin)
    return index, picture[row[index], column[index]], sh_basis(normals[index]).astype(np.float32)
