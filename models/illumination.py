"""Spherical-harmonic light of bands 0 to 2 (Ramamoorthi and Hanrahan, SIGGRAPH 2001)."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


FLAT, LINEAR, MIXED, SQUARED, DIFFERENCE = 0.28209479, 0.48860251, 1.09254843, 0.31539157, 0.54627422
"""Factors of the harmonics: band 0; band 1; of band 2 the products, z squared, and x squared less y squared."""


def sh_basis(normals: Array) -> Array:
    """Evaluate the nine real spherical harmonics at unit `normals [..., 3]`; gives `[..., 9]`."""
    x, y, z = np.moveaxis(normals, -1, 0)
    return np.stack(
        [
            np.full_like(x, FLAT),
            LINEAR * y, LINEAR * z, LINEAR * x,
            MIXED * x * y, MIXED * y * z, SQUARED * (3 * z * z - 1), MIXED * x * z,
            DIFFERENCE * (x * x - y * y),
        ],
        -1,
    )  # fmt: skip


def shade(albedo: Array, normals: Array, illumination: Array) -> Array:
    """Shade linear `albedo [V, 3]` with `illumination [3, 9]` at view-frame `normals [V, 3]`; gives linear `[V, 3]`."""
    return _shade(*(np.ascontiguousarray(array, np.float32) for array in (albedo, normals, illumination)))


@numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")
def _shade(albedo: Array, normals: Array, illumination: Array) -> Array:  # pragma: no cover - compiled
    """Evaluate `sh_basis` and what `shade` makes of it, without the arrays in between."""
    f32 = np.float32
    colors = np.empty_like(albedo)
    for v in range(albedo.shape[0]):
        x, y, z = normals[v, 0], normals[v, 1], normals[v, 2]
        b1, b2, b3 = f32(LINEAR) * y, f32(LINEAR) * z, f32(LINEAR) * x
        b4, b5, b7 = f32(MIXED) * x * y, f32(MIXED) * y * z, f32(MIXED) * x * z
        b6, b8 = f32(SQUARED) * (f32(3.0) * z * z - f32(1.0)), f32(DIFFERENCE) * (x * x - y * y)
        for channel in range(3):
            k = illumination[channel]
            light = k[0] * f32(FLAT) + k[1] * b1 + k[2] * b2 + k[3] * b3 + k[4] * b4
            light += k[5] * b5 + k[6] * b6 + k[7] * b7 + k[8] * b8
            colors[v, channel] = albedo[v, channel] * max(light, f32(0.0))
    return colors


def vertex_normals(vertices: Array, triangles: NDArray[np.int32]) -> Array:
    """Average area-weighted face normals at each vertex of `[V, 3]`; gives unit vectors `[V, 3]` float32."""
    return _vertex_normals(np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(triangles, np.int32))


@numba.njit(cache=True, fastmath={"contract", "arcp", "nsz"}, error_model="numpy")
def _vertex_normals(vertices: Array, triangles: NDArray[np.int32]) -> Array:  # pragma: no cover - compiled
    normals = np.zeros_like(vertices)
    for f in range(triangles.shape[0]):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for vertex in (a, b, c):
            normals[vertex, 0] += nx
            normals[vertex, 1] += ny
            normals[vertex, 2] += nz
    for v in range(normals.shape[0]):
        length = np.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2)
        scale = np.float32(1.0) / max(length, np.float32(1e-20))
        for axis in range(3):
            normals[v, axis] *= scale
    return normals


def srgb_to_linear(color: Array) -> Array:
    """Decode sRGB values in 0 to 1 to linear light (IEC 61966-2-1)."""
    return np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4).astype(np.float32)


def linear_to_srgb(color: Array) -> Array:
    """Encode linear light to sRGB values, clipped to 0 to 1."""
    color = np.clip(color, 0.0, 1.0)
    return np.where(color <= 0.0031308, color * 12.92, 1.055 * color ** (1 / 2.4) - 0.055).astype(np.float32)
