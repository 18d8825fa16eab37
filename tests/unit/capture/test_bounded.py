from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from capture.bounded import solve_bounded


@pytest.mark.parametrize("seed", range(40))
def test_finds_the_optimum_of_a_general_solver(seed: int) -> None:
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(12, 12))
    matrix = factor @ factor.T + 0.1 * np.eye(12)
    right = rng.normal(size=12) * 4.0
    low, high = np.zeros(12), np.ones(12)
    low[:3], high[:3] = -1e3, 1e3
    found = solve_bounded(matrix, right, low, high, rng.uniform(0, 1, 12))
    expected = minimize(
        lambda x: x @ matrix @ x / 2 - right @ x, np.full(12, 0.5), jac=lambda x: matrix @ x - right,
        bounds=list(zip(low, high, strict=True)), options={"ftol": 1e-14, "gtol": 1e-10, "maxiter": 2000},
    )  # fmt: skip
    np.testing.assert_allclose(found, expected.x, atol=1e-4)


def test_equal_bounds_hold_a_variable() -> None:
    held = np.array([0.3, -1e3])
    found = solve_bounded(np.eye(2), np.array([5.0, 0.7]), held, np.array([0.3, 1e3]), np.zeros(2))
    np.testing.assert_allclose(found, [0.3, 0.7])
