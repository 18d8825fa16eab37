from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from models.losses import importance


@pytest.mark.parametrize("size", [128, 512])
def test_eyes_weigh_five_and_what_is_near_them_too(size: int) -> None:
    conditioning = torch.zeros(2, 9, size, size)
    conditioning[0, 6, 40:44, 50:60] = 0.3
    conditioning[1, 6, 0, 0] = 1.0
    scale = max(size // 256, 1)
    near = functional.max_pool2d(conditioning[:, 6:7], 8 * scale + 1, 1, 4 * scale) > 0
    assert torch.equal(importance(conditioning.contiguous(memory_format=torch.channels_last)), 1.0 + 4.0 * near)
