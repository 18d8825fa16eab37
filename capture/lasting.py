"""How two who look at one person differ for good: learned while they look, to be told from what differs at a moment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

USUAL_RAD = 0.2
"""A difference up to here is a usual one."""
MEMORY = 300
"""Frames over which a lasting difference is learned."""


class LastingDifference:
    """A running mean of angles."""

    def __init__(self, size: int) -> None:
        """Learn of differences `[size]`, radians."""
        self.value: Array = np.zeros(size)
        self._count = 0

    @property
    def is_known(self) -> bool:
        """Whether there was one to learn from."""
        return self._count > 0

    def learn(self, beyond: Array) -> None:
        """Follow a difference that lies `beyond [size]` the `value` so far."""
        self._count = min(self._count + 1, MEMORY)
        self.value = self.value + beyond / self._count


def belief(difference: Array) -> float:
    """Weigh a `difference`, radians: Huber's, for one who sees another face, or a hand, does not err by a little."""
    return USUAL_RAD / max(float(np.linalg.norm(difference)), USUAL_RAD)
