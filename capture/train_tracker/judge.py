"""How good the regressor and the levels are on synthetic faces that training never sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from capture.formation import FaceFormation
from capture.train_tracker.supervision import BLINKS, FREE, LIDS, Truth, rotation_angle, sight_angle
from models.level_priors import LevelPriors
from models.levels import LEVELS
from models.regressor import FaceRegressor, Regressed


@torch.no_grad()
def judge(
    regressor: FaceRegressor, formation: FaceFormation, faces: Mapping[str, NDArray[Any]], chunk: int = 64
) -> dict[str, float]:
    """Measure on `faces`, a dict of arrays of `capture.synthetic`: means over faces, in the units of the names.

    Geometry is compared on the skin of the face after rigid alignment, albedo as mean absolute error; `confidence` is
    the share of crops, faces and others, that it sorts rightly.
    """
    device = formation.mean.device
    skin = LevelPriors(formation.model).face.to(device)
    rows: list[dict[str, Tensor]] = []
    right: list[Tensor] = []
    count = len(faces["confidence"])
    for start in range(0, count, chunk):
        truth = Truth.from_arrays({name: values[start : start + chunk] for name, values in faces.items()}, device)
        said = regressor.split(regressor(truth.crop.contiguous(memory_format=torch.channels_last)))
        right.append((said.confidence > 0) == (truth.confidence > 0.5))
        row = measure(formation, said, truth, skin)
        rows.append({name: values[truth.confidence > 0.5] for name, values in row.items()})
    results = {name: float(torch.cat([row[name] for row in rows]).mean()) for name in rows[0]}
    return results | {"confidence": float(torch.cat(right).float().mean())}


def measure(formation: FaceFormation, said: Regressed, truth: Truth, skin: Tensor) -> dict[str, Tensor]:
    """Give every error of every face, `[B]` each; `skin [V]` bool says where shape and colour are compared."""
    translation = said.translation(truth.focal_px, truth.crop.shape[-1])
    distance = truth.translation.norm(dim=1)
    off = (said.expression - truth.expression).abs()
    open_eyes = 1.0 - truth.expression[:, BLINKS].clamp(0.0, 1.0)
    sight = sight_angle(said.gaze, truth.gaze)
    row = {
        "rotation_deg": torch.rad2deg(rotation_angle(said.rotation, truth.rotation)),
        "translation_percent": 100 * (translation - truth.translation).norm(dim=1) / distance,
        "gaze_deg": torch.rad2deg((sight * open_eyes).sum(1) / open_eyes.sum(1).clamp(min=1e-3)),
        "expression": off[:, FREE].mean(1),
        "lids": off[:, LIDS].mean(1),
        "light": (said.illumination - truth.illumination).abs().mean((1, 2)),
    }
    neutral, albedo = formation.neutral(said.identity), formation.albedo(said.reflectance)
    for level in LEVELS:
        shape = neutral + formation.geometry_correction(said.geometry_levels, level)
        color = albedo + formation.reflectance_correction(said.reflectance_levels, level)
        aligned = align(shape[:, skin], truth.vertices[:, skin])
        row[f"geometry_{level}_mm"] = 1e3 * (aligned - truth.vertices[:, skin]).norm(dim=2).mean(1)
        row[f"albedo_{level}"] = (color[:, skin].clamp(0, 1) - truth.albedo[:, skin]).abs().mean((1, 2))
    return row


def align(points: Tensor, target: Tensor) -> Tensor:
    """Turn and move `points [B, N, 3]` onto `target [B, N, 3]` rigidly, least squares (Kabsch)."""
    middle, target_middle = points.mean(1, keepdim=True), target.mean(1, keepdim=True)
    u, _, v = torch.linalg.svd((points - middle).transpose(1, 2) @ (target - target_middle))
    sign = torch.sign(torch.linalg.det(u @ v))
    u = torch.cat([u[..., :2], u[..., 2:] * sign[:, None, None]], 2)
    return (points - middle) @ u @ v + target_middle
