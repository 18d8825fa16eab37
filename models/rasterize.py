"""Rasterize triangles with a z-buffer, compiled by numba."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Indices = NDArray[np.int32]

NEAR_M = 0.05
"""Triangles with a vertex closer to the camera than this are left out."""


_compiled = functools.partial(
    numba.njit, cache=True, nogil=True, fastmath={"contract", "arcp", "nsz"}, error_model="numpy", boundscheck=False
)


@_compiled()
def _fill(
    pixels: Array, inverse_depth: Array, triangles: Indices, depth: Array, face: Indices, weights: Array
) -> None:  # pragma: no cover - compiled
    height, width = depth.shape
    for f in range(triangles.shape[0]):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        ia, ib, ic = inverse_depth[a], inverse_depth[b], inverse_depth[c]
        # Pixel centres lie at halves: half a pixel less, and they lie at whole numbers.
        ax, ay = pixels[a, 0] - 0.5, pixels[a, 1] - 0.5
        bx, by = pixels[b, 0] - 0.5, pixels[b, 1] - 0.5
        cx, cy = pixels[c, 0] - 0.5, pixels[c, 1] - 0.5
        # Rows grow downwards, so a counter-clockwise (front) triangle has negative signed area here.
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if not area < -1e-12 or ia <= 0.0 or ib <= 0.0 or ic <= 0.0:
            continue
        left = int(np.ceil(max(min(ax, bx, cx), 0.0)))
        right = int(np.floor(min(max(ax, bx, cx), width - 1.0)))
        top = int(np.ceil(max(min(ay, by, cy), 0.0)))
        bottom = int(np.floor(min(max(ay, by, cy), height - 1.0)))
        if left > right or top > bottom:
            continue
        # Weights are linear on the screen.
        scale = 1.0 / area
        a_column, a_row, a_start = (by - cy) * scale, (cx - bx) * scale, (bx * cy - by * cx) * scale
        b_column, b_row, b_start = (cy - ay) * scale, (ax - cx) * scale, (cx * ay - cy * ax) * scale
        for y in range(top, bottom + 1):
            a_line, b_line = a_start + a_row * y, b_start + b_row * y
            depths, faces = depth[y], face[y]
            for x in range(left, right + 1):
                wa = a_line + a_column * x
                wb = b_line + b_column * x
                wc = 1.0 - wa - wb
                # Inverse depth is linear on the screen: compare it, and divide by it for perspective.
                inverse = wa * ia + wb * ib + wc * ic
                if (min(wa, wb, wc) >= 0.0) & (inverse > depths[x]):  # one branch: each is taken half of the time
                    depths[x] = inverse
                    faces[x] = f
                    weights[y, x, 0] = wa * ia / inverse
                    weights[y, x, 1] = wb * ib / inverse


@functools.cache
def _interpolator(channels: int) -> Callable[..., None]:
    """Compile the interpolation of so many attributes: twice as fast as that of any number."""

    @_compiled()
    def interpolate(
        attributes: Array, triangles: Indices, face: Indices, weights: Array, output: Array
    ) -> None:  # pragma: no cover - compiled
        height, width = face.shape
        for y in range(height):
            faces = face[y]
            for x in range(width):
                f = faces[x]
                if f < 0:
                    continue
                first, second = attributes[triangles[f, 0]], attributes[triangles[f, 1]]
                third = attributes[triangles[f, 2]]
                wa, wb = weights[y, x, 0], weights[y, x, 1]
                wc = np.float32(1.0) - wa - wb
                for k in range(channels):
                    output[k, y, x] = wa * first[k] + wb * second[k] + wc * third[k]

    return interpolate


class Rasterizer:
    """Draw meshes of one topology at one size; its buffers are made once and reused."""

    def __init__(self, triangles: Indices, height: int, width: int) -> None:
        """Take `triangles [F, 3]` int32, counter-clockwise seen from the front; back faces are culled."""
        if triangles.ndim != 2 or triangles.shape[1] != 3:
            raise ValueError(f"triangles: expected [F, 3], got {triangles.shape}")
        self._triangles = np.ascontiguousarray(triangles, np.int32)
        self._depth = np.zeros((height, width), np.float32)
        self.face = np.full((height, width), -1, np.int32)
        """`[H, W]` triangle seen at each pixel centre after `draw`, -1 for none."""
        self.weights = np.zeros((height, width, 2), np.float32)
        """`[H, W, 2]` perspective-correct barycentric weights of the triangle's first two vertices."""

    def draw(self, pixels: Array, depth_m: Array) -> None:
        """Find what each pixel sees of vertices at `pixels [V, 2]` (u, v) and `depth_m [V]` (positive in front)."""
        self._depth.fill(0.0)
        self.face.fill(-1)
        inverse = np.where(depth_m > NEAR_M, 1.0 / np.maximum(depth_m, NEAR_M), -1.0).astype(np.float32)
        _fill(np.ascontiguousarray(pixels, np.float32), inverse, self._triangles, self._depth, self.face, self.weights)

    def interpolate(self, attributes: Array, output: Array) -> None:
        """Write vertex `attributes [V, C]` into `output [C, H, W]` where a triangle was drawn; leave the rest alone."""
        interpolate = _interpolator(attributes.shape[1])
        interpolate(np.ascontiguousarray(attributes, np.float32), self._triangles, self.face, self.weights, output)
