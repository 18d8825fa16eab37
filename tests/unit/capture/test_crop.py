from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from capture.crop import CROP_PX, Crop, Image, Matrix, turned_light
from models.camera import Camera, rotation_matrix
from models.face import FaceModel
from models.framing import ANCHOR_M, HEAD_M
from models.illumination import sh_basis
from models.params import FaceParams

CAMERA = Camera.webcam(640, 480)


def some_head(seed: int) -> FaceParams:
    rng = np.random.default_rng(seed)
    depth = rng.uniform(0.35, 1.5)
    place = np.array([rng.uniform(-0.4, 0.4) * depth, rng.uniform(-0.3, 0.3) * depth, -depth], np.float32)
    return FaceParams.neutral().replace(
        rotation=rng.uniform(-0.6, 0.6, 3).astype(np.float32),
        translation=place,
        illumination=rng.normal(0, 1, (3, 9)).astype(np.float32),
        gaze=rng.uniform(-0.3, 0.3, (2, 2)).astype(np.float32),
    )


def through(homography: Matrix, points: NDArray[np.floating[Any]]) -> Matrix:
    mapped = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return mapped[:, :2] / mapped[:, 2:]


@pytest.mark.parametrize("seed", range(6))
def test_a_head_projects_to_the_same_place_through_its_crop(model: FaceModel, seed: int) -> None:
    head = some_head(seed)
    crop = Crop.around(head, CAMERA)
    in_frame = CAMERA.project(model.view_vertices(head))
    in_crop = crop.camera.project(model.view_vertices(crop.to_crop(head)))
    # float32 vertices are good to a few ten-thousandths of a pixel.
    assert np.abs(through(crop.homography, in_crop) - in_frame).max() < 1e-3
    back = crop.to_frame(crop.to_crop(head))
    for name, value in head.fields().items():
        assert np.abs(getattr(back, name) - value).max() < 2e-5, name
    # A crop whose place is rounded still maps exactly: nothing depends on its being well centred.
    off = Crop(CAMERA, (crop.center_px[0] + 9.0, crop.center_px[1] - 5.0), 1.2 * crop.size_px, crop.angle_rad + 0.1)
    in_crop = off.camera.project(model.view_vertices(off.to_crop(head)))
    assert np.abs(through(off.homography, in_crop) - in_frame).max() < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_an_exact_crop_has_the_head_in_its_middle_upright_and_of_one_size(seed: int) -> None:
    head = some_head(seed)
    crop = Crop.around(head, CAMERA)
    seen = crop.to_crop(head)
    anchor = seen.translation + rotation_matrix(seen.rotation) @ np.array(ANCHOR_M, np.float32)
    assert crop.camera.project(anchor) == pytest.approx([CROP_PX / 2, CROP_PX / 2], abs=1e-2)
    assert crop.camera.focal_px * HEAD_M / -anchor[2] == pytest.approx(CROP_PX, rel=1e-4)
    assert rotation_matrix(seen.rotation)[0, 1] == pytest.approx(0.0, abs=1e-4)


def test_the_ray_through_the_middle_is_the_axis_of_the_crop() -> None:
    crop = Crop(CAMERA, (500.0, 100.0), 150.0, 0.3)
    ray = np.array([180.0 / 640, 140.0 / 640, -1.0])
    assert crop.turn @ ray / np.linalg.norm(ray) == pytest.approx([0, 0, -1])
    assert crop.turn @ crop.turn.T == pytest.approx(np.eye(3), abs=1e-12)
    # Roll is to the image's right: the top of the crop lies right of its middle.
    middle, top = through(crop.homography, np.array([[CROP_PX / 2, CROP_PX / 2], [CROP_PX / 2, 0.0]]))
    assert middle == pytest.approx([500.0, 100.0])
    assert top[0] > 510
    assert top[1] < 40


def test_turned_light_sheds_the_same_on_turned_normals() -> None:
    rng = np.random.default_rng(0)
    light = rng.normal(0, 1, (3, 9)).astype(np.float32)
    turn = rotation_matrix(np.array([0.5, -0.3, 0.7], np.float32))
    normals = rng.standard_normal((50, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    before = sh_basis(normals) @ light.T
    after = sh_basis(normals @ turn.T) @ turned_light(light, turn.astype(np.float64)).T
    assert np.abs(after - before).max() < 1e-5


def sampled(image: Image, crop: Crop, shares: int) -> Matrix:
    """Average the picture, interpolated, over many points of each pixel of the crop: slow and plain."""
    padded = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    total = np.zeros((crop.pixels, crop.pixels, 3))
    steps = (np.arange(crop.pixels * shares) + 0.5) / shares
    points = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    at = np.clip(through(crop.homography, points) + 0.5, 0, (image.shape[1] + 0.999, image.shape[0] + 0.999))
    low = at.astype(int)
    du, dv = (at - low).T[:, :, None]
    (u, v) = low.T
    values = (padded[v, u] * (1 - du) + padded[v, u + 1] * du) * (1 - dv)
    values += (padded[v + 1, u] * (1 - du) + padded[v + 1, u + 1] * du) * dv
    side = crop.pixels
    total = values.reshape(side, shares, side, shares, 3).mean((1, 3))
    return np.asarray(total)


@pytest.mark.parametrize(("size", "shares"), [(90.0, 1), (140.0, 1), (256.0, 2), (500.0, 4)])
def test_cuts_what_a_plain_resampling_cuts(size: float, shares: int) -> None:
    v, u = np.mgrid[:480, :640]
    waves = [128 + 100 * np.sin(u / 17.0 + k) * np.cos(v / 23.0 - k) for k in range(3)]
    image = np.stack(waves, -1).astype(np.uint8)
    crop = Crop(CAMERA, (560.0, 90.0), size, 0.35, pixels=64 if size == 500.0 else 128)
    out = crop.cut(image, np.empty((crop.pixels, crop.pixels, 3), np.uint8))
    expected = sampled(image, crop, shares)
    error = np.abs(out - expected)
    # Wholly inside the frame: at its rim the two blur black in differently.
    inside = through(crop.homography, np.stack(np.meshgrid(*[np.arange(crop.pixels) + 0.5] * 2), -1).reshape(-1, 2))
    margin = size / crop.pixels * 2
    kept = ((inside > margin) & (inside < (640 - margin, 480 - margin))).all(1).reshape(crop.pixels, crop.pixels)
    assert kept.mean() > 0.3
    assert error[kept].mean() < 1.5
    assert error[kept].max() < 6.0


def test_beyond_the_frame_is_black() -> None:
    image = np.full((480, 640, 3), 200, np.uint8)
    out = np.full((CROP_PX, CROP_PX, 3), 7, np.uint8)
    crop = Crop(CAMERA, (0.0, 240.0), float(CROP_PX), 0.0)
    crop.cut(image, out)
    assert out[:, : CROP_PX // 2 - 4].max() == 0
    assert out[:, CROP_PX // 2 + 4 :].min() >= 199
    Crop(CAMERA, (-900.0, 240.0), float(CROP_PX), 0.0).cut(image, out)
    assert out.max() == 0


def test_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="positive size"):
        Crop(CAMERA, (1.0, 1.0), 0.0, 0.0)
    with pytest.raises(ValueError, match="finite"):
        Crop(CAMERA, (np.nan, 1.0), 9.0, 0.0)
    with pytest.raises(ValueError, match="in front"):
        Crop.around(FaceParams.neutral(distance_m=-1.0), CAMERA)
    crop = Crop(CAMERA, (320.0, 240.0), 99.0, 0.0)
    with pytest.raises(ValueError, match="image"):
        crop.cut(np.zeros((9, 9), np.uint8), np.zeros((CROP_PX, CROP_PX, 3), np.uint8))
    with pytest.raises(ValueError, match="out"):
        crop.cut(np.zeros((9, 9, 3), np.uint8), np.zeros((64, 64, 3), np.uint8))
