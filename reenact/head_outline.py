"""How a target's outline follows the view of the head: measured in the recording, for the card of `models.halo`.

In every direction from the middle of the card it is seen how far the person reaches, picture by picture. The logarithm
of that radius is regressed on the view, robustly, and held where the recording does not turn: a card that is not known
to grow stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from capture.person_mask import PersonMask
from capture.spread import spread
from models.camera import Camera, rotation_matrix
from models.halo import DIRECTIONS, MIDDLE_M, VIEW_TERMS, Outline, along, view_of
from models.params import FaceParams
from reenact.dataset import Recording

Array = NDArray[np.float64]

FRAMES = 200
"""Training pictures that are looked at."""
SIDE_PX = 256
"""Size at which they are: that of the mask's network."""
RADII_M = np.arange(0.04, 0.22, 0.001)
"""Radii at which it is asked whether a place is still the person."""
BACKGROUND = 0.5
"""Where the mask is below this, it is not."""
NOISE = 0.04
"""Error of a radius' logarithm: a few millimetres."""
LIKENESS = 20.0
"""Pictures in a row that say the same thing: together they count as one."""
GROWTH_SD = 0.7
"""How far a radius grows, usually: its logarithm, by radian or by its square."""
STRAY = 0.05
"""Deviation of a radius' logarithm from which on it is a hand or a shoulder: such radii hardly count."""
ROUNDS = 6
NEIGHBOURS = (0.06, 0.24, 0.4, 0.24, 0.06)
"""How far directions side by side, of 5 degrees each, speak for each other."""
BEYOND = 0.5
"""Growth is believed beyond the views that were seen, by this share of their range on either side."""
LEAST_RANGE_RAD = 0.1
"""That range is taken to be no less than this."""


@dataclass(frozen=True, slots=True)
class HeadOutline:
    """What was measured."""

    outline: Outline
    """How the card grows."""
    reach_m: Array
    """`[72]` how far the person reaches on the card in each direction as long as nothing grows; guessed from the
    directions around it where the pictures always end first, NaN where they do in all."""

    def contains(self, places: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Say which places `[..., 2]` of the card lie within the outline."""
        arms = places - np.array(MIDDLE_M[:2], np.float32)
        return np.linalg.norm(arms, axis=-1) < along(arms, self.reach_m)


def find_outline(recording: Recording) -> HeadOutline:
    """Measure the outline in a spread of training pictures, and how the card must grow to keep to it."""
    camera = recording.camera.scaled(SIDE_PX, SIDE_PX)
    radii, views = [], []
    with PersonMask() as mask:
        for frame in spread(recording.training, FRAMES):
            params = recording.params[int(frame)]
            radii.append(_radii(mask.look(recording.picture(int(frame), SIDE_PX)), params, camera))
            views.append(view_of(params.rotation, params.translation))
    return fit_growth(np.array(radii), np.array(views))


def fit_growth(radii: Array, views: Array) -> HeadOutline:
    """Regress `radii [F, 72]`, metres and NaN where unknown, on the `views [F, 2]` that they were seen in."""
    low, high = views.min(0), views.max(0)
    margin = BEYOND * np.maximum(high - low, LEAST_RANGE_RAD)
    outline = replace(Outline.flat(), views=np.stack([views.mean(0), low - margin, high + margin]).astype(np.float32))
    known = np.concatenate([np.ones((len(views), 1)), outline.terms(views)], 1)
    is_seen = np.isfinite(radii)
    logarithm = np.log(np.where(is_seen, radii, 1.0))
    held = np.diag([1e-6] + [LIKENESS * (NOISE / GROWTH_SD) ** 2] * VIEW_TERMS)
    weight = is_seen.astype(np.float64)
    for _ in range(ROUNDS):
        gram = _with_neighbours(np.einsum("fa,fi,fj->aij", weight, known, known))
        right = _with_neighbours(np.einsum("fa,fi,fa->ai", weight, known, logarithm))
        found = np.linalg.solve(gram + held, right[..., None])[..., 0]
        weight = is_seen / (1.0 + ((logarithm - known @ found.T) / STRAY) ** 2)
    reach = np.full(DIRECTIONS, np.nan)
    is_known = is_seen.sum(0) > LIKENESS
    if is_known.any():
        angle = np.arange(DIRECTIONS)
        reach = np.exp(np.interp(angle, angle[is_known], found[is_known, 0], period=DIRECTIONS))
    return HeadOutline(replace(outline, growth=found[:, 1:].T.astype(np.float32)), reach)


def _radii(mask: NDArray[np.float32], params: FaceParams, camera: Camera) -> Array:
    """Say how far the person reaches in each direction of the card, `[72]` metres, NaN where the picture ends first."""
    angle = np.arange(DIRECTIONS) * (2.0 * np.pi / DIRECTIONS)
    directions = np.stack([np.cos(angle), np.sin(angle), np.zeros(DIRECTIONS)], 1)
    points = np.array(MIDDLE_M) + directions[:, None] * RADII_M[:, None]
    view = points.reshape(-1, 3) @ rotation_matrix(params.rotation).T + params.translation
    u, v = (part.reshape(DIRECTIONS, -1) for part in camera.project(view.astype(np.float32)).T)
    person = cv2.remap(mask, u - 0.5, v - 0.5, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    is_inside = (u > 1.0) & (v > 1.0) & (u < camera.width - 1.0) & (v < camera.height - 1.0)
    is_behind = person < BACKGROUND
    end = is_behind.argmax(1)
    is_known = is_behind.any(1) & (end > 0) & is_inside[np.arange(DIRECTIONS), end]
    return np.where(is_known, RADII_M[end], np.nan)


def _with_neighbours(sums: Array) -> Array:
    """Add to sums by direction, `[72, ...]`, those of the directions beside it, by their share."""
    reach = len(NEIGHBOURS) // 2
    return np.sum([share * np.roll(sums, turn - reach, 0) for turn, share in enumerate(NEIGHBOURS)], 0)
