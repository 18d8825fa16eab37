from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.rasterize import NEAR_M, Rasterizer


def slow_rasterize(
    pixels: NDArray[Any], depth_m: NDArray[Any], triangles: NDArray[Any], height: int, width: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Say for each pixel centre which triangle is nearest, and its weights, by solving for it in double precision."""
    face, weights = np.full((height, width), -1), np.zeros((height, width, 3))
    nearest = np.full((height, width), np.inf)
    for index, corner in enumerate(triangles):
        if (depth_m[corner] <= NEAR_M).any():
            continue
        (ax, ay), (bx, by), (cx, cy) = pixels[corner].astype(np.float64)
        if (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) >= 0:
            continue  # seen from behind
        matrix = np.linalg.inv(np.array([[ax, bx, cx], [ay, by, cy], [1, 1, 1]]))
        for row in range(height):
            for column in range(width):
                flat = matrix @ [column + 0.5, row + 0.5, 1.0]
                if flat.min() < 0:
                    continue
                inverse = flat / depth_m[corner]
                if 1 / inverse.sum() < nearest[row, column]:
                    nearest[row, column] = 1 / inverse.sum()
                    face[row, column], weights[row, column] = index, inverse / inverse.sum()
    return face, weights


def random_scene(seed: int, count: int = 40) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(-6, 38, (count, 2)).astype(np.float32)
    depth_m = rng.uniform(0.02, 2.0, count).astype(np.float32)
    return pixels, depth_m, rng.integers(0, count, (60, 3)).astype(np.int32)


@pytest.mark.parametrize("seed", range(4))
def test_it_equals_the_slow_reference(seed: int) -> None:
    pixels, depth_m, triangles = random_scene(seed)
    rasterizer = Rasterizer(triangles, 28, 32)
    rasterizer.draw(pixels, depth_m)
    face, weights = slow_rasterize(pixels, depth_m, triangles, 28, 32)
    same = rasterizer.face == face
    assert (face >= 0).mean() > 0.3
    assert same.mean() > 0.998  # single precision may decide an edge otherwise
    np.testing.assert_allclose(rasterizer.weights[same & (face >= 0)], weights[same & (face >= 0)][:, :2], atol=2e-3)


def test_attributes_are_interpolated_in_perspective() -> None:
    # A strip that runs away from the camera: halfway on the screen is not halfway in space.
    pixels = np.array([[0, 0], [0, 40], [40, 20]], np.float32)
    depth_m = np.array([1.0, 1.0, 3.0], np.float32)
    rasterizer = Rasterizer(np.array([[0, 1, 2]], np.int32), 40, 40)
    rasterizer.draw(pixels, depth_m)
    output = np.zeros((1, 40, 40), np.float32)
    rasterizer.interpolate(np.array([[0.0], [0.0], [1.0]], np.float32), output)
    share = 20.5 / 40
    assert output[0, 20, 20] == pytest.approx(share / 3 / (share / 3 + (1 - share)), abs=1e-4)


def test_the_nearer_triangle_hides_the_farther_in_either_order() -> None:
    pixels = np.array([[0, 0], [0, 20], [20, 10]] * 2, np.float32)
    depth_m = np.array([2, 2, 2, 1, 1, 1], np.float32)
    for order in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        rasterizer = Rasterizer(np.array(order, np.int32), 20, 20)
        rasterizer.draw(pixels, depth_m)
        assert set(np.unique(rasterizer.face)) == {-1, order.index([3, 4, 5])}


def test_back_faces_and_what_is_too_near_are_not_drawn() -> None:
    pixels = np.array([[0, 0], [0, 20], [20, 10]], np.float32)
    rasterizer = Rasterizer(np.array([[0, 2, 1]], np.int32), 20, 20)
    rasterizer.draw(pixels, np.ones(3, np.float32))
    assert (rasterizer.face == -1).all()
    rasterizer = Rasterizer(np.array([[0, 1, 2]], np.int32), 20, 20)
    rasterizer.draw(pixels, np.array([1, 1, 0.01], np.float32))
    assert (rasterizer.face == -1).all()


def test_each_pixel_of_a_shared_edge_is_drawn_once_and_none_is_left_open() -> None:
    pixels = np.array([[0, 0], [0, 16], [16, 16], [16, 0]], np.float32)
    rasterizer = Rasterizer(np.array([[0, 1, 2], [0, 2, 3]], np.int32), 16, 16)
    rasterizer.draw(pixels, np.ones(4, np.float32))
    assert (rasterizer.face >= 0).all()


def test_a_second_draw_forgets_the_first() -> None:
    pixels = np.array([[0, 0], [0, 20], [20, 10]], np.float32)
    rasterizer = Rasterizer(np.array([[0, 1, 2]], np.int32), 20, 20)
    rasterizer.draw(pixels, np.ones(3, np.float32))
    rasterizer.draw(pixels + 1000, np.ones(3, np.float32))
    assert (rasterizer.face == -1).all()


def test_triangles_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected \[F, 3\], got \(4, 4\)"):
        Rasterizer(np.zeros((4, 4), np.int32), 8, 8)
