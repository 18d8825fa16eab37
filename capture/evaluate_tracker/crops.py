"""The regressor and the face model's levels on single synthetic crops that training never sees."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from capture.binding import LandmarkBinding
from capture.evaluate_tracker.weights import TrackerWeights
from capture.formation import FaceFormation
from capture.formation_losses import FormationLosses, LossWeights
from capture.synthetic import SyntheticConfig, stream
from capture.train_tracker.judge import correlation, measure
from capture.train_tracker.pictures import form_level
from capture.train_tracker.supervision import FREE, Truth
from models.face import FaceModel
from models.level_priors import LevelPriors
from models.levels import LEVELS
from models.params import EXPRESSION_NAMES

CHUNK = 32
GROUPS = ("all", "free", "frontal")
FRONTAL_RAD = np.deg2rad(30.0)
SEED = 0
"""The test faces are always the same."""


def held_out_crops(
    count: int, size: int, *, on_chunk: Callable[[int], None] = lambda _: None
) -> dict[str, NDArray[Any]]:
    """Draw `count` crops of the test split, as `capture.synthetic.stream` gives them."""
    batches: list[dict[str, NDArray[Any]]] = []
    with closing(stream(SyntheticConfig(split="test", seed=SEED, size=size), workers=0, batch=CHUNK)) as source:
        while CHUNK * len(batches) < count:
            batches.append(next(source))
            on_chunk(CHUNK)
    return {name: np.concatenate([batch[name] for batch in batches])[:count] for name in batches[0]}


class Blendshape(NamedTuple):
    """How well one weight is told."""

    error: float
    """Mean absolute error."""
    error_of_rest: float
    """That of who always says that it is at rest."""
    r: float
    """Pearson's correlation with the truth, over faces."""


@torch.no_grad()
def measure_crops(
    weights: TrackerWeights, model: FaceModel, crops: dict[str, NDArray[Any]]
) -> tuple[dict[str, dict[str, float]], dict[str, Blendshape]]:
    """Measure on `held_out_crops`: means over groups of faces, and each blendshape by name.

    The groups are `all`, `free` (nothing before the face) and `frontal` (free, and turned by less than 30 degrees).

    `geometry_L_mm` is the mean distance of the skin's vertices after rigid alignment, `albedo_L` the mean absolute
    error of linear albedo, and `photometric_L` the mean distance of formed from pictured sRGB colour (0 to 1) at the
    skin's visible vertices, each for level L; `confidence` is the share of crops that it sorts rightly.
    """
    formation = FaceFormation(model, weights.levels)
    losses = FormationLosses(model, LandmarkBinding.load(), LossWeights())
    skin = LevelPriors(model).face
    rows: list[dict[str, torch.Tensor]] = []
    shown: list[torch.Tensor] = []
    groups: list[torch.Tensor] = []
    right: list[torch.Tensor] = []
    count = len(crops["confidence"])
    for start in range(0, count, CHUNK):
        part = {name: values[start : start + CHUNK] for name, values in crops.items()}
        truth = Truth.from_arrays(part, torch.device("cpu"))
        said = weights.regressor.split(weights.regressor(truth.crop))
        is_face = truth.confidence > 0.5
        right.append((said.confidence > 0) == is_face)
        row = measure(formation, said, truth, skin)
        visible = torch.from_numpy(part["visible"])
        for level in LEVELS:
            formed = form_level(formation, said, truth.focal_px, truth.crop.shape[-1], level)
            row[f"photometric_{level}"] = torch.stack(
                [
                    losses.photometric(_one(formed, k), truth.crop[k : k + 1], visible[k : k + 1])
                    for k in range(len(is_face))
                ]
            )
        free = ~torch.from_numpy(part["occluded"])
        frontal = free & (torch.from_numpy(np.abs(part["rotation"][:, :2]).max(1)) < FRONTAL_RAD)
        groups.append(torch.stack([is_face, free, frontal])[:, is_face])
        rows.append({name: values[is_face] for name, values in row.items()})
        shown.append(torch.stack([said.expression, truth.expression])[:, is_face])
    values = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
    means = {
        name: {figure: float(errors[chosen].nanmean()) for figure, errors in values.items()}
        for name, chosen in zip(GROUPS, torch.cat(groups, 1), strict=True)
        if chosen.any()
    }
    means["all"]["confidence"] = float(torch.cat(right).float().mean())
    weights_said, weights_true = torch.cat(shown, 1)
    off, told = (weights_said - weights_true).abs().mean(0), correlation(weights_said, weights_true)
    return means, {
        EXPRESSION_NAMES[k]: Blendshape(float(off[k]), float(weights_true[:, k].mean()), float(told[k])) for k in FREE
    }


def _one(formed: Any, index: int) -> Any:  # noqa: ANN401 - a `Formed` of any fields
    """Take one head out of a batch, as a batch."""
    fields = {name: getattr(formed, name)[index : index + 1] for name in formed.__dataclass_fields__}
    return type(formed)(**fields)
