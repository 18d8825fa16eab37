"""MakeHuman's proxies: meshes (`.obj`) bound to the hm08 base mesh by `.mhclo` files, so that they fit any body."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

DECIMETRES = 10.0
"""MakeHuman measures in decimetres."""


def to_makehuman(points: Array) -> Array:
    """Turn world points `[..., 3]` (metres, z up, face along -y) into MakeHuman's (decimetres, y up, face along +z)."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1) * DECIMETRES


def from_makehuman(points: Array) -> Array:
    """Undo `to_makehuman`."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1) / DECIMETRES


@dataclass(frozen=True, slots=True)
class Polygons:
    """Faces of a mesh and their texture corners; triangles have -1 in the fourth place."""

    corners: Indices
    """`[F, 4]` vertex indices."""
    coordinates: Array
    """`[F, 4, 2]` texture coordinates, v upwards; zero where there are none."""


def read_obj(path: Path) -> tuple[Array, Polygons, NDArray[np.str_]]:
    """Read vertices `[N, 3]`, polygons, and the group of each polygon `[F]` of a Wavefront file.

    Raises `ValueError` on a polygon of other than three or four corners.
    """
    vertices: list[list[float]] = []
    texture: list[list[float]] = []
    corners: list[list[int]] = []
    texture_corners: list[list[int]] = []
    groups: list[str] = []
    group = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        word, *values = line.split() or [""]
        if word == "v":
            vertices.append([float(value) for value in values[:3]])
        elif word == "vt":
            texture.append([float(value) for value in values[:2]])
        elif word == "g":
            group = values[0] if values else ""
        elif word == "f":
            if not 3 <= len(values) <= 4:
                raise ValueError(f"{path}:{number}: expected 3 or 4 corners, got {len(values)}")
            pairs = [value.split("/") for value in values] + [["0", "0"]] * (4 - len(values))
            corners.append([int(pair[0]) - 1 for pair in pairs])
            texture_corners.append([int(pair[1] or 0) - 1 if len(pair) > 1 else -1 for pair in pairs])
            groups.append(group)
    table = np.vstack([np.array(texture).reshape(-1, 2), np.zeros((1, 2))])  # index -1 takes the last row
    polygons = Polygons(np.array(corners, np.int64).reshape(-1, 4), table[np.array(texture_corners, np.int64)])
    return np.array(vertices).reshape(-1, 3), polygons, np.array(groups)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A mesh whose vertices hang on triangles of the base mesh."""

    anchors: Indices
    """`[N, 3]` base vertices of each proxy vertex."""
    weights: Array
    """`[N, 3]` barycentric weights over the anchors; may be negative."""
    offsets: Array
    """`[N, 3]` additional offset in MakeHuman's axes, in units of the body's scale."""
    scales: tuple[tuple[int, int, float] | None, ...]
    """For x, y, z: two base vertices and the distance between them on the body that the proxy was made for."""
    hidden: Indices
    """Base vertices that the proxy covers: skin below clothes."""
    polygons: Polygons

    def fit(self, rest: Array, posed: Array | None = None) -> Array:
        """Place the proxy `[N, 3]` on a body at rest `[19158, 3]`; `posed` is the same body in another pose.

        World axes, metres. Offsets are scaled by the body at rest and turned with the triangle they hang on.
        """
        posed = rest if posed is None else posed
        body = to_makehuman(rest)
        scale = np.ones(3)
        for axis, reference in enumerate(self.scales):
            if reference is not None:
                first, second, distance = reference
                scale[axis] = abs(body[first, axis] - body[second, axis]) / distance
        offsets = from_makehuman(self.offsets * scale)
        moved = np.abs(posed - rest).max() > 1e-6
        if moved:
            turn = self._frames(posed) @ np.swapaxes(self._frames(rest), 1, 2)
            offsets = np.einsum("nij,nj->ni", turn, offsets)
        return (posed[self.anchors] * self.weights[..., None]).sum(1) + offsets

    def carry(self, field: Array) -> Array:
        """Interpolate something known at base vertices `[..., 19158, C]` to the proxy's `[..., N, C]`."""
        return (field[..., self.anchors, :] * self.weights[..., None]).sum(-2)

    def _frames(self, body: Array) -> Array:
        """Build an orthonormal frame `[N, 3, 3]` on each anchoring triangle, the identity where it has no area."""
        first = body[self.anchors[:, 1]] - body[self.anchors[:, 0]]
        normal = np.cross(first, body[self.anchors[:, 2]] - body[self.anchors[:, 0]])
        lengths = np.linalg.norm(first, axis=1), np.linalg.norm(normal, axis=1)
        flat = (lengths[0] < 1e-9) | (lengths[1] < 1e-14)
        first = first / np.where(flat, 1.0, lengths[0])[:, None]
        normal = normal / np.where(flat, 1.0, lengths[1])[:, None]
        frames = np.stack([first, normal, np.cross(first, normal)], -1)
        frames[flat] = np.eye(3)
        return frames


def read_mhclo(path: Path) -> Proxy:
    """Read a `.mhclo` file and the `.obj` it names. Raises `ValueError` if they do not belong together."""
    scales: dict[str, tuple[int, int, float]] = {}
    rows: list[list[float]] = []
    hidden: list[str] = []
    mesh, section = "", ""
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] in ("verts", "delete_verts", "weights"):
            section = words[0]
        elif words[0] in ("x_scale", "y_scale", "z_scale"):
            scales[words[0][0]] = (int(words[1]), int(words[2]), float(words[3]))
        elif words[0] == "obj_file":
            mesh = words[1]
        elif section == "verts" and words[0].lstrip("-").isdigit():
            rows.append([float(word) for word in words])
        elif section == "delete_verts" and words[0].isdigit():
            hidden += words  # a range may go on in the next line
    if not mesh:
        raise ValueError(f"{path}: names no obj_file")
    vertices, polygons, _ = read_obj(path.parent / mesh)
    if len(vertices) != len(rows):
        raise ValueError(f"{path}: binds {len(rows)} vertices, {mesh} has {len(vertices)}")
    table = np.array([row if len(row) > 1 else [row[0], row[0], row[0], 1, 0, 0, 0, 0, 0] for row in rows])
    return Proxy(
        anchors=table[:, :3].astype(np.int64),
        weights=table[:, 3:6],
        offsets=table[:, 6:9],
        scales=tuple(scales.get(axis) for axis in "xyz"),
        hidden=np.array(sorted(set(_ranges(hidden))), np.int64),
        polygons=polygons,
    )


def _ranges(words: list[str]) -> list[int]:
    """Read vertex numbers written as `3 - 5 9`."""
    numbers: list[int] = []
    is_range = False
    for word in words:
        if word == "-":
            is_range = True
        elif is_range:
            numbers += range(numbers[-1] + 1, int(word) + 1)
            is_range = False
        else:
            numbers.append(int(word))
    return numbers
