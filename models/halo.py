"""A card behind the head, turning with it: the place of hair, and of whatever else a head carries.

The face model ends at the skin of the skull. What lies around it would be left to the generator to put in place by what
it has seen, and a pose that it has not seen tears the hair off the head. So a flat card is drawn through the middle of
the head, at right angles to where it looks: an outline lies close to it from wherever the face is seen. It has codes
of its own in the correspondence image, those of the back of the head that no camera sees beside the face, and so texels
of its own. A target's card is cut to the cells that show something of the target.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Indices = NDArray[np.int32]

CELLS = (24, 32)
"""Cells of the card, from bottom to top and across."""
HALF_WIDTH_M = 0.18
BOTTOM_M, TOP_M = -0.16, 0.24
"""Lower and upper edge in the head frame."""
DEPTH_M = -0.02
"""Place of the card along the line of sight, in the head frame: just behind the ears."""
BEHIND_M = 1.0
"""How much further away than it is the card counts as, where something else is drawn: it hides nothing."""
CODE_DEPTH = 0.055
"""How far behind the head's middle the codes are. See `SpaceTimeGenerator.sample_texture`: from its middle outwards the
card takes up the texture's columns from the outermost inwards."""
CODE_SPAN = 0.9
"""Share of half the columns behind the head that the card takes up."""
HEAD_MIDDLE = 0.35
"""Depth code of the head's middle, around which the texture is laid."""


class Halo:
    """The card: its places, codes and triangles. It knows neither identity nor expression."""

    def __init__(self, cells: NDArray[np.bool_] | None = None) -> None:
        """Cut the card to `cells`, of the shape `CELLS`, from bottom to top; None keeps all."""
        rows, columns = CELLS
        if cells is None:
            cells = np.ones(CELLS, bool)
        if cells.shape != CELLS:
            raise ValueError(f"cells: expected {CELLS}, got {cells.shape}")
        across, up = np.meshgrid(np.linspace(-1.0, 1.0, columns + 1), np.linspace(0.0, 1.0, rows + 1))
        self.points: Array = _rows(HALF_WIDTH_M * across, BOTTOM_M + up * (TOP_M - BOTTOM_M), DEPTH_M)
        """`[H, 3]` in the head frame, metres."""
        share = CODE_SPAN * np.abs(across)
        self.correspondence: Array = _rows(
            0.5 + np.sign(across) * CODE_DEPTH * share / (1.0 - share), 0.004 + 0.992 * up, HEAD_MIDDLE - CODE_DEPTH
        )
        """`[H, 3]` in 0 to 1."""
        index = np.arange((rows + 1) * (columns + 1), dtype=np.int32).reshape(rows + 1, columns + 1)
        a, b, c, d = (part[cells] for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
        self.triangles: Indices = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
        """`[F, 3]`, counter-clockwise seen from the front."""


def _rows(x: NDArray[np.float64], y: NDArray[np.float64], z: float) -> Array:
    return np.stack([x, y, np.full_like(x, z)], -1).reshape(-1, 3).astype(np.float32)
