"""Teaching the regressor's solver on faces that nobody draws: shape, expression and pose of the batch, dealt anew.

What the solver reads are places of landmarks, and these follow from the parameters without a picture, so that each step
shows it many times as many faces as the convolutions see.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from capture.binding import LandmarkBinding
from capture.deformation import Deformation
from capture.formation import posed, project
from capture.formation_losses import LossWeights
from capture.train_tracker.pointing import Misses
from capture.train_tracker.supervision import (
    FREE,
    LIDS,
    ROUND_PLACE,
    ROUND_RAD,
    ROUND_WEIGHT,
    Truth,
    huber,
    rotation_angle,
    sight_angle,
)
from models.eye_windows import EYE_POINTS, EyeWindows
from models.face import FaceModel
from models.mesh_trunk import LANDMARKS
from models.params import BLINKS
from models.regressor import FaceRegressor, place, translation

COPIES = 10
"""Faces dealt for each one of the batch: the solver is small, and moving its few vertices is cheap."""
TURN_RAD = 0.1
"""Standard deviation of what is added to a pose, about each axis."""
SHIFT = 0.03
"""The same for each number of `place`."""
MISSED = (0.2, 1.2)
"""Least and greatest share of a pass's errors that is added to a dealt face's landmarks."""
FARTHEST_PX = 12.0
"""Errors of landmarks are dealt no larger than this: what lies behind a hand is no lesson."""


class Recombination(nn.Module):
    """Deals faces anew and compares what the solver makes of their landmarks; buffers only."""

    def __init__(self, model: FaceModel, binding: LandmarkBinding, weights: LossWeights) -> None:
        super().__init__()
        self.weights = weights
        corners = binding.corners(model).astype(np.int64)
        self.deformation = Deformation(model, np.unique(corners))
        corners = np.searchsorted(self.deformation.at.numpy(), corners)
        self.register_buffer("corners", torch.from_numpy(corners), persistent=False)
        self.register_buffer("barycentric", torch.from_numpy(binding.barycentric), persistent=False)
        self.register_buffer("eye_points", torch.tensor(EYE_POINTS), persistent=False)

    corners: Tensor
    barycentric: Tensor
    eye_points: Tensor

    def forward(self, regressor: FaceRegressor, truth: Truth, misses: Misses, rounding: float = 1.0) -> Tensor:
        """Give the solver's loss on the batch's faces dealt anew, a scalar; `rounding` as in `Supervision`.

        `misses` are what the pass over the batch got wrong: the errors that the solver will have to live with.
        """
        faces = torch.nonzero(truth.confidence > 0.5).flatten()
        if not len(faces):
            return truth.identity.new_zeros(())
        w, size = self.weights, truth.crop.shape[-1]
        shape, mimic, pose, wrong = (faces[torch.randint(len(faces), (COPIES * len(faces),))] for _ in range(4))
        expression, gaze, focal = truth.expression[mimic], truth.gaze[mimic], truth.focal_px[pose]
        with torch.no_grad():
            rotation = _turns(len(pose), TURN_RAD, truth.rotation) @ truth.rotation[pose]
            where = place(truth.translation[pose], truth.rotation[pose], focal, size)
            where = where + SHIFT * torch.randn_like(where)
            moved = self.deformation(truth.vertices[:, self.deformation.at][shape], expression, gaze)
            points = (moved[:, self.corners] * self.barycentric[..., None]).sum(2)
            pixels = project(posed(points, rotation, translation(where, rotation, focal, size)), focal, size)
            low, high = MISSED
            share = (low + (high - low) * torch.rand_like(where[:, :1]))[..., None]
            mesh = pixels[:, :LANDMARKS] + share * misses.mesh_px[wrong].clamp(-FARTHEST_PX, FARTHEST_PX)
            windows = EyeWindows.around(mesh, regressor.config.eye_window[1])
            eyes = windows.from_crop(pixels[:, self.eye_points])
            eyes = eyes + share[..., None] * misses.eyes_px[wrong].clamp(-FARTHEST_PX, FARTHEST_PX)
        said = regressor.split(regressor.from_points(mesh, eyes))
        weight_error = (said.expression - expression).abs()
        sight = huber(sight_angle(said.gaze, gaze), rounding * ROUND_RAD) * (1.0 - expression[:, BLINKS])
        return (
            w.rotation * huber(rotation_angle(said.rotation, rotation), rounding * ROUND_RAD).mean()
            + w.place * huber((said.place - where).abs(), rounding * ROUND_PLACE).mean()
            + w.expression * huber(weight_error[:, FREE], rounding * ROUND_WEIGHT).mean()
            + w.lids * huber(weight_error[:, LIDS], rounding * ROUND_WEIGHT).mean()
            + w.gaze * sight.mean()
            + w.identity * (said.identity - truth.identity[shape]).square().mean()
        )


def _turns(count: int, spread_rad: float, like: Tensor) -> Tensor:
    """Draw small random rotations `[count, 3, 3]`."""
    x, y, z = (spread_rad * torch.randn(3, count, device=like.device, dtype=like.dtype)).unbind(0)
    zero = torch.zeros_like(x)
    rows = [torch.stack(row, -1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return torch.linalg.matrix_exp(torch.stack(rows, -2))
