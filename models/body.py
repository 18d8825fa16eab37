"""The body under a head: how it goes along when the head moves.

Only the head is tracked. A body neither turns nor nods with it, but it leans: then the neck's lower end moves, which a
head that merely turns on its neck leaves where it is. So the body goes by that end, and by a share of its way, which
differs between a person who sits back and one who is all over the place (`reenact.own_body`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.camera import rotation_matrix

Array = NDArray[np.float32]

SHARE = 0.5
"""Share of the way of a body of which nothing is known."""
NECK_M = (0.0, -0.09, -0.03)
"""Where a head turns on its neck, in the head frame. Of six recordings half did best with it 6 cm, half with it 12 cm
below the middle of the head, and two that move most do 2 % better with it than with none."""


@dataclass(frozen=True, slots=True)
class Body:
    """A body as it is under a head at rest, and how far it goes along from there."""

    rest: Array
    """`[2, 3]` rotation and translation of the head at rest, those of `FaceParams`."""
    share: float = SHARE
    """How far the body goes with the neck, 0 to 1."""
    neck_m: tuple[float, float, float] = NECK_M
    """`[3]` place in the head frame that it goes with."""

    def carry(self, points: Array, rotation: Array, translation: Array) -> Array:
        """Give where `points [N, 3]`, head frame, lie as part of the body under a head in the pose `rotation [3]`,
        `translation [3]`.
        """
        neck = np.array(self.neck_m, np.float32)
        turn, place = rotation_matrix(self.rest[0]), self.rest[1]
        way = rotation_matrix(rotation) @ neck + translation - (turn @ neck + place)
        return np.asarray(points @ turn.T + place + self.share * way, np.float32)
