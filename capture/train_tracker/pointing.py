"""Helpers of training that no engine ever runs: heads that point at landmarks from inside the regressor.

A regression from a whole picture to a few numbers teaches convolutions slowly: it is easier to learn the training faces
by heart than to find features that generalise. Asked in every place of a map whether a landmark is near, and where
exactly, they are found in a fraction of the samples; what reads the map as a whole then has little left to learn.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.regressor import FaceRegressor

IRISES = (468, 469, 470, 471, 472, 473, 474, 475, 476, 477)
"""Landmarks on the eyeballs: first the actor's right one, then the left one."""
LIDS = (33, 133, 159, 145, 158, 153, 160, 144, 263, 362, 386, 374, 385, 380, 387, 373)
BROWS = (46, 70, 105, 107, 276, 300, 334, 336)
MOUTH = (61, 291, 0, 17, 13, 14, 82, 87, 312, 317, 39, 269, 181, 405)
SHAPE = (1, 6, 10, 98, 327, 152, 234, 454, 58, 288, 117, 346)
EYE_POINTS = (*IRISES, *LIDS)
FACE_POINTS = (*LIDS, *BROWS, *MOUTH, *SHAPE)
SPREAD = 0.75
"""Standard deviation of a landmark's spot on a map, in places of the map."""


class Pointing(nn.Module):
    """Heads on the face's map and the eyes' map at 1/8 of the crop, and how far off they point."""

    def __init__(self, regressor: FaceRegressor) -> None:
        """Listen to `regressor`: each of its passes leaves the maps here, until `forward` takes them."""
        super().__init__()
        config = regressor.config
        # Down to 1/8: two layers that halve, each with its blocks.
        tap = 2 + config.blocks[0] + config.blocks[1] + config.blocks[2]
        self.face_head = nn.Conv2d(config.widths[2], 3 * len(FACE_POINTS), 1)
        self.eye_head = nn.Conv2d(config.eye_widths[2], 3 * len(EYE_POINTS), 1)
        for head in (self.face_head, self.eye_head):
            nn.init.normal_(head.weight, std=0.02)
            assert head.bias is not None
            nn.init.constant_(head.bias, 0.0)
            nn.init.constant_(head.bias[: head.out_channels // 3], -4.0)  # landmarks are rare
        self._first_row = config.eye_rows[0] / 4 * config.size / 128
        self._size = config.size
        self._maps: dict[str, Tensor] = {}
        regressor.face[tap - 1].register_forward_hook(lambda _, __, output: self._keep("face", output))
        regressor.eyes[3].register_forward_hook(lambda _, __, output: self._keep("eyes", output))

    def _keep(self, name: str, output: Tensor) -> None:
        if torch.is_grad_enabled():
            self._maps[name] = output

    def forward(self, landmarks_px: Tensor, seen_eyes: Tensor, face: Tensor) -> Tensor:
        """Give the loss of the regressor's last pass, a scalar.

        `landmarks_px [B, 478, 2]` in the crop, `seen_eyes [B, 2]` (left, right) from 0 to 1, `face [B]` 1 or 0; a pass
        over more crops than `B` had these first.
        """
        count = len(landmarks_px)
        places = landmarks_px * (1 / 8)
        eyes, whole = self._maps.pop("eyes")[:count], self._maps.pop("face")[:count]
        sight = seen_eyes.flip(1).repeat_interleave(5, 1)
        weight = face[:, None]
        at_eyes = places[:, list(EYE_POINTS)] - places.new_tensor([0.0, self._first_row])
        eye_weight = torch.cat([sight, torch.ones_like(sight[:, :1]).expand(-1, len(LIDS))], 1) * weight
        face_weight = weight.expand(-1, len(FACE_POINTS))
        return self._off(self.eye_head, eyes, at_eyes, eye_weight) + self._off(
            self.face_head, whole, places[:, list(FACE_POINTS)], face_weight
        )

    @staticmethod
    def _off(head: nn.Conv2d, features: Tensor, points: Tensor, weight: Tensor) -> Tensor:
        """Compare spots and offsets with `points [B, K, 2]` (column, row of the map), each weighted `[B, K]`."""
        with torch.autocast(features.device.type, torch.bfloat16):
            said = head(features)
        rows, columns = said.shape[2:]
        heat, right, down = said.float().reshape(len(points), 3, -1, rows, columns).unbind(1)
        x = torch.arange(columns, device=said.device) + 0.5 - points[..., 0, None]  # [B, K, columns]
        y = torch.arange(rows, device=said.device) + 0.5 - points[..., 1, None]
        across, along = (-0.5 * (x / SPREAD).square()).exp(), (-0.5 * (y / SPREAD).square()).exp()
        spot = (along[..., :, None] * across[..., None, :]) * weight[..., None, None]
        faults = functional.binary_cross_entropy_with_logits(heat, spot) * 10
        off = (right + x[..., None, :]).abs() + (down + y[..., :, None]).abs()
        return faults + (off * spot).sum() / spot.sum().clamp(min=1.0)
