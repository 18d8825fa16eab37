from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from capture.rotation import blend_rotations, rotation_from_vector, rotation_vector


@pytest.mark.parametrize("angle", [0.0, 1e-13, 1e-6, 0.3, 2.0, 3.1])
def test_matches_an_independent_implementation(angle: float) -> None:
    vector = angle * np.array([0.6, -0.48, 0.64])
    matrix = rotation_from_vector(vector)
    np.testing.assert_allclose(matrix, Rotation.from_rotvec(vector).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(rotation_vector(matrix), vector, atol=1e-7)


def test_blending_goes_along_the_shortest_path() -> None:
    start, end = rotation_from_vector(np.array([0.0, 3.0, 0.0])), rotation_from_vector(np.array([0.0, -3.0, 0.0]))
    middle = blend_rotations(start, end, 0.5)
    np.testing.assert_allclose(middle, rotation_from_vector(np.array([0.0, np.pi, 0.0])), atol=1e-9)
    np.testing.assert_allclose(blend_rotations(start, end, 0.0), start, atol=1e-12)
    np.testing.assert_allclose(blend_rotations(start, end, 1.0), end, atol=1e-12)
