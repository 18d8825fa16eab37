"""Teaching the regressor to point: how far the landmarks that it finds inside are off the true ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.eye_windows import EYE_POINTS, IRIS_POINTS, EyeWindows
from models.mesh_trunk import LANDMARKS
from models.pointing import UNIT_PX
from models.regressor import FaceRegressor

BROWS = (70, 63, 105, 66, 107, 55, 300, 293, 334, 296, 336, 285)
OUTER_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
INNER_LIPS = (78, 82, 13, 312, 308, 317, 14, 87)
LIDS = tuple(point for eye in EYE_POINTS for point in eye[IRIS_POINTS:])
MATTERING = (*LIDS, *BROWS, *OUTER_LIPS, *INNER_LIPS)
"""Landmarks of the mesh that say most of an expression: each counts `MATTERS` times."""
MATTERS = 3.0
SPREAD_PX = 2.5
"""Standard deviation of the spot that a landmark's map of an eye should show, pixels of the window."""
ROUND_PX = 1.0
"""Errors below which squares are compared."""
PX_SAY = 2.0
"""Weight of a pixel of error in a window beside the cross entropy of the maps."""


@dataclass(frozen=True, slots=True)
class Misses:
    """How far a pass was off, without gradients: what errors of landmarks look like."""

    mesh_px: Tensor
    """`[B, 468, 2]` in the crop."""
    eyes_px: Tensor
    """`[B, 2, K, 2]` in the windows."""


class Pointing(nn.Module):
    """Listens to a regressor, and says how far off its last pass pointed."""

    def __init__(self, regressor: FaceRegressor) -> None:
        super().__init__()
        # Held aside: a module within two others would be saved twice.
        self._held = [regressor]
        self._mesh: Tensor | None = None
        self._eyes: Tensor | None = None
        self._maps: Tensor | None = None
        regressor.trunk.register_forward_hook(self._keep_mesh)
        regressor.eye_points.register_forward_hook(self._keep_eyes)
        regressor.eye_points.maps.register_forward_hook(self._keep_maps)
        weights = torch.ones(LANDMARKS)
        weights[list(MATTERING)] = MATTERS
        self.register_buffer("weights", weights / weights.mean(), persistent=False)
        self.register_buffer("eye_points", torch.tensor(EYE_POINTS), persistent=False)

    weights: Tensor
    eye_points: Tensor

    def _keep_mesh(self, _module: nn.Module, _inputs: object, outputs: tuple[Tensor, Tensor, Tensor]) -> None:
        if torch.is_grad_enabled():
            self._mesh = self._held[0].mesh_px(outputs[1]).float()

    def _keep_eyes(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        if torch.is_grad_enabled():
            self._eyes = output.float()

    def _keep_maps(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        if torch.is_grad_enabled():
            self._maps = output.float()

    def forward(self, landmarks_px: Tensor, seen_eyes: Tensor, face: Tensor) -> tuple[Tensor, Misses]:
        """Give the loss of the regressor's last pass, a scalar, and what it missed.

        `landmarks_px [B, 478, 2]` in the crop, `seen_eyes [B, 2]` (left, right) from 0 to 1, `face [B]` 1 or 0; a pass
        over more crops than `B` had these first.
        """
        assert self._mesh is not None
        assert self._eyes is not None
        assert self._maps is not None
        head, count = self._held[0].eye_points, len(landmarks_px)
        off = self._mesh[:count] - landmarks_px[:, :LANDMARKS]
        far_px = (off.square().sum(2) + 1e-6).sqrt()
        mesh = (_rounded(far_px) * self.weights).mean(1)
        windows = EyeWindows.around(self._mesh[:count].detach(), self._held[0].config.eye_window[1])
        points = windows.from_crop(landmarks_px[:, self.eye_points])
        sight = seen_eyes[..., None].repeat(1, 1, points.shape[2])
        sight[..., IRIS_POINTS:] = 1.0
        weight = sight * face[:, None, None]
        eyes, missed = self._off_eyes(points, self._eyes[: 2 * count], self._maps[: 2 * count], weight)
        self._mesh = self._eyes = self._maps = None
        loss = (mesh * face).sum() / face.sum().clamp(min=1.0) + eyes
        return loss, Misses(off.detach(), head.pixels(missed).detach() - points)

    def _off_eyes(self, points_px: Tensor, said: Tensor, maps: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Compare maps and places with `points_px [B, 2, K, 2]`, weighted `[B, 2, K]`; those beyond a map are left.

        Gives the loss and the deviations `[B, 2, K, 2]` that were said.
        """
        head = self._held[0].eye_points
        weight = weight.flatten(0, 1)
        away = head.deviations(points_px.flatten(0, 1)).transpose(1, 2)[..., None] - head.steps  # [2 B, 2, K, N]
        spot = (-0.5 * (away * (UNIT_PX / SPREAD_PX)).square().sum(1)).exp()
        weight = weight * (away.abs().amax(1).amin(-1) < 2.0 / UNIT_PX).to(weight.dtype)
        spot = spot / spot.sum(-1, keepdim=True).clamp(min=1e-6)
        entropy = -(spot * functional.log_softmax(head.likelihood(maps), -1)).sum(-1)
        far_px = ((head.pixels(said) - points_px.flatten(0, 1)).square().sum(2) + 1e-6).sqrt()
        total = ((entropy + PX_SAY * _rounded(far_px)) * weight).sum() / weight.sum().clamp(min=1.0)
        return total, said.reshape(points_px.shape)


def _rounded(far_px: Tensor) -> Tensor:
    return functional.huber_loss(far_px, torch.zeros_like(far_px), reduction="none", delta=ROUND_PX)
