"""Where the 478 landmarks lie on the face model: one barycentric point each, with a weight."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from capture.landmarks import COUNT
from models.face import FaceModel

Array = NDArray[np.float32]
Indices = NDArray[np.int32]

DEFAULT_PATH = Path(__file__).resolve().parents[1] / "models" / "weights" / "landmark_binding.safetensors"


@dataclass(frozen=True)
class LandmarkBinding:
    """Barycentric points of the face model under each landmark, baked by `python -m capture.build_binding`."""

    triangle: Indices
    """`[478]` triangle of the face model; the irises lie on the eyeballs and turn with them."""
    barycentric: Array
    """`[478, 3]` weights of the triangle's vertices, adding up to 1."""
    spread_m: Array
    """`[478]` how far the detected landmark strays from its point over many pictures, metres, root mean square."""

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Read a baked binding. Raises `ValueError` when an array is missing or of the wrong shape."""
        tensors = load_file(path or DEFAULT_PATH)
        for name, shape in {"triangle": (COUNT,), "barycentric": (COUNT, 3), "spread_m": (COUNT,)}.items():
            if name not in tensors or tensors[name].shape != shape:
                got = tensors[name].shape if name in tensors else "nothing"
                raise ValueError(f"landmark binding: expected {name} {list(shape)}, got {got}")
        return cls(tensors["triangle"], tensors["barycentric"], tensors["spread_m"])

    def save(self, path: Path) -> None:
        """Write what `load` reads."""
        save_file({"triangle": self.triangle, "barycentric": self.barycentric, "spread_m": self.spread_m}, path)

    def corners(self, model: FaceModel) -> Indices:
        """Give the three vertices `[478, 3]` that hold each landmark."""
        return np.asarray(model.triangles[self.triangle], np.int32)

    def points(self, model: FaceModel, vertices: Array) -> Array:
        """Take the landmarks `[..., 478, D]` out of per-vertex values `[..., V, D]`."""
        return np.asarray(np.einsum("lk,...lkd->...ld", self.barycentric, vertices[..., self.corners(model), :]))


def bind(
    model: FaceModel, vertices_px: Array, landmarks_px: Array, metres_per_px: Array, rounds: int = 6
) -> LandmarkBinding:
    """Find for each landmark the surface point that stays closest to it over many pictures with known parameters.

    `vertices_px [N, V, 2]` are the projected model vertices, `landmarks_px [N, 478, 2]` what was detected and
    `metres_per_px [N]` the size of a pixel at the head. Since the pictures differ in pose and expression, the point
    that moves as the landmark moves is also found in depth, and upper and lower lids and lips keep apart.
    """
    scale = metres_per_px[:, None, None]
    vertices, landmarks = vertices_px * scale, landmarks_px * scale
    skin = (model.base_indices >= 0) & (model.rigidity > 0.5)
    triangle = np.zeros(COUNT, np.int32)
    barycentric = np.zeros((COUNT, 3), np.float32)
    spread = np.zeros(COUNT, np.float32)
    for allowed, chosen in _regions(model, skin):
        weights = np.ones((len(vertices), len(chosen)))
        for _ in range(rounds):  # iteratively reweighted: pictures where the detector erred count little
            nearest = _nearest_vertices(vertices, landmarks[:, chosen], weights, allowed)
            for k, landmark in enumerate(chosen):
                found = _best_point(model, vertices, landmarks[:, landmark], weights[:, k], nearest[k], allowed)
                triangle[landmark], barycentric[landmark] = found
                points = np.einsum("k,nkd->nd", found[1], vertices[:, model.triangles[found[0]]])
                error = np.linalg.norm(points - landmarks[:, landmark], axis=-1)
                weights[:, k] = 1.0 / np.maximum(error, ROBUST_M)
                spread[landmark] = np.sqrt((weights[:, k] * error**2).sum() / weights[:, k].sum())
    return LandmarkBinding(triangle, barycentric, spread)


ROBUST_M = 0.002
"""Errors beyond this count linearly."""


def _regions(model: FaceModel, skin: NDArray[np.bool_]) -> list[tuple[NDArray[np.bool_], NDArray[np.intp]]]:
    """Pair the landmarks with the vertices that they may lie on: face on the skin, irises on their eyeballs."""
    regions = [(skin, np.arange(468))]
    for (start, stop), first in zip(model.eye_ranges, (473, 468), strict=True):
        eyeball = np.zeros(len(skin), bool)
        eyeball[start:stop] = True
        regions.append((eyeball, np.arange(first, first + 5)))
    return regions


def _nearest_vertices(
    vertices: Array, landmarks: Array, weights: NDArray[np.float64], allowed: NDArray[np.bool_], count: int = 4
) -> NDArray[np.intp]:
    """Find for each of `landmarks [N, K, 2]` the `count` vertices closest by weighted square, `[K, count]`."""
    candidates = np.flatnonzero(allowed)
    chosen = vertices[:, candidates].astype(np.float64)
    # |v - l|^2 summed over pictures, as matrix products: every vertex against every landmark.
    squared = weights.T @ (chosen**2).sum(-1)
    for axis in (0, 1):
        squared -= 2.0 * (weights * landmarks[:, :, axis]).T @ chosen[:, :, axis]
    return candidates[np.argsort(squared, axis=1)[:, :count]]


def _best_point(
    model: FaceModel,
    vertices: Array,
    landmark: Array,
    weights: NDArray[np.float64],
    nearest: NDArray[np.intp],
    allowed: NDArray[np.bool_],
) -> tuple[int, Array]:
    """Search the triangles around the nearest vertices for the point with the least weighted squared distance."""
    around = np.flatnonzero(np.isin(model.triangles, nearest).any(1) & allowed[model.triangles].all(1))
    best, best_error, best_weights = -1, np.inf, np.zeros(3)
    for index in around:
        corners = vertices[:, model.triangles[index]].astype(np.float64)  # [N, 3, 2]
        point, error = _closest_in_triangle(corners, landmark.astype(np.float64), weights)
        if error < best_error:
            best, best_error, best_weights = int(index), error, point
    return best, best_weights.astype(np.float32)


def _closest_in_triangle(
    corners: NDArray[np.float64], target: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Minimise the weighted squared distance of one barycentric point in `corners [N, 3, 2]` to `target [N, 2]`."""
    root = np.sqrt(weights / weights.sum())[:, None]
    offset = ((target - corners[:, 0]) * root).ravel()
    sides = np.stack([((corners[:, k] - corners[:, 0]) * root).ravel() for k in (1, 2)], 1)
    options = [np.linalg.lstsq(sides, offset, rcond=None)[0]]
    for start, along in ((0.0, [1.0, 0.0]), (0.0, [0.0, 1.0]), ([1.0, 0.0], [-1.0, 1.0])):  # the three edges
        base, step = np.broadcast_to(np.asarray(start), 2), np.asarray(along)
        line = sides @ step
        t = np.clip(line @ (offset - sides @ base) / max(line @ line, 1e-18), 0.0, 1.0)
        options.append(base + t * step)
    inside = [o for o in options if o.min() >= -1e-9 and o.sum() <= 1 + 1e-9]
    errors = [float(((sides @ o - offset) ** 2).sum()) for o in inside]
    b, c = inside[int(np.argmin(errors))]
    return np.array([1.0 - b - c, b, c]), min(errors)
