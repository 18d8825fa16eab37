"""The target's mesh: body and parts in one vertex list, its 52 shapes, and how its bones carry it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.build.milo.mhclo import Polygons
from models.params import EXPRESSION_SIZE

Array = NDArray[np.float32]

BASE_VERTICES = 19158
"""Vertices of MakeHuman's base mesh hm08: the first of every target mesh."""
BONES = ("neck01", "neck02", "neck03", "head")
"""The bones that turn the head, from below."""


@dataclass(frozen=True, slots=True)
class Part:
    """A range of the mesh's vertices and the polygons over them."""

    start: int
    """Index of its first vertex in the mesh."""
    count: int
    """Number of its vertices."""
    polygons: Polygons
    """Corner indices are counted from `start`."""
    hidden: NDArray[np.int64]
    """Vertices of the base mesh that this part covers."""

    @property
    def vertices(self) -> slice:
        """Its place in the mesh's arrays."""
        return slice(self.start, self.start + self.count)


@dataclass(frozen=True, slots=True)
class TargetMesh:
    """A target at rest, and what moves it. World axes, metres."""

    rest: Array
    """`[N, 3]` vertices at rest, arms down."""
    shapes: Array
    """`[52, N, 3]` displacements by the ARKit blendshapes at weight 1, in the order of `EXPRESSION_NAMES`."""
    bone_weights: Array
    """`[N, 4]` how far each of `BONES` carries a vertex; the rest of it follows the body."""
    pivots: Array
    """`[4, 3]` joints of `BONES`."""
    parts: dict[str, Part]
    """`body`, and the parts of the description."""

    def __post_init__(self) -> None:
        count = len(self.rest)
        for name, shape in (("shapes", (EXPRESSION_SIZE, count, 3)), ("bone_weights", (count, 4)), ("pivots", (4, 3))):
            if getattr(self, name).shape != shape:
                raise ValueError(f"TargetMesh.{name}: expected shape {shape}, got {getattr(self, name).shape}")

    def save(self, path: Path) -> None:
        """Write everything to one `.npz` without pickles."""
        arrays: dict[str, NDArray[np.generic]] = {
            "rest": self.rest,
            "shapes": self.shapes,
            "bone_weights": self.bone_weights,
            "pivots": self.pivots,
            "part_names": np.array(list(self.parts)),
        }
        for name, part in self.parts.items():
            arrays[f"{name}/range"] = np.array([part.start, part.count])
            arrays[f"{name}/corners"] = part.polygons.corners
            arrays[f"{name}/coordinates"] = part.polygons.coordinates
            arrays[f"{name}/hidden"] = part.hidden
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> TargetMesh:
        """Read what `save` wrote."""
        with np.load(path) as data:
            parts = {
                str(name): Part(
                    start=int(data[f"{name}/range"][0]),
                    count=int(data[f"{name}/range"][1]),
                    polygons=Polygons(data[f"{name}/corners"], data[f"{name}/coordinates"]),
                    hidden=data[f"{name}/hidden"],
                )
                for name in data["part_names"]
            }
            return cls(data["rest"], data["shapes"], data["bone_weights"], data["pivots"], parts)
