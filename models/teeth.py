"""Two rows of teeth behind the lips of the face model.

The face model ends at the inside of the lips; what shows between them would be left to the generator to guess, and be
blurred, although parameters place it exactly: the upper teeth move with the skull, the lower ones with the jaw. So two
bands in the shape of a dental arch are drawn with the face. What teeth look like, the generator learns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.face import FaceModel
from models.params import EXPRESSION_INDEX

Array = NDArray[np.float32]
Indices = NDArray[np.int32]

COLUMNS, ROWS = 17, 4
"""Vertices across and down each band."""
HALF_WIDTH_M = 0.024
ARCH_PER_M = 36.0
"""Depth of the arch: metres back for each square metre from the middle, as a parabola."""
GUM_M, EDGE_M, DEPTH_M = (-0.0635, -0.0845), (-0.0752, -0.0762), (0.106, 0.1045)
"""Height of gum and biting edge, and depth of the front, of the upper and the lower band on the average head."""
TONGUE = (13380, 13606)
"""First and one past the last vertex of the tongue in the hm08 base mesh."""
JAW = ("jawForward", "jawLeft", "jawOpen", "jawRight")
ALBEDO = (0.62, 0.56, 0.48)
"""Linear colour of a tooth."""
CODE_HALF_WIDTH = 0.3
CODE_ROWS = ((0.005, 0.035), (0.04, 0.07))
"""Place of the bands in the correspondence image: below everything of the face model that is drawn, so that teeth have
texels and a code of their own."""


class Teeth:
    """The bands of one face model: `T` vertices that follow its identity and jaw."""

    def __init__(self, model: FaceModel) -> None:
        """Place the bands on the average head of `model` and find out how they move with it."""
        across = np.linspace(-1.0, 1.0, COLUMNS)
        bands, codes, triangles = [], [], []
        for band in range(2):
            down = np.linspace(0.0, 1.0, ROWS)[:, None]
            x = np.broadcast_to(HALF_WIDTH_M * across, (ROWS, COLUMNS))
            y = np.broadcast_to(GUM_M[band] + down * (EDGE_M[band] - GUM_M[band]), x.shape)
            bands.append(np.stack([x, y, DEPTH_M[band] - ARCH_PER_M * x**2], -1).reshape(-1, 3))
            first, last = CODE_ROWS[band]
            height = np.broadcast_to(first + down * (last - first), x.shape)
            codes.append(np.stack([0.5 + CODE_HALF_WIDTH * across + 0 * x, height, np.ones_like(x)], -1).reshape(-1, 3))
            triangles.append(_grid(is_upside_down=band == 1) + band * ROWS * COLUMNS)
        self.mean: Array = np.concatenate(bands).astype(np.float32)
        """`[T, 3]` on the average head."""
        self.triangles: Indices = np.concatenate(triangles).astype(np.int32)
        """`[F, 3]`, counter-clockwise seen from the front."""
        self.correspondence: Array = np.concatenate(codes).astype(np.float32)
        """`[T, 3]` in 0 to 1."""
        self.albedo: Array = np.broadcast_to(np.array(ALBEDO, np.float32), self.mean.shape)
        """`[T, 3]` linear light."""
        self._jaw = np.array([EXPRESSION_INDEX[name] for name in JAW])
        bone = _jaw_bone(model)
        self._near = _palate(model), bone
        half = ROWS * COLUMNS
        self._identity_basis = np.concatenate([
            _follow(model.mean[near], model.identity_basis[:, near], self.mean[band * half : (band + 1) * half])
            for band, near in enumerate(self._near)
        ], 1).astype(np.float32)  # fmt: skip
        self._jaw_basis = np.zeros((len(JAW), *self.mean.shape), np.float32)
        moves = model.expression_basis[self._jaw]
        self._jaw_basis[:, half:] = _follow(model.mean[bone], moves[:, bone], self.mean[half:])

    def neutral(self, identity: Array, shape: Array | None = None, rise_m: Array | None = None) -> Array:
        """Give the bands at rest `[T, 3]`, head frame, for identity coefficients `[80]`.

        Each goes as a whole with what lies around it where the face is off its identity by a `shape [V, 3]`, and lies
        higher by its own of `rise_m [2]`, upper and lower.
        """
        bands = np.asarray(self.mean + np.tensordot(identity, self._identity_basis, 1), np.float32)
        if shape is not None:
            bands.reshape(2, -1, 3)[:] += np.stack([shape[near].mean(0) for near in self._near])[:, None]
        if rise_m is not None:
            bands.reshape(2, -1, 3)[..., 1] += rise_m[:, None]
        return bands

    def vertices(self, neutral: Array, expression: Array) -> Array:
        """Move bands at rest `[T, 3]` with the jaw of `expression [52]`; `[T, 3]` in the head frame."""
        return np.asarray(neutral + np.tensordot(expression[self._jaw], self._jaw_basis, 1), np.float32)


def is_tongue(model: FaceModel) -> NDArray[np.bool_]:
    """Mark the vertices of the tongue `[V]`."""
    first, end = TONGUE
    return np.asarray((model.base_indices >= first) & (model.base_indices < end))


def _grid(*, is_upside_down: bool) -> Indices:
    index = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    # Rows run from the gum to the edge: down in the upper band, up in the lower one.
    triangles = np.concatenate([np.stack([a, c, b], -1), np.stack([b, c, d], -1)])
    return triangles[:, ::-1] if is_upside_down else triangles


def _palate(model: FaceModel) -> NDArray[np.int64]:
    """Find skin over the upper jaw: between nose and lip, still when the jaw moves."""
    x, y, z = model.mean.T
    still = np.linalg.norm(model.expression_basis[EXPRESSION_INDEX["jawOpen"]], axis=1) < 0.003
    return np.flatnonzero((abs(x) < 0.026) & (y > -0.072) & (y < -0.05) & (z > 0.09) & still)


def _jaw_bone(model: FaceModel) -> NDArray[np.int64]:
    """Find what moves with the jaw and nothing else does: the tongue at rest, which lies between the lower teeth."""
    return np.flatnonzero(is_tongue(model) & (model.mean[:, 2] > 0.07))


def _follow(near: Array, moves: Array, points: Array) -> Array:
    """Carry `points [T, 3]` along with vertices `near [N, 3]` that make `moves [K, N, 3]`: the best affine motion."""

    def lift(positions: Array) -> NDArray[np.float64]:
        return np.column_stack([100.0 * (positions - near.mean(0)), np.ones(len(positions))]).astype(np.float64)

    known = lift(near)
    # A ridge on the turning part alone: where the vertices say little of it, points just shift with them.
    ridge = np.diag([1.0, 1.0, 1.0, 0.0])
    solved = np.linalg.solve(known.T @ known + ridge, known.T @ np.moveaxis(moves, 1, 0).reshape(len(near), -1))
    carried = (lift(points) @ solved).reshape(len(points), len(moves), 3)
    return np.moveaxis(carried, 1, 0).astype(np.float32)
