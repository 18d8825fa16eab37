"""Where the learned levels begin: principal components of what synthetic heads have beyond the fixed bases."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.face import FaceModel
from models.level_priors import LevelPriors
from models.levels import FaceLevels, LevelsConfig, round_eyeballs

Array = NDArray[np.float32]

SMOOTHING_STEPS = 30
"""Times that a field takes the mean of its neighbours before it counts as smooth: about 15 mm on the face."""


def first_levels(
    model: FaceModel, config: LevelsConfig, *, identity: Array, vertices: Array, reflectance: Array, albedo: Array
) -> FaceLevels:
    """Take the levels from heads `identity [N, 80]`, `vertices [N, V, 3]`, `reflectance [N, 80]`, `albedo [N, V, 3]`.

    What the fixed bases leave over is split: its smooth part gives level 1, and what level 1 leaves over gives level 2.
    Directions that the heads do not have stay at a small random value, for training to fill.
    """
    shape = vertices.astype(np.float32) - (model.mean + np.tensordot(identity, model.identity_basis, 1))
    color = albedo.astype(np.float32) - (model.reflectance_mean + np.tensordot(reflectance, model.reflectance_basis, 1))
    for start, stop in model.eye_ranges:
        color[:, start:stop] = 0.0
    priors = LevelPriors(model)
    shapes = _two_levels(priors, torch.from_numpy(round_eyeballs(model, shape)), config.geometry, 1e-6)
    colors = _two_levels(priors, torch.from_numpy(color), config.reflectance, 1e-5)
    return FaceLevels((round_eyeballs(model, shapes[0]), round_eyeballs(model, shapes[1])), colors)


def _two_levels(priors: LevelPriors, fields: Tensor, sizes: tuple[int, int], floor: float) -> tuple[Array, Array]:
    smooth = fields
    for _ in range(SMOOTHING_STEPS):
        smooth = smooth - 0.5 * priors.laplacian(smooth)
    first = _components(smooth.flatten(1), sizes[0], floor)
    rest = fields.flatten(1)
    if len(first):
        solution = torch.linalg.lstsq(first.T, rest.T).solution
        rest = rest - solution.T @ first
    second = _components(rest, sizes[1], floor)
    count = fields.shape[1]
    return first.reshape(-1, count, 3).numpy(), second.reshape(-1, count, 3).numpy()


def _components(rows: Tensor, size: int, floor: float) -> Tensor:
    """Give `size` principal directions `[size, D]` of `rows [N, D]`, about zero, each one standard deviation long."""
    generator = torch.Generator().manual_seed(0)
    basis = floor * torch.randn(size, rows.shape[1], generator=generator)
    values, vectors = torch.linalg.eigh((rows @ rows.T).double())
    for k in range(min(size, len(rows) - 1)):
        value = values[-1 - k]
        if value > len(rows) * rows.shape[1] * floor**2:
            direction = (vectors[:, -1 - k].float() @ rows) / value.sqrt().float()
            basis[k] = direction * (value / len(rows)).sqrt().float()
    return basis
