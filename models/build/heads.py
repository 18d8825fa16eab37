"""Random human heads from `anny` (Apache-2.0, data CC0), in the axes of `models/__init__.py`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.params import EXPRESSION_NAMES

Array = NDArray[np.float64]

FACE_CHANGE_PREFIXES = (
    "cheek", "chin", "ear", "eyebrows", "eye", "forehead", "head", "mouth", "neck-double", "nose",
)  # fmt: skip
"""Local changes of `anny` that reshape the head, without their `l-` and `r-`."""

EYE_RADIUS_SHARE = 0.969
"""Radius of the eyeball over the mean distance of `anny`'s eye vertices, cornea included, from the eye bone."""

CHANGE_SCALE = {"head": 0.22, "ear": 0.3, "eye": 0.28, "mouth": 0.3, "nose": 0.3}
"""Standard deviation of a local change by prefix, in units of the whole change; 0.28 for all others."""


@dataclass(frozen=True, slots=True)
class HeadMesh:
    """Topology of the head as `anny` cuts it, its eyeballs taken out."""

    faces: NDArray[np.int64]
    """`[F, 3]` triangles over the kept vertices."""
    rigidity: Array
    """`[V]` share of a vertex that moves with the head bone: 1 on the head, towards 0 down the neck."""
    texture_coordinates: Array
    """`[V, 2]` MakeHuman texture coordinates, v upwards."""
    base_indices: NDArray[np.int64]
    """`[V]` index of each vertex in the hm08 base mesh."""
    tongue: NDArray[np.int64]
    """Indices of the tongue's vertices."""


class HeadSampler:
    """Sample heads, expressions and eyeball positions from `anny`."""

    def __init__(self) -> None:
        import anny
        from anny.models.model_data import TopologyConfig

        topology = dataclasses.replace(
            TopologyConfig.from_string("anny"), submodel="head", triangulate_faces=False, nudity_edits=False
        )
        self._model = anny.Anny(topology=topology, local_changes="all", facial_actions="all", phenotypes="all")
        labels = list(self._model.facial_action_labels)
        if sorted(labels) != sorted(EXPRESSION_NAMES):
            raise ValueError("anny: its facial actions are not the 52 ARKit blendshapes")
        self._changes = [name for name in self._model.local_change_labels if self._is_of_face(name)]
        self._parts = self._connected_parts()
        eyes = [part for part in self._parts if len(part) < 100]  # the tongue has 226 vertices, the skin 4,200
        self._eye_vertices = eyes
        self._is_kept = np.ones(len(self._model.base_mesh_vertex_indices), bool)
        self._is_kept[np.concatenate(eyes)] = False
        self.mesh = self._cut_mesh()

    @staticmethod
    def _is_of_face(name: str) -> bool:
        return name.removeprefix("l-").removeprefix("r-").startswith(FACE_CHANGE_PREFIXES)

    def _connected_parts(self) -> list[NDArray[np.int64]]:
        count = len(self._model.base_mesh_vertex_indices)
        label = np.arange(count)
        quads = self._model.faces.numpy()
        while True:  # spread the smallest label over each face until nothing changes
            before = label.copy()
            np.minimum.at(label, quads, label[quads].min(1, keepdims=True))
            label = label[label]
            if np.array_equal(before, label):
                break
        return [np.flatnonzero(label == value) for value in np.unique(label)]

    def _cut_mesh(self) -> HeadMesh:
        model = self._model
        quads = model.faces.numpy()
        corners = model.face_texture_coordinate_indices.numpy()
        coordinates = np.zeros((len(self._is_kept), 2))
        coordinates[quads.ravel()] = model.texture_coordinates.numpy()[corners.ravel()]
        new_index = np.cumsum(self._is_kept) - 1
        quads = new_index[quads[self._is_kept[quads].all(1)]]
        triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
        triangles = triangles[(triangles[:, 0] != triangles[:, 1]) & (triangles[:, 1] != triangles[:, 2])]
        triangles = triangles[triangles[:, 0] != triangles[:, 2]]
        rigidity = np.zeros(len(self._is_kept))
        of_head = np.array([self._follows_head(bone) for bone in range(len(model.bone_labels))])
        weights = model.vertex_bone_weights.numpy() * of_head[model.vertex_bone_indices.numpy()]
        rigidity += weights.sum(1)
        tongue = next(part for part in self._parts if 100 <= len(part) < 1000)
        return HeadMesh(
            faces=triangles,
            rigidity=rigidity[self._is_kept],
            texture_coordinates=coordinates[self._is_kept],
            base_indices=model.base_mesh_vertex_indices.numpy()[self._is_kept],
            tongue=new_index[tongue],
        )

    def _follows_head(self, bone: int) -> bool:
        parents = list(self._model.bone_parents)
        while bone >= 0:
            if self._model.bone_labels[bone] == "head":
                return True
            bone = int(parents[bone])
        return False

    @staticmethod
    def _to_axes(vertices: Array) -> Array:
        """Turn `anny`'s axes (z up, face along -y) into ours (y up, face along +z)."""
        return np.stack([vertices[..., 0], vertices[..., 2], -vertices[..., 1]], -1)

    def _evaluate(self, **kwargs: object) -> tuple[Array, Array]:
        with torch.no_grad():
            output = self._model(**kwargs)
        vertices = self._to_axes(output["vertices"].numpy())
        bones = [self._model.bone_labels.index(bone) for bone in ("eye.L", "eye.R")]
        centers = self._to_axes(output["bone_poses"][:, bones, :3, 3].numpy())
        left = vertices[:, max(self._eye_vertices, key=len)]  # the one that anny keeps whole
        radius = EYE_RADIUS_SHARE * np.linalg.norm(left - centers[:, :1], axis=-1).mean(1)
        balls = np.stack([centers, centers + radius[:, None, None] * np.array([0.0, 0.0, 1.0])], 2)
        return vertices[:, self._is_kept], balls

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw `count` adult heads, in metres.

        Gives vertices `[count, V, 3]` and eyeballs `[count, 2, 2, 3]`: (left, right) x (centre, frontmost point).
        """
        dtype = self._model.dtype
        groups = rng.dirichlet((0.7, 0.7, 0.7), count)
        phenotype = {
            "gender": rng.beta(0.6, 0.6, count),
            "age": rng.uniform(0.55, 1.0, count),
            "muscle": rng.beta(3, 3, count),
            "weight": rng.beta(2.5, 3, count),
            "height": rng.beta(4, 4, count),
            "proportions": rng.beta(2, 1.5, count),
            "african": groups[:, 0], "asian": groups[:, 1], "caucasian": groups[:, 2],
        }  # fmt: skip
        changes: dict[str, Array] = {}
        for name in self._changes:
            bare = name.removeprefix("l-").removeprefix("r-")
            scale = next((s for prefix, s in CHANGE_SCALE.items() if bare.startswith(prefix)), 0.28)
            if name.startswith("r-"):  # faces are nearly symmetric: the right side follows the left
                left = changes.get("l-" + bare)
                if left is None:
                    raise ValueError(f"anny: {name} comes before its left twin")
                changes[name] = left + rng.normal(0, 0.25 * scale, count)
            else:
                changes[name] = rng.normal(0, scale, count)
        return self._evaluate(
            phenotype_kwargs={k: torch.tensor(v, dtype=dtype) for k, v in phenotype.items()},
            local_changes_kwargs={k: torch.tensor(v, dtype=dtype) for k, v in changes.items()},
        )

    def expressions(self) -> Array:
        """Give the 52 ARKit shapes as offsets `[52, V, 3]` in metres, in the order of `EXPRESSION_NAMES`."""
        one = torch.ones(1, dtype=self._model.dtype)
        rest, _ = self._evaluate()
        offsets = [self._evaluate(facial_actions={name: one})[0][0] - rest[0] for name in EXPRESSION_NAMES]
        return np.stack(offsets)
