"""What the face model's levels can show at their best, whoever reads their coefficients.

A crop tells little of a head's shape, so what a network says of a stranger hardly differs from level to level. Here the
coefficients are found from the true head itself: what is left over is what a level cannot show. (In the literature of
morphable models this is their generalization error.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from capture.binding import LandmarkBinding
from capture.formation import FaceFormation
from capture.formation_losses import FormationLosses, LossWeights
from capture.train_tracker.supervision import Truth
from models.face import FaceModel
from models.level_priors import LevelPriors
from models.levels import LEVELS, FaceLevels

Array = NDArray[np.float32]

GEOMETRY_NOISE_M = 3e-4
REFLECTANCE_NOISE = 2e-2
"""How far off a vertex may be before a coefficient has to leave what is usual: the result hardly depends on it."""


@torch.no_grad()
def measure_capacity(
    levels: FaceLevels, model: FaceModel, crops: dict[str, NDArray[Any]]
) -> dict[str, dict[str, float]]:
    """Measure on `held_out_crops`, those that show a face; gives a row for each level, 0 being the fixed bases alone.

    `geometry_mm` is the mean distance of the skin's vertices after rigid alignment, `albedo` the mean absolute error of
    their linear albedo, `photometric` the mean distance of formed from pictured sRGB colour (0 to 1) at the vertices in
    sight, with the true pose, expression, gaze and light. Raises `ValueError` where no crop shows a face.
    """
    is_face = crops["confidence"] > 0.5
    if not is_face.any():
        raise ValueError("levels: no crop shows a face")
    skin = LevelPriors(model).face.numpy()
    heads = crops["vertices"][is_face].astype(np.float32)
    colors = crops["albedo"][is_face].astype(np.float32)
    rows: dict[str, dict[str, float]] = {}
    for level in LEVELS:
        shapes = np.concatenate([model.identity_basis, *levels.geometry[:level]])
        shades = np.concatenate([model.reflectance_basis, *levels.reflectance[:level]])
        near = _nearest(heads - model.mean, shapes, skin / GEOMETRY_NOISE_M, _motions(model.mean))
        alike = _nearest(colors - model.reflectance_mean, shades, skin / REFLECTANCE_NOISE)
        near, alike = model.mean + near, np.clip(model.reflectance_mean + alike, 0.0, 1.0)
        rows[f"level {level}"] = {
            "geometry_mm": float(1e3 * np.linalg.norm((near - heads)[:, skin], axis=2).mean()),
            "albedo": float(np.abs(alike - colors)[:, skin].mean()),
            "photometric": _photometric(model, levels, crops, near, alike),
        }
    return rows


def _motions(mean: Array) -> Array:
    """Give the six small motions `[6, V, 3]` of a rigid head."""
    axes = np.eye(3, dtype=np.float32)
    shifts = np.broadcast_to(axes[:, None], (3, *mean.shape))
    return np.concatenate([shifts, np.cross(axes[:, None], mean[None])]).astype(np.float32)


def _nearest(fields: Array, basis: Array, weight: NDArray[np.float64], free: Array | None = None) -> Array:
    """Give what comes nearest to `fields [N, V, 3]` of a `basis [K, V, 3]` of standard deviations and what is `free`.

    `weight [V]` is one over the error of each vertex that is usual; least squares.
    """
    rows = basis if free is None else np.concatenate([free, basis])
    known = (rows * weight[:, None]).reshape(len(rows), -1).astype(np.float64)
    usual = np.concatenate([np.zeros(len(rows) - len(basis)), np.ones(len(basis))])
    right = (fields * weight[:, None]).reshape(len(fields), -1) @ known.T
    coefficients = np.linalg.solve(known @ known.T + np.diag(usual), right.T)
    return np.asarray(np.tensordot(coefficients.T, rows.astype(np.float64), 1), np.float32)


def _photometric(
    model: FaceModel, levels: FaceLevels, crops: dict[str, NDArray[Any]], heads: Array, colors: Array
) -> float:
    """Average the photometric error of the faces in `crops` with these `heads` and `colors [N, V, 3]`."""
    formation = FaceFormation(model, levels)
    losses = FormationLosses(model, LandmarkBinding.load(), LossWeights())
    errors = []
    for number, head, color in zip(np.flatnonzero(crops["confidence"] > 0.5), heads, colors, strict=True):
        one = {name: values[number : number + 1] for name, values in crops.items()}
        truth = Truth.from_arrays(one, torch.device("cpu"))
        formed = formation(
            torch.from_numpy(head[None]), torch.from_numpy(color[None]), truth.expression, truth.gaze,
            truth.illumination, truth.rotation, truth.translation, truth.focal_px, truth.crop.shape[-1],
        )  # fmt: skip
        errors.append(float(losses.photometric(formed, truth.crop, torch.from_numpy(one["visible"]))))
    return float(np.mean(errors))
