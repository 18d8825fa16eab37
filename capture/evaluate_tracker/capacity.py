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
from models.face import FaceModel, projection
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
    faces = {name: values[is_face] for name, values in crops.items()}
    formation, losses = FaceFormation(model), FormationLosses(model, LandmarkBinding.load(), LossWeights())
    skin = losses.priors.face.numpy()
    heads, colors = faces["vertices"].astype(np.float32), faces["albedo"].astype(np.float32)
    shapes, shades = [_motions(model.mean), model.identity_basis], [model.reflectance_basis]
    near, alike = [], []
    for level in LEVELS:
        shape = _nearest(heads - model.mean, [*shapes, *levels.geometry[:level]], skin, GEOMETRY_NOISE_M)
        shade = _nearest(
            colors - model.reflectance_mean, [*shades, *levels.reflectance[:level]], skin, REFLECTANCE_NOISE
        )
        near.append(model.mean + shape)
        alike.append(np.clip(model.reflectance_mean + shade, 0.0, 1.0))
    off = np.zeros((len(heads), len(LEVELS)))
    for k in range(len(heads)):
        one = {name: values[k : k + 1] for name, values in faces.items()}
        truth, visible = Truth.from_arrays(one, torch.device("cpu")), torch.from_numpy(one["visible"])
        for level in LEVELS:
            formed = formation(
                torch.from_numpy(near[level][k : k + 1]), torch.from_numpy(alike[level][k : k + 1]), truth.expression,
                truth.gaze, truth.illumination, truth.rotation, truth.translation, truth.focal_px, truth.crop.shape[-1],
            )  # fmt: skip
            off[k, level] = losses.photometric(formed, truth.crop, visible)
    return {
        f"level {level}": {
            "geometry_mm": float(1e3 * np.linalg.norm((near[level] - heads)[:, skin], axis=2).mean()),
            "albedo": float(np.abs(alike[level] - colors)[:, skin].mean()),
            "photometric": float(off[:, level].mean()),
        }
        for level in LEVELS
    }


def _motions(mean: Array) -> Array:
    """Give the six small motions `[6, V, 3]` of a rigid head, by a metre and a radian: none of them is unusual."""
    axes = np.eye(3, dtype=np.float32)
    shifts = np.broadcast_to(axes[:, None], (3, *mean.shape))
    return np.concatenate([shifts, np.cross(axes[:, None], mean[None])]).astype(np.float32)


def _nearest(fields: Array, bases: list[Array], skin: NDArray[np.bool_], noise: float) -> Array:
    """Give what comes nearest on the `skin` to `fields [N, V, 3]`, out of `bases [K, V, 3]` of standard deviations."""
    basis = np.concatenate(bases)
    found = fields.reshape(len(fields), -1) @ projection(basis, skin.astype(np.float32), noise**2).T
    return np.asarray(np.tensordot(found, basis, 1), np.float32)
