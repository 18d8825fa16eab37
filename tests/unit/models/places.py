from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from models.generator import texture_places


def places(codes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give where codes `[N, 3]` lie in the texture, `[N, 2]`, -1 to 1."""
    return np.asarray(texture_places(torch.from_numpy(codes.T.reshape(1, 3, 1, -1).copy()))[0, 0].numpy())
