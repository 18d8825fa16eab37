"""Grow the hair of the head as strands on the mesh at rest: from numbers alone, so that no asset's licence comes in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.build.milo.mesh import TargetMesh
from models.build.milo.target import Hair, Target
from models.build.milo.texture import FACE_HEIGHT, FACE_WIDTH, HEADROOM, face_mask, face_pixels, mirrored

Array = NDArray[np.float64]

STRANDS_PER_CLUMP = 55
ROOT_DEPTH_M = 0.0012
"""How far below the skin a strand begins."""
RADIUS_M = 0.000095
"""Radius at the root; real hair is thinner, and there is more of it."""
JITTER = 0.16
"""Disorder in the direction of single strands; clumps have more."""
CLUMP_JITTER = 0.38


@dataclass(frozen=True, slots=True)
class Strands:
    """Hair at rest, world axes, metres. It follows the head bone rigidly."""

    points: NDArray[np.float32]
    """`[S, P, 3]` from root to tip."""
    radii: NDArray[np.float32]
    """`[S, P]`."""

    def save(self, path: Path) -> None:
        """Write an `.npz`."""
        np.savez_compressed(path, points=self.points, radii=self.radii)

    @classmethod
    def load(cls, path: Path) -> Strands:
        """Read what `save` wrote."""
        with np.load(path) as data:
            return cls(data["points"], data["radii"])


@dataclass(frozen=True, slots=True)
class Roots:
    """Where strands leave the skin."""

    points: Array
    """`[S, 3]`."""
    normals: Array
    """`[S, 3]`."""
    inside_px: Array
    """`[S]` distance from the hairline in face pixels, negative outside."""


class Scalp:
    """The skin that hair grows on and lies upon."""

    def __init__(self, mesh: TargetMesh, hair: Hair) -> None:
        from scipy.ndimage import distance_transform_edt
        from scipy.spatial import cKDTree

        body = mesh.parts["body"].polygons
        vertices = mesh.rest.astype(np.float64)
        triangles = np.concatenate([body.corners[:, [0, 1, 2]], body.corners[:, [0, 2, 3]]])
        coordinates = np.concatenate([body.coordinates[:, [0, 1, 2]], body.coordinates[:, [0, 2, 3]]])
        x, y = np.moveaxis(face_pixels(coordinates.mean(1)), -1, 0)
        of_head = mesh.bone_weights[triangles].mean(1)[:, 3] > 0.3
        high = vertices[triangles].mean(1)[:, 2] > mesh.pivots[3, 2] - 0.05
        in_crop = (x > -5) & (x < FACE_WIDTH + 5) & (y > 10 - HEADROOM) & (y < FACE_HEIGHT)
        chosen = of_head & high & in_crop
        self._vertices = vertices
        self._triangles = triangles[chosen]
        self._coordinates = coordinates[chosen]
        corners = vertices[self._triangles]
        area_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self._areas = np.linalg.norm(area_normals, axis=1)
        normals = np.zeros_like(vertices)
        for corner in range(3):
            np.add.at(normals, self._triangles[:, corner], area_normals)
        used = np.unique(self._triangles)
        self._surface = vertices[used]
        self._surface_normals = _unit(normals[used])
        self._normals = _unit(normals)
        self._tree = cKDTree(self._surface)
        self.center = np.array([0.0, corners.mean((0, 1))[1], mesh.pivots[3, 2] + 0.075])
        mask = face_mask(mirrored(hair.hairline)) > 0
        self._inside = distance_transform_edt(mask) - distance_transform_edt(~mask)

    def sample(self, count: int, rng: np.random.Generator) -> Roots:
        """Scatter points evenly over the skin."""
        chosen = rng.choice(len(self._triangles), count, p=self._areas / self._areas.sum())
        weights = rng.random((count, 2))
        outside = weights.sum(1) > 1.0
        weights[outside] = 1.0 - weights[outside]
        barycentric = np.c_[1.0 - weights.sum(1), weights][..., None]
        corners = self._triangles[chosen]
        points = (self._vertices[corners] * barycentric).sum(1)
        normals = _unit((self._normals[corners] * barycentric).sum(1))
        x, y = np.moveaxis(face_pixels((self._coordinates[chosen] * barycentric).sum(1)), -1, 0)
        row = np.clip(y + HEADROOM, 0, FACE_HEIGHT + HEADROOM - 1).astype(int)
        inside = self._inside[row, np.clip(x, 0, FACE_WIDTH - 1).astype(int)]
        return Roots(points, normals, inside)

    def nearest(self, points: Array) -> tuple[Array, Array]:
        """Give the skin's nearest vertex and its normal for each point `[..., 3]`."""
        _, index = self._tree.query(points)
        return self._surface[index], self._surface_normals[index]

    def push_out(self, points: Array, height_m: Array | float) -> Array:
        """Lift points that are lower than `height_m` above the skin."""
        skin, normals = self.nearest(points)
        height = ((points - skin) * normals).sum(-1)
        return points + normals * np.maximum(0.0, height_m - height)[..., None]


class Barber:
    """How a head's hair lies: combed over from a side parting, short at the sides, a whorl at the crown."""

    def __init__(self, scalp: Scalp, hair: Hair, rng: np.random.Generator) -> None:
        self._scalp, self._hair, self._rng = scalp, hair, rng

    def style(self, roots: Roots) -> tuple[Array, Array, Array]:
        """Give direction along the skin `[S, 3]`, lift from it in radians `[S]`, and length in metres `[S]`."""
        points, hair = roots.points, self._hair
        arm = points - self._scalp.center
        out = _unit(arm)
        top = np.clip((out[:, 2] - 0.35) / 0.45, 0.0, 1.0)
        back = np.clip((out[:, 1] - 0.1) / 0.6, 0.0, 1.0)
        front = np.clip((-out[:, 1] - 0.15) / 0.6, 0.0, 1.0)
        parting = points[:, 0] - hair.parting_m + 0.012 * self._rng.normal(size=len(points))
        left_of_it = 1.0 / (1.0 + np.exp(-parting / 0.009))
        zero = np.zeros(len(points))
        over = np.stack([-0.62 + left_of_it, -0.62 + 0.35 * front, zero], 1)
        side = np.stack([zero, zero + 0.28, zero - 1.0], 1)
        nape = np.stack([0.15 * arm[:, 0] / 0.08, zero, zero - 1.0], 1)
        share = top[:, None] ** 0.8
        direction = over * share + (1.0 - share) * (side * (1.0 - back[:, None]) + nape * back[:, None])
        whorl = (top * back)[:, None]
        around = points - (self._scalp.center + np.array([0.012, 0.075, 0.0]))
        around[:, 2] = 0.0
        around = _unit(around)
        swirl = np.c_[-around[:, 1], around[:, 0], zero]
        direction = direction * (1.0 - whorl) + whorl * (around + 0.6 * swirl)
        fringe = 0.6 * (front * np.clip((out[:, 2] - 0.2) / 0.3, 0.0, 1.0))[:, None]
        direction = direction * (1.0 - fringe) + fringe * np.array([-0.75, -0.1, 0.6])
        lift = np.deg2rad(17.0 + 40.0 * top + 26.0 * front - 8.0 * back * (1.0 - top))
        length = hair.length_m + hair.top_length_m * top**1.1
        length += hair.fringe_length_m * front * np.clip(top + 0.4, 0.0, 1.0)
        length *= np.clip(0.35 + roots.inside_px / 26.0, 0.35, 1.0)  # shorter towards the hairline
        length *= 0.45 + 0.55 * np.clip((out[:, 2] + 0.15) / 0.5, 0.0, 1.0)  # and down the neck
        return _along(direction, roots.normals), lift, length

    def grow(self, roots: Roots, jitter: float) -> tuple[Array, Array]:
        """Grow strands `[S, P, 3]` step by step over the skin, and give their lengths `[S]`."""
        rng, steps = self._rng, self._hair.points
        count = len(roots.points)
        direction, lift, length = self.style(roots)
        direction = _along(direction + jitter * rng.normal(size=(count, 3)), roots.normals)
        lift = lift + 0.35 * jitter * rng.normal(size=count)
        length = length * np.clip(1.0 + 0.12 * rng.normal(size=count), 0.5, 1.3)
        strands = np.zeros((count, steps, 3))
        strands[:, 0] = roots.points - ROOT_DEPTH_M * roots.normals
        tip = roots.points.copy()
        for step in range(1, steps):
            share = step / (steps - 1)
            angle = (lift * (1.0 - share) ** 1.1 - 0.10 * share)[:, None]
            _, normals = self._scalp.nearest(tip)
            heading = _along(direction, normals) * np.cos(angle) + normals * np.sin(angle)
            heading = _unit(heading + share * np.array([0.0, 0.0, -0.12]))  # gravity
            tip = self._scalp.push_out(tip + heading * (length / (steps - 1))[:, None], 0.0012 + 0.0035 * share)
            strands[:, step] = tip
        return strands, length


def grow_hair(mesh: TargetMesh, target: Target) -> Strands:
    """Grow the strands of a description; the seed decides each of them."""
    from scipy.spatial import cKDTree

    hair = target.hair
    rng = np.random.default_rng([target.seed, 2])
    scalp = Scalp(mesh, hair)
    barber = Barber(scalp, hair, rng)
    roots = _thin_out(scalp.sample(4 * hair.strands, rng), hair.strands, rng)
    strands, length = barber.grow(roots, JITTER)
    leaders = rng.choice(len(strands), max(1, len(strands) // STRANDS_PER_CLUMP), replace=False)
    lead, _ = barber.grow(Roots(roots.points[leaders], roots.normals[leaders], roots.inside_px[leaders]), CLUMP_JITTER)
    _, clump = cKDTree(roots.points[leaders]).query(roots.points + 0.0015 * rng.normal(size=roots.points.shape))

    share = np.linspace(0.0, 1.0, hair.points)[None, :, None]
    pull = (0.85 * rng.beta(3.0, 1.6, size=len(strands)))[:, None, None] * np.clip(length / 0.02, 0.25, 1.0)[
        :, None, None
    ]
    shifted = strands[:, :1] * (1.0 - 0.55 * share) + lead[clump][:, :1] * 0.55 * share
    clumped = lead[clump] - lead[clump][:, :1] + shifted
    weight = pull * share**1.2
    strands = strands * (1.0 - weight) + clumped * weight

    phase = rng.random((len(strands), 1, 1)) * 2.0 * np.pi
    waves = rng.uniform(2.0, 5.0, (len(strands), 1, 1))
    bend = rng.normal(size=(len(strands), 1, 3)) * 0.0009 * np.clip(length / 0.03, 0.2, 1.2)[:, None, None]
    strands += bend * np.sin(phase + 3.0 * waves * share) * share
    is_stray = rng.random(len(strands)) < 0.035
    strands[is_stray] += 0.004 * rng.normal(size=(int(is_stray.sum()), 1, 3)) * share**2
    strands[:, 1:] = scalp.push_out(strands[:, 1:], 0.0010)
    taper = RADIUS_M * (1.0 - 0.75 * np.linspace(0.0, 1.0, hair.points) ** 2)
    radii = taper[None] * rng.uniform(0.75, 1.2, (len(strands), 1))
    return Strands(strands.astype(np.float32), radii.astype(np.float32))


def _thin_out(roots: Roots, count: int, rng: np.random.Generator) -> Roots:
    """Keep up to `count` roots inside the hairline, thinning towards it."""
    keep = np.flatnonzero(roots.inside_px > rng.exponential(7.0, size=len(roots.inside_px)) - 5.0)[:count]
    return Roots(roots.points[keep], roots.normals[keep], roots.inside_px[keep])


def _unit(vectors: Array) -> Array:
    return vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-12)


def _along(vectors: Array, normals: Array) -> Array:
    """Project onto the skin's tangent plane, unit length."""
    return _unit(vectors - (vectors * normals).sum(-1, keepdims=True) * normals)
