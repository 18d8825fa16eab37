"""How a target's colours change with the face, found before anything is trained.

What a photograph laid over the head gets wrong of a training picture is, for the most part, not noise: it follows
expression, gaze and pose, as creases, lips, lids and shadows do. So for each patch of the texture it is regressed on
the numbers of the face, by ridge regression: in closed form, in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from capture.spread import spread
from models.generator import texture_places
from models.halo import NECK_M
from models.photo_generator import LEAST
from reenact.conditioning import GROUPS
from reenact.first_look import FirstLook
from reenact.seen_pictures import texels_of
from reenact.training_set import TrainingSet

FRAMES = 2000
"""Training pictures that are looked at."""
RIDGE = 200.0
"""Frames that a change must be seen in to be half believed, of a number as far from its mean as it usually is: frames
of a video are not independent."""
LEAST_UNIT = 0.02
"""What a number varies by at least: below it there is only noise, of weights and of radians."""
LEARNED_SHARE = 0.05
"""Pixels a picture that a patch must have on average to change."""
LEAST_KNOWN = 0.2
"""Share of its texels that must be known: what a patch shows at its edge is not true of the rest."""
LEAST_SHOWN = 0.5
"""Pixels of a patch that a picture shows it by."""
LEAST_SLOPE = 0.06
"""Slope of the sigmoid at which colours count as no further from their bounds."""
STEADY_SHARE = 0.98
"""Share of what is seen of a patch that must not move by itself, or no face changes it where it stays with the body."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What `PhotoGenerator.begin_changing` takes over."""

    maps: Tensor
    """`[F, 3, h', w']`: what each number, in units, adds to the logits of colour."""
    offset: Tensor
    """`[3, h', w']`: what is to be added to them for the average face."""
    face_range: Tensor
    """`[4, F]`: mean, unit, and the least and most in units from the mean."""
    bounds: Tensor
    """`[2, 3, h', w']`: the least and the most that all numbers together add in pictures that show the patch."""


def find_changes(data: TrainingSet, first: FirstLook, size: tuple[int, ...]) -> Changes:
    """Regress what `first`, a look of `data`'s target that does not change, gets wrong; for maps of `size`."""
    frames = spread(data.recording.training, FRAMES)
    face_range = _face_range(data.faces[torch.from_numpy(data.recording.training)])
    mean, unit, low, high = face_range
    numbers = ((data.faces[torch.from_numpy(frames)] - mean) / unit).clamp(low, high)
    weight, missed, is_steady = _misses(data, first, frames, size)
    # Row by row of the normal equations' matrix: that of each patch sums the same products, weighted by its pixels.
    known = torch.cat([torch.ones(len(frames), 1), numbers], 1)
    count = known.shape[1]
    products = (known[:, :, None] * known[:, None]).flatten(1)
    gram = (weight.T @ products).reshape(-1, count, count)
    right = torch.einsum("fk,ftc->tkc", known, missed)
    seen = weight.mean(0)
    held = torch.full((count,), RIDGE)
    held[0] = 1.0
    known_share = functional.interpolate(first.is_seen[None].float(), size=size, mode="area").flatten()
    is_seen = (seen > LEARNED_SHARE) & (known_share >= LEAST_KNOWN) & (is_steady | ~_of_body(first, size))
    gram = gram[is_seen] + torch.diag(held) * seen[is_seen, None, None]
    found = torch.zeros(len(seen), count, 3)
    found[is_seen] = torch.linalg.solve(gram, right[is_seen])
    maps = found.permute(1, 2, 0).reshape(count, 3, *size)
    colors = functional.interpolate(first.colors[None], size=size, mode="area")[0]
    bounds = _bounds(maps[1:], numbers, weight)
    slope = _logits_of(colors, bounds)
    return Changes(maps[1:] * slope, maps[0] * slope, face_range, bounds * slope)


def _logits_of(colors: Tensor, changes: Tensor) -> Tensor:
    """Give how many logits stand for a change of `colors [3, h, w]` by 1, that are known to change by `changes`.

    `changes [2, 3, h, w]` are the least and the most. The slope of the logit would do for small ones; but a bright blue
    that turns into hair would go far beyond it, for it has the slope of blue. So it is what the largest change away
    from the nearer bound takes, all in all.
    """
    known = colors.clamp(LEAST, 1.0 - LEAST)
    away = torch.where(known > 0.5, changes[0].clamp(max=-LEAST), changes[1].clamp(min=LEAST))
    reached = (known + away).clamp(LEAST, 1.0 - LEAST)
    whole = (torch.logit(reached) - torch.logit(known)) / (reached - known)
    return torch.minimum(whole, 1.0 / (known * (1.0 - known)).clamp(min=LEAST_SLOPE))


def _of_body(first: FirstLook, size: tuple[int, ...]) -> Tensor:
    """Say which patches `[T]` are of the card where it stays with the body."""
    rows, columns = size
    return torch.from_numpy(first.halo.texels((rows, columns))[..., 1] < NECK_M[1]).flatten()


def _face_range(faces: Tensor) -> Tensor:
    mean, unit = faces.mean(0), faces.std(0).clamp(min=LEAST_UNIT)
    known = (faces - mean) / unit
    return torch.stack([mean, unit, known.amin(0), known.amax(0)])


def _bounds(maps: Tensor, numbers: Tensor, weight: Tensor) -> Tensor:
    """Give the least and the most `[2, 3, h, w]` that `maps [F, 3, h, w]` add together, where a patch is shown.

    Faces of `numbers [N, F]` show patches by `weight [N, T]`.
    """
    added = (numbers @ maps.flatten(1)).reshape(len(numbers), 3, -1)
    is_shown = (weight >= LEAST_SHOWN)[:, None]
    low = added.where(is_shown, torch.inf).amin(0)
    high = added.where(is_shown, -torch.inf).amax(0)
    is_known = is_shown.any(0)
    return torch.stack([low.where(is_known, 0.0), high.where(is_known, 0.0)]).reshape(2, *maps.shape[1:])


def _misses(
    data: TrainingSet, first: FirstLook, frames: NDArray[np.int64], size: tuple[int, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum up by patch what each of `frames` shows beyond the look: weights `[F, T]`, and colours `[F, T, 3]`.

    And say of which patches `[T]` a body that moves by itself takes next to none.

    A pixel counts by the square of how far the head covers it, as least squares would have it; one of a body that moved
    by itself does not.
    """
    look = torch.cat([first.colors, first.coverage])[None]
    weight = torch.zeros(len(frames), size[0] * size[1])
    missed = torch.zeros(len(frames), size[0] * size[1], 3)
    shown_at_all = torch.zeros(size[0] * size[1])
    for index, frame in enumerate(frames):
        row = data.index[int(frame)]
        codes = data.current[row : row + 1, GROUPS["correspondence"]].float()
        shown = functional.grid_sample(look, texture_places(codes), "bilinear", "border", align_corners=False)[0]
        patch = texels_of(codes, size).flatten()
        cover = shown[3] * (patch >= 0).reshape(shown[3].shape)
        off = data.truth[row].float() / 255.0 - (cover * shown[:3] + (1.0 - cover) * first.plate)
        patch = patch.clamp(min=0)  # where there is no head, nothing is covered
        shown_at_all.index_add_(0, patch, cover.square().flatten())
        cover = cover * ~data.moved_at(row)
        weight[index].index_add_(0, patch, cover.square().flatten())
        missed[index].index_add_(0, patch, (cover * off).flatten(1).T)
    return weight, missed, weight.sum(0) >= STEADY_SHARE * shown_at_all
