"""The weights that `reenact evaluate-tracker` measures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from models import levels as levels_module
from models import regressor as regressor_module
from models.face import FaceModel
from models.levels import FaceLevels
from models.regressor import FaceRegressor

SURE = 5.0
"""Raw confidence of a network without weights: it must be followed, or its speed could not be measured."""


@dataclass(frozen=True, slots=True)
class TrackerWeights:
    """A regressor and the levels that belong to it."""

    regressor: FaceRegressor
    levels: FaceLevels
    is_trained: bool
    """False for fresh weights: then speed can be measured and nothing else means anything."""


def load_weights(folder: Path | None, model: FaceModel) -> TrackerWeights:
    """Read what `reenact train-tracker -o FOLDER` wrote, or what ships; fresh weights where nothing ships.

    Raises `ValueError` for damaged files and `FileNotFoundError` for a `folder` without them.
    """
    regressor_path = folder / regressor_module.DEFAULT_PATH.name if folder else regressor_module.DEFAULT_PATH
    levels_path = folder / levels_module.DEFAULT_PATH.name if folder else levels_module.DEFAULT_PATH
    if folder is None and not regressor_path.is_file():
        return fresh_weights(model)
    regressor = FaceRegressor.load(regressor_path)
    if not levels_path.is_file():
        raise FileNotFoundError(f"There are no levels of the face model: {levels_path} is missing.")
    return TrackerWeights(regressor, FaceLevels.load(levels_path), True)


def fresh_weights(model: FaceModel) -> TrackerWeights:
    """Make a network that knows nothing, always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        regressor = FaceRegressor().eval()
    with torch.no_grad():
        regressor.out.bias[regressor.config.fields["confidence"]] = SURE
    return TrackerWeights(regressor, FaceLevels.empty(model), False)
