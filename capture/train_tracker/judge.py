"""How good the regressor and the levels are on synthetic faces that training never sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from capture.formation import FaceFormation
from capture.train_tracker.supervision import FREE, LIDS, Truth, rotation_angle, same_size, seen_eyes, sight_angle
from models.level_priors import LevelPriors
from models.levels import LEVELS
from models.regressor import FaceRegressor, Regressed

MIN_SEEN = 0.3
"""Sight of both eyes together below which a face does not count for gaze."""


@torch.no_grad()
def judge(
    regressor: FaceRegressor, formation: FaceFormation, faces: Mapping[str, NDArray[Any]], chunk: int = 64
) -> dict[str, float]:
    """Measure on `faces`, a dict of arrays of `capture.synthetic`: means over faces, in the units of the names.

    Geometry is compared on the skin of the face after rigid alignment (`geometry`), and after alignment of size as well
    (`shape`), for one picture hardly says how large a head is; albedo as mean absolute error. Gaze counts as far as an
    eye can be seen. `confidence` is the share of crops, faces and others, that it sorts rightly, and `expression_r` the
    mean over blendshapes of `correlation`.
    """
    device = formation.mean.device
    skin = LevelPriors(formation.model).face.to(device)
    rows: list[dict[str, Tensor]] = []
    right: list[Tensor] = []
    weights: list[Tensor] = []
    count = len(faces["confidence"])
    for start in range(0, count, chunk):
        truth = Truth.from_arrays({name: values[start : start + chunk] for name, values in faces.items()}, device)
        said = regressor.split(regressor(truth.crop.contiguous(memory_format=torch.channels_last)))
        right.append((said.confidence > 0) == (truth.confidence > 0.5))
        row = measure(formation, said, truth, skin)
        rows.append({name: values[truth.confidence > 0.5] for name, values in row.items()})
        weights.append(torch.stack([said.expression, truth.expression])[:, truth.confidence > 0.5])
    results = {name: float(torch.cat([row[name] for row in rows]).nanmean()) for name in rows[0]}
    told = float(correlation(*torch.cat(weights, 1)[..., FREE]).nanmean())
    return results | {"confidence": float(torch.cat(right).float().mean()), "expression_r": told}


def correlation(said: Tensor, truth: Tensor) -> Tensor:
    """Give Pearson's r of each column `[K]` of `said [N, K]` and `truth [N, K]`; NaN where one is always the same.

    A mean error tells little of a weight that is mostly zero: who always says zero errs least.
    """
    said, truth = said - said.mean(0), truth - truth.mean(0)
    size = said.norm(dim=0) * truth.norm(dim=0)
    return (said * truth).sum(0) / size.where(size > 1e-6, size.new_tensor(torch.nan))


def measure(formation: FaceFormation, said: Regressed, truth: Truth, skin: Tensor) -> dict[str, Tensor]:
    """Give every error of every face, `[B]` each, NaN for gaze where no eye can be seen.

    `skin [V]` bool says where shape and colour are compared.
    """
    translation = said.translation(truth.focal_px, truth.crop.shape[-1])
    distance = truth.translation.norm(dim=1)
    off = (said.expression - truth.expression).abs()
    sight = sight_angle(said.gaze, truth.gaze)
    seen = seen_eyes(truth, formation.lids)
    seen = seen.where(seen.sum(1, keepdim=True) > MIN_SEEN, seen.new_tensor(torch.nan))
    row = {
        "rotation_deg": torch.rad2deg(rotation_angle(said.rotation, truth.rotation)),
        "translation_percent": 100 * (translation - truth.translation).norm(dim=1) / distance,
        "gaze_deg": torch.rad2deg((sight * seen).sum(1) / seen.sum(1)),
        "expression": off[:, FREE].mean(1),
        "lids": off[:, LIDS].mean(1),
        "light": (said.illumination - truth.illumination).abs().mean((1, 2)),
    }
    true_shape = truth.vertices[:, skin]
    neutral, albedo = formation.neutral(said.identity), formation.albedo(said.reflectance)
    for level in LEVELS:
        shape = neutral + formation.geometry_correction(said.geometry_levels, level)
        color = albedo + formation.reflectance_correction(said.reflectance_levels, level)
        aligned = align(shape[:, skin], true_shape)
        row[f"geometry_{level}_mm"] = 1e3 * (aligned - true_shape).norm(dim=2).mean(1)
        middle = true_shape.mean(1, keepdim=True)
        sized = same_size(aligned - middle, true_shape - middle) + middle
        row[f"shape_{level}_mm"] = 1e3 * (sized - true_shape).norm(dim=2).mean(1)
        row[f"albedo_{level}"] = (color[:, skin].clamp(0, 1) - truth.albedo[:, skin]).abs().mean((1, 2))
    return row


def align(points: Tensor, target: Tensor) -> Tensor:
    """Turn and move `points [B, N, 3]` onto `target [B, N, 3]` rigidly, least squares (Kabsch)."""
    middle, target_middle = points.mean(1, keepdim=True), target.mean(1, keepdim=True)
    u, _, v = torch.linalg.svd((points - middle).transpose(1, 2) @ (target - target_middle))
    sign = torch.sign(torch.linalg.det(u @ v))
    u = torch.cat([u[..., :2], u[..., 2:] * sign[:, None, None]], 2)
    return (points - middle) @ u @ v + target_middle
