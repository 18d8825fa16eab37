from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.illumination import linear_to_srgb, sh_basis, shade, srgb_to_linear, vertex_normals


def sphere_points(count: int) -> NDArray[Any]:
    """Spread points evenly over the unit sphere (Fibonacci)."""
    index = np.arange(count) + 0.5
    z = 1 - 2 * index / count
    around = np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(around), radius * np.sin(around), z], -1).astype(np.float32)


def test_the_nine_harmonics_are_orthonormal_on_the_sphere() -> None:
    basis = sh_basis(sphere_points(20_000)).astype(np.float64)
    gram = basis.T @ basis * (4 * np.pi / len(basis))
    np.testing.assert_allclose(gram, np.eye(9), atol=2e-3)


def test_ambient_light_leaves_albedo_as_it_is() -> None:
    light = np.zeros((3, 9), np.float32)
    light[:, 0] = 1 / 0.28209479
    albedo = np.array([[0.2, 0.4, 0.6], [0.9, 0.1, 0.5]], np.float32)
    np.testing.assert_allclose(shade(albedo, sphere_points(2), light), albedo, rtol=1e-5)


def test_light_from_above_shades_the_underside_and_never_below_black() -> None:
    light = np.zeros((3, 9), np.float32)
    light[:, 0], light[:, 1] = 1.0, 2.0  # Y_1-1 is y
    normals = np.array([[0, 1, 0], [0, -1, 0]], np.float32)
    up, down = shade(np.ones((2, 3), np.float32), normals, light)
    assert (up > 1.0).all()
    np.testing.assert_array_equal(down, 0.0)


def test_srgb_is_inverted_and_known_at_its_middle() -> None:
    values = np.linspace(0, 1, 100, dtype=np.float32)
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(values)), values, atol=1e-4)
    np.testing.assert_allclose(srgb_to_linear(np.array([0.5], np.float32)), 0.21404, atol=1e-4)
    np.testing.assert_allclose(linear_to_srgb(np.array([-1.0, 2.0], np.float32)), [0.0, 1.0], atol=1e-6)


def test_normals_of_an_octahedron_point_outwards() -> None:
    vertices = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)
    faces = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
    np.testing.assert_allclose(vertex_normals(vertices, np.array(faces, np.int32)), vertices, atol=1e-6)
