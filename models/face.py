"""The parametric head: identity, 52 ARKit blendshapes, rotating eyeballs with lids, albedo."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numba
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from models.camera import rotation_matrix
from models.params import EXPRESSION_INDEX, EXPRESSION_SIZE, IDENTITY_SIZE, REFLECTANCE_SIZE, VERTICES, FaceParams

Array = NDArray[np.float32]
Indices = NDArray[np.int32]

DEFAULT_PATH = Path(__file__).parent / "weights" / "face_model.safetensors"

LOOK_YAW_RAD = np.deg2rad(30.0)
"""Gaze yaw at which `eyeLookIn*`/`eyeLookOut*` reaches 1."""
LOOK_UP_RAD = np.deg2rad(22.0)
"""Gaze pitch at which `eyeLookUp*` reaches 1."""
LOOK_DOWN_RAD = np.deg2rad(25.0)
"""Gaze pitch, downwards, at which `eyeLookDown*` reaches 1."""
LID_CLEARANCE = 1.025
"""Closest that a lid vertex may come to the eyeball's centre, in eyeball radii."""


@dataclass(frozen=True)
class FaceModel:
    """A linear head model with eyeballs, baked by `python -m models.build.face_model`.

    `V` vertices (skin and tongue, then the left and right eyeball), metres, in the head frame of `models/__init__.py`;
    the origin lies between the ears at eye height.
    """

    mean: Array
    """`[V, 3]` average head at rest."""
    identity_basis: Array
    """`[80, V, 3]` offset of one standard deviation of each identity component."""
    expression_basis: Array
    """`[52, V, 3]` offsets of the ARKit blendshapes at weight 1; zero on the eyeballs."""
    triangles: Indices
    """`[F, 3]`, counter-clockwise seen from outside."""
    reflectance_mean: Array
    """`[V, 3]` average albedo, linear light."""
    reflectance_basis: Array
    """`[80, V, 3]` albedo offset of one standard deviation of each component."""
    uv: Array
    """`[V, 2]` MakeHuman texture coordinates, v upwards; zero on the eyeballs."""
    rigidity: Array
    """`[V]` 1 where a vertex moves with the skull, falling to 0 down the neck."""
    eye_angle: Array
    """`[V]` angle in radians from the line of sight on the eyeballs, pi elsewhere."""
    base_indices: Indices
    """`[V]` index in the hm08 base mesh, -1 on the eyeballs."""
    eye_ranges: tuple[tuple[int, int], tuple[int, int]]
    """First and one past the last vertex of the left and the right eyeball."""
    lid_vertices: tuple[Indices, Indices]
    """Vertices of the left and right lids, kept outside the eyeball."""

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Read a baked model. Raises `ValueError` when an array is missing or of the wrong shape."""
        tensors = load_file(path or DEFAULT_PATH)
        expected = {
            "identity_basis": IDENTITY_SIZE, "expression_basis": EXPRESSION_SIZE, "reflectance_basis": REFLECTANCE_SIZE,
        }  # fmt: skip
        for name, size in expected.items():
            if name not in tensors or tensors[name].shape != (size, len(tensors["mean"]), 3):
                got = tensors[name].shape if name in tensors else "nothing"
                raise ValueError(f"face model: expected {name} [{size}, V, 3], got {got}")
        if len(tensors["mean"]) != VERTICES:
            raise ValueError(f"face model: expected {VERTICES} vertices, got {len(tensors['mean'])}")
        ranges = tensors["eye_ranges"].tolist()
        return cls(
            **{name: tensors[name].astype(np.float32) for name in (
                "mean", "identity_basis", "expression_basis", "reflectance_mean", "reflectance_basis", "uv", "rigidity",
                "eye_angle",
            )},
            triangles=tensors["triangles"].astype(np.int32),
            base_indices=tensors["base_indices"].astype(np.int32),
            eye_ranges=((ranges[0][0], ranges[0][1]), (ranges[1][0], ranges[1][1])),
            lid_vertices=(tensors["lid_left"].astype(np.int32), tensors["lid_right"].astype(np.int32)),
        )  # fmt: skip

    @property
    def eye_vertices(self) -> tuple[Indices, Indices]:
        """Indices of the left and the right eyeball's vertices."""
        (a, b), (c, d) = self.eye_ranges
        return np.arange(a, b, dtype=np.int32), np.arange(c, d, dtype=np.int32)

    @cached_property
    def correspondence(self) -> Array:
        """`[V, 3]` colours in 0 to 1: where each vertex lies in the average head's bounding box, a smooth code."""
        low, high = self.mean.min(0), self.mean.max(0)
        return np.asarray((self.mean - low) / (high - low), np.float32)

    def neutral(self, identity: Array) -> Array:
        """Give the head at rest `[V, 3]` for identity coefficients `[80]`."""
        return np.asarray(self.mean + np.tensordot(identity, self.identity_basis, 1), np.float32)

    def eye_centers(self, neutral: Array) -> Array:
        """Find the eyeball centres `[2, 3]` of a head at rest `[V, 3]`."""
        # The eyeball's rings are closed and its last ring is the equator: their mean is the centre.
        return np.stack([neutral[start:stop][-EQUATOR_SIZE:].mean(0) for start, stop in self.eye_ranges])

    def vertices(self, params: FaceParams, neutral: Array | None = None) -> Array:
        """Deform one head: expression, lids and gaze, no pose; `[V, 3]` in the head frame.

        `neutral` skips the identity sum where a caller holds it already.
        """
        rest = self.neutral(params.identity) if neutral is None else neutral
        weights = params.expression + look_weights(params.gaze)
        moved = _blend(rest, self.expression_basis, weights.astype(np.float32))
        centers = self.eye_centers(rest)
        for eye, (start, stop) in enumerate(self.eye_ranges):
            center = centers[eye]
            radius = float(np.linalg.norm(rest[start] - center))
            lid = self.lid_vertices[eye]
            offset = moved[lid] - center
            length = np.linalg.norm(offset, axis=1, keepdims=True)
            moved[lid] = center + offset * np.maximum(1.0, LID_CLEARANCE * radius / length)
            yaw, pitch = params.gaze[eye]
            turn = rotation_matrix(np.array([yaw, pitch, 0.0], np.float32))
            moved[start:stop] = (moved[start:stop] - center) @ turn.T + center
        return np.asarray(moved, np.float32)

    def view_vertices(self, params: FaceParams, neutral: Array | None = None) -> Array:
        """Deform and pose one head: `[V, 3]` in the view frame, metres."""
        turned = self.vertices(params, neutral) @ rotation_matrix(params.rotation).T
        return np.asarray(turned + params.translation, np.float32)

    def albedo(self, reflectance: Array) -> Array:
        """Give linear albedo `[V, 3]`, clipped to 0 to 1, for coefficients `[80]`."""
        color = self.reflectance_mean + np.tensordot(reflectance, self.reflectance_basis, 1)
        return np.clip(color, 0.0, 1.0).astype(np.float32)


@numba.njit(cache=True, fastmath={"contract", "nsz"}, error_model="numpy", boundscheck=False)
def _blend(rest: Array, basis: Array, weights: Array) -> Array:  # pragma: no cover - compiled
    """Sum `rest + weights @ basis`, skipping weights near zero; on one core, unlike a call of BLAS."""
    moved = rest.copy()
    flat = moved.reshape(-1)  # one long axis: the compiler makes vectors of it
    offsets = basis.reshape(basis.shape[0], -1)
    for k in range(basis.shape[0]):
        weight = weights[k]
        if abs(weight) > 1e-5:
            offset = offsets[k]
            for v in range(flat.shape[0]):
                flat[v] += weight * offset[v]
    return moved


IRIS_RAD = np.deg2rad(20.5)
"""Angle of the iris' edge from the line of sight."""
EQUATOR_SIZE = 24
"""Vertices of an eyeball's last ring, its equator."""


def look_weights(gaze: Array) -> Array:
    """Derive the eight `eyeLook*` weights, which move the lids, from gaze `[2, 2]`; zero elsewhere, `[52]`."""
    weights = np.zeros(EXPRESSION_SIZE, np.float32)
    for (yaw, pitch), side, outward in ((gaze[0], "Left", 1.0), (gaze[1], "Right", -1.0)):
        weights[EXPRESSION_INDEX["eyeLookOut" + side]] = max(outward * yaw, 0.0) / LOOK_YAW_RAD
        weights[EXPRESSION_INDEX["eyeLookIn" + side]] = max(-outward * yaw, 0.0) / LOOK_YAW_RAD
        weights[EXPRESSION_INDEX["eyeLookUp" + side]] = max(pitch, 0.0) / LOOK_UP_RAD
        weights[EXPRESSION_INDEX["eyeLookDown" + side]] = max(-pitch, 0.0) / LOOK_DOWN_RAD
    return np.minimum(weights, 1.0)


def projection(basis: Array, weights: Array, ridge: float) -> Array:
    """Make the matrix `[K, V * 3]` that finds coefficients of `basis [K, V, 3]` by weighted least squares."""
    flat = basis.reshape(len(basis), -1).astype(np.float64)
    weighted = flat * np.repeat(weights, 3)
    return np.linalg.solve(weighted @ flat.T + ridge * np.eye(len(flat)), weighted).astype(np.float32)
