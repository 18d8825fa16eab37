"""Some of many frames, spread evenly over them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spread(frames: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Choose up to `count` of `frames`, in their order, the first and the last among them; none twice."""
    return frames[np.linspace(0, len(frames) - 1, min(count, len(frames))).astype(int)]
