"""The shadow that a head and its hair cast on themselves, from one lamp far away."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Indices = NDArray[np.int32]

SIZE = 80
"""Rows and columns of the depth map."""
EXTENT_M = 0.17
"""Half the width that the map spans."""
BIAS_M = np.float32(0.006)
"""What lies less than this behind the nearest surface is lit."""


class ShadowMap:
    """Finds what one lamp does not reach; its buffer is made once."""

    def __init__(self) -> None:
        self._depth = np.zeros((SIZE, SIZE), np.float32)

    def lit(self, vertices: Array, triangles: Indices, direction: Array, middle: Array) -> Array:
        """Give the share `[N]` of the lamp towards `direction` that reaches each of `vertices [N, 3]`.

        The map is centred on `middle [3]`; vertices beyond its edges count as lit.
        """
        side = np.cross([0.0, 1.0, 0.0] if abs(direction[1]) < 0.9 else [1.0, 0.0, 0.0], direction)
        side /= np.linalg.norm(side)
        axes = np.stack([side, np.cross(direction, side), direction]).astype(np.float32)
        local = (vertices - middle) @ axes.T
        _draw(local, triangles, self._depth)
        output = np.empty(len(vertices), np.float32)
        _compare(local, self._depth, output)
        return output


@numba.njit(cache=True, fastmath={"contract", "arcp", "nsz"}, error_model="numpy", boundscheck=False)
def _draw(local: Array, triangles: Indices, depth: Array) -> None:  # pragma: no cover - compiled
    """Keep the greatest height towards the lamp in every cell."""
    scale = np.float32(0.5 * SIZE / EXTENT_M)
    half = np.float32(0.5 * SIZE)
    depth[:] = -10.0
    for f in range(triangles.shape[0]):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        ax, ay = local[a, 0] * scale + half, local[a, 1] * scale + half
        bx, by = local[b, 0] * scale + half, local[b, 1] * scale + half
        cx, cy = local[c, 0] * scale + half, local[c, 1] * scale + half
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if not area > 1e-6:  # seen from behind
            continue
        left, right = max(int(np.ceil(min(ax, bx, cx) - 0.5)), 0), min(int(np.floor(max(ax, bx, cx) - 0.5)), SIZE - 1)
        top, bottom = max(int(np.ceil(min(ay, by, cy) - 0.5)), 0), min(int(np.floor(max(ay, by, cy) - 0.5)), SIZE - 1)
        inverse = np.float32(1.0) / area
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                px, py = np.float32(x + 0.5), np.float32(y + 0.5)
                wa = ((bx - px) * (cy - py) - (by - py) * (cx - px)) * inverse
                wb = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) * inverse
                wc = np.float32(1.0) - wa - wb
                if wa >= 0.0 and wb >= 0.0 and wc >= 0.0:
                    height = wa * local[a, 2] + wb * local[b, 2] + wc * local[c, 2]
                    depth[y, x] = max(depth[y, x], height)


@numba.njit(cache=True, fastmath={"contract", "arcp", "nsz"}, error_model="numpy", boundscheck=False)
def _compare(local: Array, depth: Array, output: Array) -> None:  # pragma: no cover - compiled
    """Interpolate the comparison of the four cells around each vertex: soft edges."""
    scale = np.float32(0.5 * SIZE / EXTENT_M)
    half = np.float32(0.5 * SIZE - 0.5)
    for v in range(local.shape[0]):
        x, y = local[v, 0] * scale + half, local[v, 1] * scale + half
        if not (x >= 0.0 and y >= 0.0 and x < SIZE - 1 and y < SIZE - 1):
            output[v] = 1.0
            continue
        i, j = int(y), int(x)
        dy, dx = y - np.float32(i), x - np.float32(j)
        height = local[v, 2] + BIAS_M
        total = np.float32(0.0)
        if height > depth[i, j]:
            total += (1 - dy) * (1 - dx)
        if height > depth[i, j + 1]:
            total += (1 - dy) * dx
        if height > depth[i + 1, j]:
            total += dy * (1 - dx)
        if height > depth[i + 1, j + 1]:
            total += dy * dx
        output[v] = total
