"""Pictures of a head whose pose is known, its hair on a card behind it, before a patterned wall."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from capture.dense_pose import SIDE_PX, Aligned, align
from capture.rotation import rotation_vector
from models.camera import Camera, rotation_matrix
from models.face import FaceModel
from models.halo import BEHIND_M, CELLS, Halo
from models.params import EXPRESSION_INDEX, FaceParams
from models.rasterize import Rasterizer
from tests.unit.capture.conftest import head

CAMERA = Camera(width=320, height=320, focal_px=520.0, center_px=(160.0, 160.0))
COUNT = 40
OUTSIDE = 7
"""A frame that is not asked for."""


def patterned(codes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give each place of head and hair, by its code `[..., 3]`, a grey of its own, 0 to 255."""
    a, b, c = np.moveaxis(codes, -1, 0)
    return 128 + 45 * np.sin(31 * a + 9 * c) * np.cos(27 * b) + 35 * np.sin(19 * b - 23 * a)


@pytest.fixture(scope="module")
def truth() -> list[FaceParams]:
    rng = np.random.default_rng(4)
    frames = []
    for index in range(COUNT):
        expression = np.zeros(52)
        expression[EXPRESSION_INDEX["jawOpen"]] = rng.uniform(0, 0.8)
        expression[EXPRESSION_INDEX["browInnerUp"]] = rng.uniform(0, 1.0)
        rotation = [0.2 * np.sin(index / 6), 0.12 * np.cos(index / 5), 0.08 * np.sin(index / 9)]
        place = [0.02 * np.sin(index / 7), 0.01 * np.cos(index / 4), -0.6 + 0.02 * np.sin(index / 8)]
        frames.append(head(expression=expression, rotation=rotation, translation=place))
    return frames


@pytest.fixture(scope="module")
def pictures(model: FaceModel, truth: list[FaceParams]) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(5)
    wall = cv2.GaussianBlur(rng.normal(0, 300, (CAMERA.height, CAMERA.width)).astype(np.float32), (0, 0), 3) + 110
    cells = np.zeros(CELLS, bool)
    cells[10:21, 8:24] = True
    halo = Halo(cells)
    skin = model.triangles[model.rigidity[model.triangles].min(1) > 0.5]
    rasterizer = Rasterizer(np.concatenate([skin, len(model.mean) + halo.triangles]), CAMERA.height, CAMERA.width)
    codes = np.concatenate([model.correspondence, halo.correspondence])
    images = []
    for index, params in enumerate(truth):
        card = halo.points @ rotation_matrix(params.rotation).T + params.translation
        vertices = np.concatenate([model.view_vertices(params), card])
        depth = -vertices[:, 2]
        depth[len(model.mean) :] += BEHIND_M
        rasterizer.draw(CAMERA.project(vertices), depth)
        drawn = np.zeros((3, CAMERA.height, CAMERA.width), np.float32)
        rasterizer.interpolate(codes, drawn)
        image = np.where(rasterizer.face >= 0, patterned(drawn.transpose(1, 2, 0)), wall)
        light = 1.0 + 0.2 * np.sin(index / 3)  # an exposure that hunts
        images.append(np.clip(light * image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8))
    return images


def strayed(truth: list[FaceParams]) -> FaceParams:
    """Put the heads where landmarks might see them: off by some degrees and millimetres, by the expression most."""
    rng = np.random.default_rng(6)
    frames = []
    for params in truth:
        pull = params.expression[EXPRESSION_INDEX["jawOpen"]] - 0.4
        rotation = params.rotation + rng.normal(0, 0.015, 3) + np.array([0.04, 0.07, 0.0]) * pull
        place = params.translation + rng.normal(0, 0.002, 3)
        frames.append(params.replace(rotation=rotation.astype(np.float32), translation=place.astype(np.float32)))
    return FaceParams.stack(frames)


def errors(rotation: NDArray[np.float32], truth: list[FaceParams]) -> NDArray[np.float64]:
    """Give how far rotations `[T, 3]` are off but for what all are, degrees: nobody can tell that."""
    both = zip(rotation_matrix(rotation), truth, strict=True)
    off = np.array([rotation_vector((a @ rotation_matrix(t.rotation).T).astype(np.float64)) for a, t in both])
    return np.asarray(np.rad2deg(np.linalg.norm(off - off.mean(0), axis=1)))


@pytest.fixture(scope="module")
def aligned(model: FaceModel, truth: list[FaceParams], pictures: list[NDArray[np.uint8]]) -> Aligned:
    assert max(CAMERA.width, CAMERA.height) > SIDE_PX
    frames = [index for index in range(COUNT) if index != OUTSIDE]
    return align(pictures.__getitem__, frames, strayed(truth), CAMERA, model)


def test_poses_that_expressions_pulled_come_back(aligned: Aligned, truth: list[FaceParams]) -> None:
    start = strayed(truth)
    asked = np.arange(COUNT) != OUTSIDE
    before, after = (errors(rotation, truth)[asked] for rotation in (start.rotation, aligned.rotation))
    assert before.mean() > 1.5
    assert after.mean() < 0.5 * before.mean()
    places = np.stack([params.translation for params in truth])
    off = [(found - places)[asked][:, :2] for found in (start.translation, aligned.translation)]
    spread_mm = [1000 * np.linalg.norm(o - o.mean(0), axis=1).mean() for o in off]
    assert spread_mm[1] < 0.7 * spread_mm[0]


def test_heads_look_more_alike_than_before(aligned: Aligned) -> None:
    assert aligned.spread < 0.7 * aligned.spread_before


def test_other_frames_keep_their_pose(aligned: Aligned, truth: list[FaceParams]) -> None:
    np.testing.assert_allclose(aligned.rotation[OUTSIDE], strayed(truth).rotation[OUTSIDE], atol=1e-5)
    np.testing.assert_allclose(aligned.translation[OUTSIDE], strayed(truth).translation[OUTSIDE], atol=1e-6)


def test_a_video_without_anything_to_see_stays_where_landmarks_saw_it(
    model: FaceModel, truth: list[FaceParams]
) -> None:
    grey = np.full((CAMERA.height, CAMERA.width), 120, np.uint8)
    start = strayed(truth)
    still = align(lambda _frame: grey, range(COUNT), start, CAMERA, model)
    np.testing.assert_allclose(still.rotation, start.rotation, atol=1e-4)
    np.testing.assert_allclose(still.translation, start.translation, atol=1e-5)
