"""Quadratic programs within bounds, small and dense, compiled."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TOGETHER_ROUNDS = 3
"""Rounds in which all bounds that pull the wrong way are let go at once."""
SWEEPS = 2000
"""Most sweeps of coordinate descent, for the rare program that active sets do not finish."""


@numba.njit(cache=True, error_model="numpy", boundscheck=False)
def solve_bounded(  # noqa: C901 - factor, substitute and change the active set, without allocating
    matrix: Array, right: Array, low: Array, high: Array, start: Array, rounds: int = 16
) -> Array:  # pragma: no cover - compiled
    """Minimise `x' A x / 2 - b' x` within `low <= x <= high` by active sets; `matrix [n, n]` is positive definite.

    Starts with the bounds that `start` touches. In practice three or four rounds.
    """
    n = len(right)
    solution = np.empty(n)
    state = np.zeros(n, np.int8)  # -1 at the lower bound, 1 at the upper, 0 free
    for i in range(n):
        solution[i] = min(max(start[i], low[i]), high[i])
        if high[i] - low[i] < 1e-12:
            state[i] = 2  # held for good
        elif solution[i] <= low[i]:
            state[i] = -1
        elif solution[i] >= high[i]:
            state[i] = 1
    free = np.zeros(n, np.int64)
    factor = np.zeros((n, n))
    vector = np.zeros(n)
    for attempt in range(rounds):
        count = 0
        for i in range(n):
            if state[i] == 0:
                free[count] = i
                count += 1
        for a in range(count):
            i = free[a]
            value = right[i]
            for j in range(n):
                if state[j] != 0:
                    value -= matrix[i, j] * solution[j]
            vector[a] = value
        for a in range(count):  # Cholesky and forward substitution in one sweep
            for b in range(a + 1):
                value = matrix[free[a], free[b]]
                for c in range(b):
                    value -= factor[a, c] * factor[b, c]
                if a == b:
                    factor[a, a] = np.sqrt(max(value, 1e-12))
                else:
                    factor[a, b] = value / factor[b, b]
            value = vector[a]
            for c in range(a):
                value -= factor[a, c] * vector[c]
            vector[a] = value / factor[a, a]
        for a in range(count - 1, -1, -1):
            value = vector[a]
            for c in range(a + 1, count):
                value -= factor[c, a] * vector[c]
            vector[a] = value / factor[a, a]
        changed = False
        for a in range(count):
            i = free[a]
            if vector[a] < low[i]:
                solution[i], state[i], changed = low[i], -1, True
            elif vector[a] > high[i]:
                solution[i], state[i], changed = high[i], 1, True
            else:
                solution[i] = vector[a]
        if changed:
            continue
        worst = 0.0
        released = -1
        for i in range(n):  # let go of bounds that the gradient pulls away from
            if state[i] == -1 or state[i] == 1:
                slope = -right[i]
                for j in range(n):
                    slope += matrix[i, j] * solution[j]
                if state[i] * slope > 1e-9:
                    changed = True
                    if attempt < TOGETHER_ROUNDS:
                        state[i] = 0
                    elif state[i] * slope > worst:
                        worst, released = state[i] * slope, i
        if released >= 0:  # one at a time: together they may come back in turns
            state[released] = 0
        if not changed:
            return solution
    for _ in range(SWEEPS):  # slow, but sure: coordinate descent from there
        largest = 0.0
        for i in range(n):
            value = right[i]
            for j in range(n):
                if j != i:
                    value -= matrix[i, j] * solution[j]
            value = min(max(value / matrix[i, i], low[i]), high[i])
            largest = max(largest, abs(value - solution[i]))
            solution[i] = value
        if largest < 1e-7:
            break
    return solution
