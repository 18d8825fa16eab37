from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from models.face import FaceModel
from models.halo import Halo
from models.losses import importance
from models.mouth import tongue_correspondence
from models.teeth import Teeth


@pytest.mark.parametrize("size", [128, 512])
def test_eyes_weigh_five_and_what_is_near_them_too(size: int) -> None:
    conditioning = torch.zeros(2, 9, size, size)
    conditioning[0, 6, 40:44, 50:60] = 0.3
    conditioning[1, 6, 0, 0] = 1.0
    scale = max(size // 256, 1)
    near = functional.max_pool2d(conditioning[:, 6:7], 8 * scale + 1, 1, 4 * scale) > 0
    assert torch.equal(importance(conditioning.contiguous(memory_format=torch.channels_last)), 1.0 + 4.0 * near)


def test_teeth_and_tongue_weigh_three_and_hair_one() -> None:
    model = FaceModel.load()
    for codes, weight in (
        (Teeth(model).correspondence, 3.0), (tongue_correspondence(model)[1], 3.0), (Halo().correspondence, 1.0)
    ):  # fmt: skip
        conditioning = torch.zeros(1, 9, 1, len(codes))
        conditioning[0, 3:6, 0] = torch.from_numpy(codes.T.copy())
        assert torch.equal(importance(conditioning), torch.full((1, 1, 1, len(codes)), weight))
