from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.body import SHARE, Body
from models.camera import Camera
from models.face import FaceModel
from models.generator import GeneratorConfig
from models.halo import Halo
from models.params import FaceParams
from reenact.conditioning import GROUPS, ConditioningRenderer
from reenact.dataset import Recording
from reenact.own_body import RESOLUTION, find_body
from reenact.seen_pictures import texels_of

COUNT = 40
CAMERA = Camera(width=RESOLUTION, height=RESOLUTION, focal_px=1.2 * RESOLUTION, center_px=(RESOLUTION / 2, 50.0))


def recording(folder: Path, share: float) -> Recording:
    """A head that leans to either side, before a wall, with checked shoulders that go `share` of its way."""
    rng = np.random.default_rng(2)
    rest = FaceParams.neutral(distance_m=0.8)
    fields = {name: np.repeat(value[None], COUNT, 0) for name, value in rest.fields().items()}
    fields["translation"] = (rest.translation + rng.uniform(-0.06, 0.06, (COUNT, 3))).astype(np.float32)
    fields["rotation"] = rng.normal(0.0, 0.08, (COUNT, 3)).astype(np.float32)
    params = FaceParams(**fields)
    middle = np.stack([np.median(params.rotation, 0), np.median(params.translation, 0)])
    halo = Halo(body=Body(middle, share))
    renderer = ConditioningRenderer(FaceModel.load(), CAMERA, halo, is_shaded=False)
    size = GeneratorConfig.of_size(RESOLUTION).texture_size
    places = np.nan_to_num(halo.texels(size), nan=1.0).reshape(-1, 2)
    is_body = (places[:, 1] < -0.16) & (np.abs(places[:, 0]) < 0.2)
    checks = np.floor(places / 0.05).sum(1) % 2.0
    colors = np.where(is_body, 60 + 120 * checks, 150).astype(np.uint8)
    files = []
    for frame in range(COUNT):
        codes = renderer.render(params[frame])[GROUPS["correspondence"]]
        picture = np.full((RESOLUTION, RESOLUTION), 150, np.uint8)
        shown = texels_of(torch.from_numpy(codes[None].copy()), size)[0].numpy()
        picture[shown >= 0] = colors[shown[shown >= 0]]
        files.append(folder / f"{frame:03}.png")
        Image.fromarray(np.repeat(picture[..., None], 3, 2)).save(files[-1])
    return Recording(
        params=params, camera=CAMERA, frame_rate=30.0, pictured=np.arange(COUNT), held_out=np.zeros(0, np.int64),
        pictures=tuple(files), name="drawn",
    )  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_shoulders_are_found_to_go_as_far_as_they_do(tmp_path: Path, share: float) -> None:
    made = recording(tmp_path, share)
    found = find_body(made, FaceModel.load())
    assert found.share == pytest.approx(share, abs=0.16)
    np.testing.assert_allclose(found.rest[1], np.median(made.params.translation, 0), atol=1e-6)


def test_of_one_picture_nothing_is_learned(tmp_path: Path) -> None:
    made = recording(tmp_path, 1.0)
    one = dataclasses.replace(made, pictured=np.arange(1), pictures=made.pictures[:1])
    assert find_body(one, FaceModel.load()).share == SHARE
