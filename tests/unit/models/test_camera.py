from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.camera import Camera, ray_rotation, rotation_angles, rotation_matrix


def axis_rotation(axis: int, angle: float) -> NDArray[Any]:
    """Turn about one axis by the right hand's rule."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = math.cos(angle)
    matrix[a, b], matrix[b, a] = -math.sin(angle), math.sin(angle)
    return matrix


def test_rotation_is_the_product_of_its_three_turns() -> None:
    yaw, pitch, roll = 0.4, -0.3, 0.7
    expected = axis_rotation(1, yaw) @ axis_rotation(0, -pitch) @ axis_rotation(2, -roll)
    np.testing.assert_allclose(rotation_matrix(np.array([yaw, pitch, roll], np.float32)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("rotation", "nose"),
    [((0.5, 0, 0), (1, 0)), ((0, 0.5, 0), (0, 1)), ((-0.5, 0, 0), (-1, 0)), ((0, -0.5, 0), (0, -1))],
)
def test_positive_yaw_turns_the_nose_to_image_right_and_positive_pitch_up(
    rotation: tuple[float, float, float], nose: tuple[int, int]
) -> None:
    ahead = rotation_matrix(np.array(rotation, np.float32)) @ np.array([0, 0, 1.0])
    assert tuple(np.sign(np.round(ahead[:2], 6))) == nose


def test_positive_roll_tilts_the_crown_to_the_actors_left() -> None:
    crown = rotation_matrix(np.array([0, 0, 0.3], np.float32)) @ np.array([0, 1.0, 0])
    assert crown[0] > 0.2  # the actor's own left is image right


def test_angles_invert_the_matrix_over_the_whole_range() -> None:
    rng = np.random.default_rng(0)
    angles = rng.uniform([-3.1, -1.5, -3.1], [3.1, 1.5, 3.1], (500, 3)).astype(np.float32)
    matrices = rotation_matrix(angles)
    np.testing.assert_allclose(rotation_angles(matrices), angles, atol=2e-4)
    np.testing.assert_allclose(
        matrices @ matrices.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (500, 3, 3)), atol=1e-6
    )


def test_projection_puts_the_axis_at_the_centre_and_up_at_smaller_rows() -> None:
    camera = Camera(width=640, height=480, focal_px=500, center_px=(320, 240))
    points = np.array([[0, 0, -1], [0.1, 0, -1], [0, 0.1, -1], [0.1, 0, -2]], np.float32)
    np.testing.assert_allclose(camera.project(points), [[320, 240], [370, 240], [320, 190], [345, 240]], rtol=1e-5)


def test_a_scaled_camera_sees_the_same_share_of_the_picture() -> None:
    camera = Camera(width=512, height=512, focal_px=1200, center_px=(250, 260))
    point = np.array([[0.05, -0.03, -1.2]], np.float32)
    np.testing.assert_allclose(camera.scaled(256, 256).project(point) * 2, camera.project(point), rtol=1e-5)


def test_a_camera_without_extent_is_refused() -> None:
    with pytest.raises(ValueError, match="expected positive"):
        Camera(width=0, height=480, focal_px=500, center_px=(0, 0))
    with pytest.raises(ValueError, match="expected positive"):
        Camera(width=640, height=480, focal_px=math.nan, center_px=(0, 0))


@pytest.mark.parametrize("point", [[0.0, 0.0, -0.5], [0.2, 0.0, -0.6], [-0.1, 0.25, -0.4], [0.0, -3.0, -0.1]])
def test_a_ray_rotation_points_the_axis_at_its_point_by_the_smallest_turn(point: list[float]) -> None:
    turn = ray_rotation(np.array(point))
    direction = np.array(point) / np.linalg.norm(point)
    np.testing.assert_allclose(turn @ [0, 0, -1], direction, atol=1e-12)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert (np.trace(turn) - 1) / 2 == pytest.approx(-direction[2], abs=1e-12)
