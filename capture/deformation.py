"""How expression and gaze move a head, or only some of its vertices: differentiable, batched, float32.

`FaceModel.vertices` does the same in NumPy, and stays the reference.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.face import EQUATOR_SIZE, LID_CLEARANCE, LOOK_DOWN_RAD, LOOK_UP_RAD, LOOK_YAW_RAD, FaceModel
from models.params import EXPRESSION_INDEX, EXPRESSION_SIZE


class Deformation(nn.Module):
    """Moves heads at rest; buffers only.

    A part of a head moves as it does within the whole: with it come the lids, and what tells where an eyeball lies.
    """

    basis: Tensor
    """`[52, 3 P]` what each blendshape does to the part's vertices."""
    at: Tensor
    """`[P]` the part's vertices in the head, in order."""

    def __init__(self, model: FaceModel, wanted: NDArray[np.int64] | None = None) -> None:
        """Move all vertices, or those `wanted` and the few that it takes to move them."""
        super().__init__()
        eyes = model.eye_ranges
        at = np.arange(len(model.mean)) if wanted is None else _with_eyes(model, wanted)
        self.register_buffer("at", torch.from_numpy(at), persistent=False)
        basis = model.expression_basis[:, at].reshape(EXPRESSION_SIZE, -1).copy()
        self.register_buffer("basis", torch.from_numpy(basis), persistent=False)
        self.eye_ranges = tuple((int(a), int(b)) for a, b in np.searchsorted(at, np.array(eyes)))
        for side, lid in zip(("left", "right"), model.lid_vertices, strict=True):
            places = torch.from_numpy(np.searchsorted(at, lid))
            self.register_buffer(f"lid_{side}", places, persistent=False)
        columns = [EXPRESSION_INDEX[name] for name in _LOOK_ORDER]
        self.register_buffer("look_columns", torch.tensor(columns), persistent=False)

    lid_left: Tensor
    lid_right: Tensor
    look_columns: Tensor

    def look_weights(self, gaze: Tensor) -> Tensor:
        """Derive the eight `eyeLook*` weights from `gaze [B, 2, 2]`; zero elsewhere, `[B, 52]`."""
        yaw, pitch = gaze.unbind(2)
        outward = yaw * yaw.new_tensor([1.0, -1.0])
        sides = torch.stack(
            [outward / LOOK_YAW_RAD, -outward / LOOK_YAW_RAD, pitch / LOOK_UP_RAD, -pitch / LOOK_DOWN_RAD], 2
        )
        weights = sides.clamp(0.0, 1.0).flatten(1)
        return weights.new_zeros(len(gaze), EXPRESSION_SIZE).index_copy(1, self.look_columns, weights)

    def forward(self, neutral: Tensor, expression: Tensor, gaze: Tensor) -> Tensor:
        """Move parts at rest `[B, P, 3]` by `expression [B, 52]` and `gaze [B, 2, 2]`: `[B, P, 3]`, head frame.

        Lids stay outside the eyeballs and eyeballs turn.
        """
        weights = expression + self.look_weights(gaze)
        moved = torch.addmm(neutral.flatten(1), weights, self.basis).reshape(neutral.shape)
        turns = gaze_matrix(gaze)
        parts = [moved[:, : self.eye_ranges[0][0]]]
        for eye, (start, stop) in enumerate(self.eye_ranges):
            ball = neutral[:, start:stop]
            center = ball[:, -EQUATOR_SIZE:].mean(1, keepdim=True)
            radius = (ball[:, :1] - center).norm(dim=2, keepdim=True)
            lid = self.lid_right if eye else self.lid_left
            offset = parts[0][:, lid] - center
            length = offset.norm(dim=2, keepdim=True).clamp(min=1e-6)
            outside = center + offset * (LID_CLEARANCE * radius / length).clamp(min=1.0)
            parts[0] = parts[0].index_copy(1, lid, outside)
            parts.append((moved[:, start:stop] - center) @ turns[:, eye].transpose(1, 2) + center)
        return torch.cat(parts, 1)


def _with_eyes(model: FaceModel, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add the lids, and of each eyeball its first vertex and its equator, which is last."""
    balls = [np.r_[start, stop - EQUATOR_SIZE : stop] for start, stop in model.eye_ranges]
    return np.unique(np.concatenate([wanted, *model.lid_vertices, *balls]).astype(np.int64))


_LOOK_ORDER = tuple(
    f"eyeLook{direction}{side}" for side in ("Left", "Right") for direction in ("Out", "In", "Up", "Down")
)


def gaze_matrix(gaze: Tensor) -> Tensor:
    """Turn gaze `[..., 2]` (yaw, pitch) into rotation matrices `[..., 3, 3]`: `Ry(yaw) Rx(-pitch)`."""
    (cy, cp), (sy, sp) = gaze.cos().unbind(-1), gaze.sin().unbind(-1)
    zero = torch.zeros_like(cy)
    rows = [torch.stack(row, -1) for row in ((cy, -sy * sp, sy * cp), (zero, cp, sp), (-sy, -cy * sp, cy * cp))]
    return torch.stack(rows, -2)
