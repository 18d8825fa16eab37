"""Everything that is trained, and the loss of a step, as one module: what one process per GPU replicates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from capture.binding import LandmarkBinding
from capture.formation import FaceFormation
from capture.formation_losses import FormationLosses, LossWeights, VisibleVertices
from capture.train_tracker.pointing import Pointing
from capture.train_tracker.recombination import Recombination
from capture.train_tracker.supervision import Supervision, Truth, seen_eyes
from models.face import FaceModel
from models.levels import FaceLevels
from models.regressor import FaceRegressor, Regressed, RegressorConfig
from models.training import has_bfloat16


@dataclass(frozen=True, slots=True)
class Frames:
    """A batch of crops of unlabelled video."""

    crop: Tensor
    """`[B, 3, S, S]` sRGB, 0 to 1."""
    focal_px: Tensor
    """`[B]` of the crop's camera."""
    landmarks_px: Tensor
    """`[B, 478, 2]` detected landmarks in the crop: weak labels."""

    @classmethod
    def from_arrays(
        cls,
        crop: NDArray[np.uint8],
        focal_px: NDArray[np.float32],
        landmarks_px: NDArray[np.float32],
        device: torch.device,
    ) -> Self:
        """Take over crops `[B, S, S, 3]` uint8, focal lengths `[B]` and landmarks `[B, 478, 2]`."""
        image = torch.from_numpy(np.ascontiguousarray(crop)).to(device).permute(0, 3, 1, 2).float() / 255.0
        return cls(image, torch.from_numpy(focal_px).to(device), torch.from_numpy(landmarks_px).to(device))


class TrackerObjective(nn.Module):
    """The regressor and the face model's levels, and what is wrong with them on a batch."""

    def __init__(self, model: FaceModel, config: RegressorConfig, levels: FaceLevels, weights: LossWeights) -> None:
        super().__init__()
        self.regressor = FaceRegressor(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.formation = FaceFormation(model, levels)
        self.pointing = Pointing(self.regressor)
        self.supervision = Supervision(model, weights)
        binding = LandmarkBinding.load()
        self.recombination = Recombination(model, binding, weights)
        self.formation_losses = FormationLosses(model, binding, weights)
        self._visible = VisibleVertices(model, config.size)
        self._weights = weights
        self.rounding = 1.0
        """Scale of the errors below which squares are compared: set by who trains, falling as training goes on."""

    def forward(self, truth: Truth, frames: Frames | None = None) -> dict[str, Tensor]:
        """Give the weighted terms, scalars; their sum is to be minimised. Gradients of all parameters are used."""
        # One pass over both: the normalisation then sees the mixture that it will see live.
        crops = truth.crop if frames is None else torch.cat([truth.crop, frames.crop])
        with torch.autocast(crops.device.type, torch.bfloat16, enabled=has_bfloat16(crops.device)):
            raw = self.regressor(crops.contiguous(memory_format=torch.channels_last))
        count = len(truth.crop)
        terms = self.supervision(self.formation, self.regressor.split(raw[:count]), truth, self.rounding)
        seen = seen_eyes(truth, self.formation.lids)
        pointing, misses = self.pointing(truth.landmarks, seen, truth.confidence)
        terms["pointing"] = self._weights.pointing * pointing
        terms["recombined"] = self._weights.recombined * self.recombination(
            self.regressor, truth, misses, self.rounding
        )
        if frames is not None:
            terms |= self._judge_frames(self.regressor.split(raw[count:]), frames)
        return terms | self.formation_losses.regularise(self.formation)

    def _judge_frames(self, said: Regressed, frames: Frames) -> dict[str, Tensor]:
        losses = self.formation_losses
        with torch.no_grad():
            _, full = losses.form(self.formation, said, frames.focal_px, frames.crop.shape[-1])
            visible = torch.from_numpy(self._visible.find(full)).to(frames.crop.device)
        return losses(self.formation, said, frames.crop, frames.focal_px, frames.landmarks_px, visible)
