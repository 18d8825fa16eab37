"""Places of their own in the texture for the tongue and the inside of the mouth.

The texture is laid around the head, and so tongue, inner cheeks and lips, one behind the other, would share their
texels: whoever opens the mouth wider than was ever seen would show lips and skin in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.face import FaceModel
from models.halo import front_codes
from models.params import EXPRESSION_INDEX
from models.rasterize import Rasterizer
from models.teeth import is_tongue

Array = NDArray[np.float32]
Indices = NDArray[np.int64]

AROUND = (0.4, 0.9)
"""From the tongue's right to its left, and on the other side of the head from the palate round to the floor of the
mouth: shares of the way from straight ahead to the side, which is how `models.generator.texture_places` reckons. The
teeth end at 0.32."""
ROWS = (0.005, 0.06)
"""From the root to the tip of the tongue, from the throat to the lips: below everything of the face model that is
drawn, as the teeth's, and so far below the chin's that none of the dark is mixed into them."""
DEEP_M = 0.03
"""Way along its surface from the lips that the inside of the mouth is told apart for: behind lies darkness."""
INSIDE = (0.0, -0.055, 0.05)
"""A point within the mouth of the average head, on its walls' side of the lips."""
LIPS_M = 0.09
"""No part of the lips lies further back; of the throat a little shows between them."""
VIEW_PIXELS, VIEW_M = 1024, 0.3
"""Size of the view from the front that finds what the lips hide."""


@dataclass(frozen=True, slots=True)
class InnerMouth:
    """The walls of the mouth, which begin where the lips meet."""

    triangles: Indices
    """`[F]` rows of the model's triangles."""
    vertices: Indices
    """`[N]` vertices of theirs, those of the lips' edge among them, which the lips have as well."""
    depth_m: Array
    """`[N]` way from the lips, along the walls."""
    correspondence: Array
    """`[N, 3]` codes in 0 to 1. Left and right share theirs."""


def tongue_correspondence(model: FaceModel) -> tuple[Indices, Array]:
    """Give the vertices of the tongue `[T]` and the codes that they have where it has a place of its own, `[T, 3]`."""
    vertices = np.flatnonzero(is_tongue(model))
    return vertices, _codes(_share(model.mean[vertices, 0]), _share(model.mean[vertices, 2]))


def inner_mouth(model: FaceModel) -> InnerMouth:
    """Find the walls of the mouth and the codes that they have where they have a place of their own."""
    rows = _behind_lips(model)
    triangles = model.triangles[rows]
    vertices = np.unique(triangles)
    others = np.delete(model.triangles, rows, 0)
    edge = np.intersect1d(vertices, others[~is_tongue(model)[others].any(1)])
    depth = _way(model.mean, triangles, edge)[vertices]
    # Open it is a tube, and each wall has its direction.
    opened = model.mean + model.expression_basis[EXPRESSION_INDEX["jawOpen"]]
    middle = float(opened[edge, 1].mean())
    around = np.arctan2(abs(opened[vertices, 0]), opened[vertices, 1] - middle) / np.pi
    codes = _codes(around, 1.0 - np.minimum(depth / DEEP_M, 1.0))
    codes[:, 0] = 1.0 - codes[:, 0]
    return InnerMouth(rows, vertices, depth, codes)


def _share(values: Array) -> Array:
    return np.asarray((values - values.min()) / np.ptp(values), np.float32)


def _codes(across: Array, forward: Array) -> Array:
    """Give the codes `[N, 3]` of places `[N]`, 0 to 1, in the tongue's part of the texture."""
    aside = AROUND[0] + across * (AROUND[1] - AROUND[0])
    height = ROWS[0] + forward * (ROWS[1] - ROWS[0])
    return front_codes(aside, height)


def _behind_lips(model: FaceModel) -> Indices:
    """Give the triangles that cannot be seen from the front with the mouth shut, and hang together within it."""
    triangles, points = model.triangles, model.mean
    scale = VIEW_PIXELS / VIEW_M
    pixels = np.stack([VIEW_PIXELS / 2 + scale * points[:, 0], VIEW_PIXELS / 2 - scale * (points[:, 1] + 0.07)], 1)
    view = Rasterizer(triangles, VIEW_PIXELS, VIEW_PIXELS)
    view.draw(pixels.astype(np.float32), (1.0 - points[:, 2]).astype(np.float32))
    is_hidden = ~is_tongue(model)[triangles].any(1)
    seen = np.unique(view.face[view.face >= 0])
    is_hidden[seen[points[triangles[seen], 2].min(1) > LIPS_M]] = False
    start = np.argmin(np.linalg.norm(points[triangles[is_hidden]].mean(1) - INSIDE, axis=1))
    is_reached = np.zeros(len(points), bool)
    is_reached[triangles[is_hidden][start]] = True
    count = 0
    while count < (count := int(is_reached.sum())):
        is_reached[triangles[is_hidden & is_reached[triangles].any(1)]] = True
    return np.flatnonzero(is_hidden & is_reached[triangles].all(1))


def _way(points: Array, triangles: NDArray[np.int32], start: Indices) -> Array:
    """Give the shortest way `[V]` from the vertices `start` along the edges of `triangles`, metres."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    way = np.full(len(points), np.inf, np.float32)
    way[start] = 0.0
    before = np.zeros(0, np.float32)
    while not np.array_equal(before, way):
        before = way.copy()
        np.minimum.at(way, edges[:, 1], before[edges[:, 0]] + length)
    return way
