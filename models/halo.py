"""A card behind the head, turning with it: the place of hair, and of whatever else a head carries.

The face model ends at the skin of the skull. What lies around it would be left to the generator to put in place by what
it has seen, and a pose that it has not seen tears the hair off the head. So a flat card is drawn through the middle of
the head, at right angles to where it looks: an outline lies close to it from wherever the face is seen. It has codes
of its own in the correspondence image, those of the back of the head that no camera sees beside the face, and so texels
of its own. A target's card is cut to the cells that show something of the target.

Only that outline is not made of the same hair from every side, and a flat thing that turns grows narrow where a head
does not. So the card grows and shrinks along its radii with the view of the head, as the target's own outline was seen
to (`reenact.head_outline`).

And what lies below the chin, long hair, neck and shoulders, belongs to a body that does not turn with the head, see
`models.body`. So the card, and the neck with it, goes over from one to the other, and widens to the shoulders' breadth:
where the body goes, they go, and no seam opens when the head turns further than it was seen to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.body import Body
from models.camera import ray_rotation, rotation_angles, rotation_matrix

Array = NDArray[np.float32]
Indices = NDArray[np.int32]

CELLS = (24, 32)
"""Cells of the card, from bottom to top and across."""
HALF_WIDTH_M = 0.18
BOTTOM_M, TOP_M = -0.16, 0.24
"""Extent of the part behind the head, in the head frame."""
BODY_HALF_WIDTH_M, BODY_BOTTOM_M = 0.32, -0.4
"""Of that below it."""
DEPTH_M = -0.02
"""Place of the card along the line of sight, in the head frame: just behind the ears."""
BEHIND_M = 1.0
"""How much further away than it is the card counts as, where something else is drawn: it hides nothing."""
CODE_DEPTH = 0.055
"""How far behind the head's middle the codes are. See `SpaceTimeGenerator.sample_texture`: from its middle outwards the
card takes up the texture's columns from the outermost inwards."""
CODE_SPAN = 0.9
"""Share of half the columns behind the head that the card takes up."""
CODE_ROWS = (0.004, 0.996)
"""Height codes of its lower and upper edge: each of its cells is as high as any other in codes."""
CODE_NOISE = 0.002
"""Codes that differ by less, as float16 holds them, are the same."""
HEAD_MIDDLE = 0.35
"""Depth code of the head's middle, around which the texture is laid."""
FRONT_RADIUS = 0.45
"""How far from it the codes lie of what has a place of its own before it: tongue, inner mouth, eyeballs."""
DIRECTIONS = 72
"""Directions in the card, from its right counter-clockwise, in which it grows by itself."""
MIDDLE_M = (0.0, 0.03, DEPTH_M)
"""Where they meet, in the head frame."""
VIEW_TERMS = 5
"""What of a view the growth goes by: yaw, pitch, their squares and their product."""
LARGEST_GROWTH = 0.7
"""No radius grows or shrinks by a larger factor than this is the logarithm of."""
NECK_M = (-0.155, -0.095)
"""Heights in the head frame up to which the card stays with the body, and from which on it follows the head."""


def _heights_and_half_widths() -> Array:
    height = np.interp(np.arange(CELLS[0] + 1), (0, 1, 5, 22, 24), (BODY_BOTTOM_M, -0.24, BOTTOM_M, 0.17, TOP_M))
    half_width = np.interp(height, (BODY_BOTTOM_M, BOTTOM_M, -0.1), (BODY_HALF_WIDTH_M, 0.24, HALF_WIDTH_M))
    return np.stack([height, half_width]).astype(np.float32)


ROWS_M = _heights_and_half_widths()
"""`[2, 25]` height of each row of points, from the lowest up, and half its width: most rows are where hair is, and
most of the others where long hair ends."""
HEAD_ROWS_M: Array = np.stack([np.linspace(BOTTOM_M, TOP_M, CELLS[0] + 1), np.full(CELLS[0] + 1, HALF_WIDTH_M)]).astype(
    np.float32
)
"""Those of packages that were trained before cards reached down to the shoulders."""


def view_of(rotation: Array, translation: Array) -> NDArray[np.float64]:
    """Give yaw and pitch `[2]`, radians, in which a head is seen: against the line of sight to its middle.

    `rotation [3]` and `translation [3]` are those of `FaceParams`.
    """
    matrix = rotation_matrix(rotation).astype(np.float64)
    sight = ray_rotation(matrix @ MIDDLE_M + translation)
    return rotation_angles((sight.T @ matrix).astype(np.float32))[:2].astype(np.float64)


@dataclass(frozen=True, slots=True)
class Outline:
    """How far the card grows in each direction with the view of the head."""

    growth: Array
    """`[5, 72]`: what each term of a view, see `terms`, adds to the logarithm of the radius in each direction."""
    views: Array
    """`[3, 2]` yaw and pitch, radians: the view in which nothing grows, and the least and the most that growth is known
    for."""

    @classmethod
    def flat(cls) -> Outline:
        """Give that of a card which stays as it is."""
        return cls(np.zeros((VIEW_TERMS, DIRECTIONS), np.float32), np.zeros((3, 2), np.float32))

    def terms(self, view: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the terms `[..., 5]` of views `[..., 2]`, held to what is known."""
        yaw, pitch = np.moveaxis(np.clip(view, self.views[1], self.views[2]) - self.views[0], -1, 0)
        return np.stack([yaw, pitch, yaw * yaw, pitch * pitch, yaw * pitch], -1)


class Halo:
    """The card: its places, codes and triangles. It knows neither identity nor expression."""

    def __init__(
        self,
        cells: NDArray[np.bool_] | None = None,
        outline: Outline | None = None,
        body: Body | None = None,
        rows_m: Array = ROWS_M,
    ) -> None:
        """Cut the card to `cells`, of the shape `CELLS`, from bottom to top; None keeps all.

        Without an `outline` it stays as it is in every view; without a `body` all of it follows the head.
        """
        rows, columns = CELLS
        if cells is None:
            cells = np.ones(CELLS, bool)
        if cells.shape != CELLS:
            raise ValueError(f"cells: expected {CELLS}, got {cells.shape}")
        self.cells = cells
        self.outline = outline or Outline.flat()
        self.body = body
        self.rows_m = rows_m
        across, up = np.meshgrid(np.linspace(-1.0, 1.0, columns + 1), np.linspace(0.0, 1.0, rows + 1))
        height, half_width = rows_m[..., None]
        self.points: Array = _rows(half_width * across, np.broadcast_to(height, across.shape), DEPTH_M)
        """`[H, 3]` in the head frame, metres, as long as nothing grows."""
        low, high = NECK_M
        share = np.clip((self.points[:, 1] - low) / (high - low), 0.0, 1.0)
        self.rigidity: Array = np.asarray(share * share * (3.0 - 2.0 * share), np.float32)
        """`[H]` how far each point follows the head, 0 to 1."""
        self._arms = self.points - np.array(MIDDLE_M, np.float32)
        self._growth = np.stack([along(self._arms, term) for term in self.outline.growth])
        share = CODE_SPAN * np.abs(across)
        self.correspondence: Array = _rows(
            0.5 + np.sign(across) * CODE_DEPTH * share / (1.0 - share),
            CODE_ROWS[0] + (CODE_ROWS[1] - CODE_ROWS[0]) * up,
            HEAD_MIDDLE - CODE_DEPTH,
        )
        """`[H, 3]` in 0 to 1."""
        index = np.arange((rows + 1) * (columns + 1), dtype=np.int32).reshape(rows + 1, columns + 1)
        a, b, c, d = (part[cells] for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
        self.triangles: Indices = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
        """`[F, 3]`, counter-clockwise seen from the front."""

    def placed(self, rotation: Array, translation: Array) -> Array:
        """Give the points `[H, 3]`, head frame, of a head in the pose `rotation [3]`, `translation [3]`."""
        growth = self.outline.terms(view_of(rotation, translation)) @ self._growth
        factor = np.exp(np.clip(growth, -LARGEST_GROWTH, LARGEST_GROWTH)).astype(np.float32)
        return np.asarray(self._arms * factor[:, None] + np.array(MIDDLE_M, np.float32))

    def hold(self, posed: Array, points: Array, rigidity: Array, rotation: Array, translation: Array) -> Array:
        """Let `posed [N, 3]` of the `points [N, 3]`, head frame, follow the head as their `rigidity [N]` says, 0 to 1.

        The rest of the way they stay with the body of a head in the pose `rotation [3]`, `translation [3]`.
        """
        if self.body is None:
            return posed
        body = self.body.carry(points, rotation, translation)
        return np.asarray(body + rigidity[:, None] * (posed - body), np.float32)

    def texels(self, size: tuple[int, int]) -> Array:
        """Say which places `[h, w, 2]` of the card the texels of a texture of `size` hold, metres; NaN for no place."""
        rows, columns = size
        around = (np.arange(columns) + 0.5) / columns * 2.0 - 1.0
        across = np.sign(around) * (1.0 - np.abs(around)) / (0.5 * CODE_SPAN)
        row = ((np.arange(rows) + 0.5) / rows - CODE_ROWS[0]) / (CODE_ROWS[1] - CODE_ROWS[0]) * CELLS[0]
        height, half_width = (np.interp(row, np.arange(CELLS[0] + 1), known)[:, None] for known in self.rows_m)
        places = np.stack(np.broadcast_arrays(half_width * across, height), -1)
        return np.where(np.abs(across)[:, None] <= 1.0, places, np.nan).astype(np.float32)

    def of_body(self, codes: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Say which of the codes `[3, ...]` are of the card where it does not wholly follow the head."""
        share = np.interp(NECK_M[1], self.rows_m[0], np.linspace(0.0, 1.0, CELLS[0] + 1))
        is_card = np.abs(codes[2] - (HEAD_MIDDLE - CODE_DEPTH)) < CODE_NOISE
        return is_card & (codes[1] < CODE_ROWS[0] + (CODE_ROWS[1] - CODE_ROWS[0]) * share)


def front_codes(share: NDArray[np.floating[Any]], height: NDArray[np.floating[Any]]) -> Array:
    """Give the codes `[N, 3]` of places `[N]` of the texture before the head's middle.

    `share` is that of the way from straight ahead to the side, as `models.generator.texture_places` reckons, negative
    to the actor's right; `height` goes from 0 to 1.
    """
    depth = HEAD_MIDDLE + FRONT_RADIUS * (1.0 - np.abs(share))
    return np.stack([0.5 + FRONT_RADIUS * share, height, depth], 1).astype(np.float32)


def along(arms: Array, known: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Give what is `known [72]` of each direction in those of `arms [..., 2 or more]`, from the card's middle."""
    turn = np.arctan2(arms[..., 1], arms[..., 0]) * (DIRECTIONS / (2.0 * np.pi))
    return np.interp(turn, np.arange(DIRECTIONS), known, period=DIRECTIONS)


def _rows(x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]], z: float) -> Array:
    return np.stack([x, y, np.full_like(x, z)], -1).reshape(-1, 3).astype(np.float32)
