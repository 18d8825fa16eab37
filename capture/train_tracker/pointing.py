"""Teaching the regressor to point: how far the landmarks that it finds inside are off the true ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.pointing import UNIT_PX
from models.regressor import FaceRegressor

IRISES = (468, 469, 470, 471, 472, 473, 474, 475, 476, 477)
"""Landmarks on the eyeballs: first the actor's right one, then the left one."""
LIDS = (33, 133, 159, 145, 158, 153, 160, 144, 263, 362, 386, 374, 385, 380, 387, 373)
BROWS = (70, 63, 105, 66, 107, 55, 300, 293, 334, 296, 336, 285)
OUTER_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
INNER_LIPS = (78, 82, 13, 312, 308, 317, 14, 87)
NOSE = (1, 2, 6, 168, 98, 327)
CONTOUR = (10, 67, 297, 127, 356, 234, 454, 132, 361, 172, 397, 150, 379, 152)
CHEEKS = (117, 346, 205, 425)
EYE_POINTS = (*IRISES, *LIDS)
"""Landmarks of `FaceRegressor.eye_points`, in order."""
FACE_POINTS = (*LIDS, *BROWS, *OUTER_LIPS, *INNER_LIPS, *NOSE, *CONTOUR, *CHEEKS)
"""Landmarks of `FaceRegressor.face_points`, in order."""
SPREAD_PX = 5.0
"""Standard deviation of the spot that a landmark's map should show."""
ROUND_PX = 1.0
"""Errors below which squares are compared."""
PX_SAY = 2.0
"""Weight of a pixel of error beside the cross entropy of the maps."""


class Pointing(nn.Module):
    """Listens to a regressor, and says how far off its last pass pointed."""

    def __init__(self, regressor: FaceRegressor) -> None:
        super().__init__()
        self._heads = {"face": regressor.face_points, "eyes": regressor.eye_points}
        self._seen: dict[str, Tensor] = {}
        for name, head in self._heads.items():
            head.maps.register_forward_hook(self._keeper(f"{name} maps"))
            head.register_forward_hook(self._keeper(name))

    def _keeper(self, name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            if torch.is_grad_enabled():
                self._seen[name] = output

        return keep

    def settle(self, usual_px: Tensor) -> None:
        """Let the regressor expect landmarks at `usual_px [478, 2]`, pixels of the crop."""
        self._heads["face"].settle(usual_px[list(FACE_POINTS)])
        self._heads["eyes"].settle(usual_px[list(EYE_POINTS)])

    def forward(self, landmarks_px: Tensor, seen_eyes: Tensor, face: Tensor) -> Tensor:
        """Give the loss of the regressor's last pass, a scalar.

        `landmarks_px [B, 478, 2]` in the crop, `seen_eyes [B, 2]` (left, right) from 0 to 1, `face [B]` 1 or 0; a pass
        over more crops than `B` had these first.
        """
        sight = seen_eyes.flip(1).repeat_interleave(5, 1)
        weights = {
            "face": face[:, None].expand(-1, len(FACE_POINTS)),
            "eyes": torch.cat([sight, torch.ones_like(sight[:, :1]).expand(-1, len(LIDS))], 1) * face[:, None],
        }
        points = {"face": landmarks_px[:, list(FACE_POINTS)], "eyes": landmarks_px[:, list(EYE_POINTS)]}
        return torch.stack([self._off(name, points[name], weights[name]) for name in self._heads]).sum()

    def _off(self, name: str, points_px: Tensor, weight: Tensor) -> Tensor:
        """Compare maps and places with `points_px [B, K, 2]`, each weighted `[B, K]`; points beyond a map are left."""
        head = self._heads[name]
        maps, said = self._seen.pop(f"{name} maps")[: len(points_px)], self._seen.pop(name)[: len(points_px)]
        away = head.deviations(points_px).transpose(1, 2)[..., None] - head.steps  # [B, 2, K, N]
        spot = (-0.5 * (away * (UNIT_PX / SPREAD_PX)).square().sum(1)).exp()
        inside = (away.abs().amax(1).amin(-1) < 0.5 * SPREAD_PX / UNIT_PX).to(weight.dtype)
        weight = weight * inside
        spot = spot / spot.sum(-1, keepdim=True).clamp(min=1e-6)
        entropy = -(spot * functional.log_softmax(head.likelihood(maps.float()), -1)).sum(-1)
        off_px = (head.pixels(said.float()) - points_px).square().sum(2).add(1e-6).sqrt()
        off = functional.huber_loss(off_px, torch.zeros_like(off_px), reduction="none", delta=ROUND_PX)
        return ((entropy + PX_SAY * off) * weight).sum() / weight.sum().clamp(min=1.0)
