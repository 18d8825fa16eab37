from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.camera import Camera
from models.face import FaceModel
from models.generator import GeneratorConfig
from models.halo import Halo
from models.params import EXPRESSION_INDEX, FaceParams
from models.teeth import CODE_ROWS
from reenact.conditioning import GROUPS, ConditioningRenderer
from reenact.dataset import Recording
from reenact.own_teeth import find_teeth

SIZE, FRAMES = 128, 24
CONFIG = GeneratorConfig.of_size(SIZE, design="photo")
CAMERA = Camera(width=SIZE, height=SIZE, focal_px=4.6 * SIZE, center_px=(SIZE / 2, 0.2 * SIZE))


def picture(renderer: ConditioningRenderer, params: FaceParams) -> NDArray[np.uint8]:
    """Draw teeth, each row of their bands in its own grey, before a dark mouth in a face of one colour."""
    _, height, depth = renderer.render(params)[GROUPS["correspondence"]]
    drawn = np.full((SIZE, SIZE, 3), 120, np.uint8)
    drawn[renderer.shows_mouth] = 30
    for first, last in CODE_ROWS:
        is_tooth = renderer.shows_mouth & (height >= first) & (height <= last) & (depth > 0.95)
        drawn[is_tooth] = (255 - 60 * (height[is_tooth, None] - first) / (last - first)).astype(np.uint8)
    return drawn


def recording(folder: Path, opening: float, rise_m: tuple[float, float]) -> Recording:
    rng = np.random.default_rng(4)
    rest = FaceParams.neutral()
    expression = np.zeros((FRAMES, len(rest.expression)), np.float32)
    for name, most in (("jawOpen", 0.7), ("mouthUpperUpLeft", 1.0), ("mouthUpperUpRight", 1.0),
                       ("mouthLowerDownLeft", 1.0), ("mouthLowerDownRight", 1.0)):  # fmt: skip
        expression[:, EXPRESSION_INDEX[name]] = opening * rng.uniform(0.2 * most, most, FRAMES)
    fields = {name: np.repeat(value[None], FRAMES, 0) for name, value in rest.fields().items()}
    fields["expression"] = expression
    fields["rotation"] = rng.normal(0.0, 0.08, (FRAMES, 3)).astype(np.float32)
    fields["translation"] = np.tile(np.array([0.0, 0.0, -0.9], np.float32), (FRAMES, 1))
    params = FaceParams(**fields)
    renderer = ConditioningRenderer(FaceModel.load(), CAMERA, Halo(), teeth_rise=np.array(rise_m, np.float32))
    files = []
    for frame in range(FRAMES):
        files.append(folder / f"{frame:03}.png")
        Image.fromarray(picture(renderer, params[frame])).save(files[-1])
    return Recording(
        params=params, camera=CAMERA, frame_rate=30.0, pictured=np.arange(FRAMES), held_out=np.zeros(0, np.int64),
        pictures=tuple(files), name="drawn",
    )  # fmt: skip


@pytest.mark.parametrize("rise_m", [(-0.004, 0.0), (0.0, 0.006), (-0.002, 0.008)])
def test_teeth_are_found_where_they_are(tmp_path: Path, rise_m: tuple[float, float]) -> None:
    found = find_teeth(recording(tmp_path, 1.0, rise_m), FaceModel.load(), CONFIG)
    np.testing.assert_allclose(found, rise_m, atol=0.0021)


def test_of_a_mouth_that_stays_shut_nothing_is_said(tmp_path: Path) -> None:
    assert not find_teeth(recording(tmp_path, 0.0, (-0.004, 0.006)), FaceModel.load(), CONFIG).any()
