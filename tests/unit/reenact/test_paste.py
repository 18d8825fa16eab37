from __future__ import annotations

import numpy as np
import pytest

from models.face import FaceModel
from models.params import EXPRESSION_INDEX, FaceParams
from reenact.paste import Paster, match_tone
from reenact.square import Square
from tests.unit.reenact.make import make_target

SQUARE = Square(left=100, top=0, side=360, frame_width=640, frame_height=360)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return FaceModel.load()


def talking(level: float) -> FaceParams:
    rest = make_target().neutral
    expression = rest.expression.copy()
    expression[EXPRESSION_INDEX["jawOpen"]] = level
    return rest.replace(expression=expression)


def frame_of(height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    across = np.linspace(40, 200, width, dtype=np.float32)
    return np.repeat(np.repeat(across[None, :, None], height, 0), 3, 2).astype(np.uint8)


def test_the_same_picture_leaves_the_frame_as_it_is(model: FaceModel) -> None:
    frame = frame_of(360, 640)
    picture = np.ascontiguousarray(frame[0:360, 100:460])
    for mode in ("head", "face", "dub"):
        paster = Paster(SQUARE, make_target().camera, mode, model, 360)
        made = paster.apply(frame, picture, talking(0.0), talking(0.5))
        assert np.abs(made.astype(int) - frame).max() <= 2


def test_a_dub_changes_the_mouth_and_neither_the_eyes_nor_anything_outside(model: FaceModel) -> None:
    frame, picture = np.full((360, 640, 3), 120, np.uint8), np.full((256, 256, 3), 120, np.uint8)
    picture[::2] = 90  # detail, which no tone takes away
    camera = make_target().camera
    made = Paster(SQUARE, camera, "dub", model, 256).apply(frame, picture, talking(0.0), talking(0.5))
    changed = np.abs(made.astype(int) - 120).max(-1) > 4
    points = camera.scaled(360, 360).project(model.view_vertices(talking(0.0)))
    low = points[:, 1].max() * 0.5 + points[:, 1].min() * 0.5
    assert changed[round(float(low)) :, 100:460].any()
    assert not changed[:, :100].any()
    assert not changed[:, 460:].any()
    eyes = points[model.eye_vertices[0]].mean(0)
    assert not changed[round(float(eyes[1])), 100 + round(float(eyes[0]))]


def test_what_either_mouth_covers_is_replaced(model: FaceModel) -> None:
    paster = Paster(SQUARE, make_target().camera, "dub", model, 256)
    shut, _ = paster._mask([talking(0.0)])
    both, _ = paster._mask([talking(0.0), talking(1.0)])
    assert both.sum() > 1.02 * shut.sum()
    assert (both >= shut - 0.02).all()


def test_another_light_is_taken_out_of_the_picture() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(90, 110, (128, 128, 3)).astype(np.uint8)
    mask = np.zeros((128, 128), np.float32)
    mask[32:96, 32:96] = 0.5
    tone = match_tone(picture + np.float32(12.0), picture, mask, 64.0)
    np.testing.assert_allclose(tone[40:88, 40:88], 12.0, atol=1.0)


def test_the_border_of_a_whole_square_is_soft_where_the_frame_goes_on(model: FaceModel) -> None:
    frame, picture = np.full((360, 640, 3), 100, np.uint8), np.full((128, 128, 3), 100, np.uint8)
    picture[::2] = 140
    made = Paster(SQUARE, make_target().camera, "head", model, 128).apply(frame, picture, talking(0), talking(0))
    strength = made[:, 100:460].astype(np.float32).std(0).mean(-1)
    assert strength[0] < 1.0
    assert strength[180] > 10.0
    assert np.abs(np.diff(strength)).max() < 4.0
