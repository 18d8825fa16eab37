"""A body that shifts on its chair: what nothing in the conditioning tells is left out of what is learned.

The conditioning knows where the head is, and nothing of shoulders. Who sits up half-way through a recording gives the
generator two bodies for one pose of the head, and it learns to paint now one and now the other, with torn edges. So
every training picture is held, beside the head, against others with the same pose of the head from all over the
recording. What they agree on can be told from the pose, shoulders that lean with the head for instance; where a picture
differs from them it teaches nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from capture.spread import spread
from models.halo import Halo
from reenact.conditioning import GROUPS
from reenact.training_set import TrainingSet

Indices = NDArray[np.int64]

PARTS = 24
"""Parts of a recording, each of which gives one picture to compare with."""
COMPARED = 11
"""Of these, those nearest in pose."""
TURN_RAD, SHIFT_M = np.deg2rad(6.0), 0.025
"""Turns and shifts of the head, about and along each axis, by which two poses are one unit apart."""
NEAR = 1.0
"""Mean distance of the compared poses up to which they say where the body is."""
CANDIDATES = 1200
"""Training pictures that are compared with at most."""
SMALL = 32
"""Side of the pictures that are compared, pixels."""
OTHER = 0.1
"""Difference of a small pixel, 0 to 1, that is another thing and no noise."""
NECK_CODE = 0.17
"""Height code from which on skin follows the head: below it stays with the body."""
FROM_TOP = 0.65
"""Share of the way from the top of the drawn head to its lower end, below which a body is looked for."""


@torch.no_grad()
def find_moved_bodies(data: TrainingSet) -> Tensor:
    """Say of each picture of `data` where it shows a body that its pose does not tell, `[N, SMALL, SMALL]`.

    Held-out pictures, and those whose pose is like no other, show none.
    """
    frames = np.asarray(data.recording.training)
    moved = torch.zeros(len(data.truth), SMALL, SMALL, dtype=torch.bool)
    if len(frames) < PARTS:
        return moved
    rows = torch.tensor([data.index[int(frame)] for frame in frames])
    small = torch.stack([_reduced(data.truth[row].float() / 255.0) for row in rows.tolist()])
    beside = torch.stack(
        [_beside_head(data.current[row, GROUPS["correspondence"]].float(), data.halo) for row in rows.tolist()]
    )
    params = data.recording.params
    compared, distance = _compared(
        np.concatenate([params.rotation[frames] / TURN_RAD, params.translation[frames] / SHIFT_M], 1)
    )
    for k in np.flatnonzero(distance <= NEAR).tolist():
        others = torch.from_numpy(compared[k])
        seen = small[others].where(beside[others][:, None], small.new_tensor(torch.nan))
        off = (small[k] - seen.nanmedian(0).values).abs().amax(0).nan_to_num(0.0)
        is_other = (off > OTHER) & beside[k]
        around = functional.max_pool2d(is_other[None, None].float(), 3, 1, 1)[0, 0] > 0
        moved[rows[k]] = around & beside[k]
    return moved


def _beside_head(codes: Tensor, halo: Halo | None) -> Tensor:
    """Say where in a picture of correspondence `codes [3, H, W]` nothing follows the head, from the mouth on down."""
    head = (codes.sum(0) > 1e-3) & (codes[1] > NECK_CODE)
    if halo is not None:
        head &= ~torch.from_numpy(halo.of_body(codes.numpy()))
    drawn = torch.nonzero(head.any(1)).flatten()
    top, bottom = (float(drawn[0]), float(drawn[-1])) if len(drawn) else (0.0, 0.0)
    line = (torch.arange(SMALL)[:, None] + 0.5) * len(head) / SMALL
    is_head = functional.adaptive_max_pool2d(head[None].float(), SMALL)[0] > 0.5
    return ~is_head & (line > top + FROM_TOP * (bottom - top))


def _reduced(picture: Tensor) -> Tensor:
    """Average a picture `[C, H, W]` to `SMALL` pixels each way."""
    return functional.adaptive_avg_pool2d(picture, SMALL)


def _compared(pose: NDArray[np.float64]) -> tuple[Indices, NDArray[np.float64]]:
    """Give `[N, COMPARED]` pictures of like `pose [N, 6]`, each from another part, and their mean distance."""
    found, away = [], []
    for part in np.array_split(spread(np.arange(len(pose)), CANDIDATES), PARTS):
        distance = np.abs(pose[:, None] - pose[part]).max(2)
        nearest = distance.argmin(1)
        found.append(part[nearest])
        away.append(distance[np.arange(len(pose)), nearest])
    order = np.argsort(away, 0)[:COMPARED]
    chosen, near = (np.take_along_axis(np.stack(values), order, 0) for values in (found, away))
    return chosen.T, near.mean(0)
