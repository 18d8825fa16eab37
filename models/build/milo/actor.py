"""The posed actor: known parameters to vertices, in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.build.milo.mesh import TargetMesh
from models.params import EXPRESSION_INDEX, EXPRESSION_SIZE

Array = NDArray[np.float32]
Matrix = NDArray[np.float64]

GAZE_YAW_DEG = 30.0
"""Angle that an `eyeLookIn` or `eyeLookOut` of 1 stands for."""
GAZE_UP_DEG = 22.0
"""Angle that an `eyeLookUp` of 1 stands for."""
GAZE_DOWN_DEG = 25.0
"""Angle that an `eyeLookDown` of 1 stands for."""

NECK_SHARES = (0.18, 0.18, 0.22, 0.42)
"""How the head's angles are spread over `BONES`."""
LID_CLEARANCE = 1.025
"""Distance of the lids' inner side from the eyeball's centre, in eyeball radii."""
LASH_CLEARANCE = 1.06
"""The same of the lashes."""
SIDES = ("Left", "Right")


def rotation_x(radians: float) -> Matrix:
    """Turn about x: y towards z."""
    c, s = np.cos(radians), np.sin(radians)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def rotation_y(radians: float) -> Matrix:
    """Turn about y: z towards x."""
    c, s = np.cos(radians), np.sin(radians)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def rotation_z(radians: float) -> Matrix:
    """Turn about z: x towards y."""
    c, s = np.cos(radians), np.sin(radians)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def head_rotation(pose_deg: Array | tuple[float, ...]) -> Matrix:
    """Turn (yaw, pitch, roll) in degrees into a world rotation `[3, 3]` (z up, face along -y)."""
    yaw, pitch, roll = np.deg2rad(np.asarray(pose_deg, np.float64))
    return rotation_z(yaw) @ rotation_x(-pitch) @ rotation_y(roll)


def weights_with_gaze(expression: Array, gaze_deg: Array | tuple[float, float]) -> Array:
    """Set the eight `eyeLook*` of `expression` `[52]` so that both eyes look along (yaw, pitch) in the head's frame."""
    weights = np.array(expression, np.float32)
    yaw, pitch = float(gaze_deg[0]), float(gaze_deg[1])
    for side, sign in zip(SIDES, (1.0, -1.0), strict=True):
        outward = sign * yaw / GAZE_YAW_DEG
        weights[EXPRESSION_INDEX[f"eyeLookOut{side}"]] = max(outward, 0.0)
        weights[EXPRESSION_INDEX[f"eyeLookIn{side}"]] = max(-outward, 0.0)
        weights[EXPRESSION_INDEX[f"eyeLookUp{side}"]] = max(pitch, 0.0) / GAZE_UP_DEG
        weights[EXPRESSION_INDEX[f"eyeLookDown{side}"]] = max(-pitch, 0.0) / GAZE_DOWN_DEG
    return weights


def gaze_of_weights(weights: Array) -> Matrix:
    """Read the gaze `[2, 2]` (left, right) x (yaw, pitch) in degrees back from the `eyeLook*` of `weights` `[52]`."""
    gaze = np.zeros((2, 2))
    for row, (side, sign) in enumerate(zip(SIDES, (1.0, -1.0), strict=True)):
        value = {word: float(weights[EXPRESSION_INDEX[f"eyeLook{word}{side}"]]) for word in ("In", "Out", "Up", "Down")}
        gaze[row, 0] = sign * GAZE_YAW_DEG * (value["Out"] - value["In"])
        gaze[row, 1] = GAZE_UP_DEG * value["Up"] - GAZE_DOWN_DEG * value["Down"]
    return gaze


def fit_sphere(points: Matrix) -> tuple[Matrix, float]:
    """Fit centre `[3]` and radius to points `[N, 3]` of a sphere, by linear least squares."""
    system = np.c_[2.0 * points, np.ones(len(points))]
    solution, *_ = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)
    center = solution[:3]
    return center, float(np.sqrt(solution[3] + center @ center))


@dataclass(frozen=True, slots=True)
class Eyeball:
    """One eye: what turns, about what, and which lid vertices slide over it."""

    center: Matrix
    """`[3]` at rest, world."""
    radius_m: float
    vertices: NDArray[np.int64]
    """Of the eyeball."""
    lids: NDArray[np.int64]
    """Of lids and lashes."""
    clearance: Matrix
    """`[len(lids), 1]` how far from `center` each lid vertex is kept, metres."""


class PosedActor:
    """A target mesh in motion."""

    def __init__(self, mesh: TargetMesh) -> None:
        self.mesh = mesh
        eyes = mesh.parts["eyes"].vertices
        # Eyeballs are turned, not bent.
        self._shapes = mesh.shapes.copy()
        self._shapes[:, eyes] = 0.0
        self.eyeballs = tuple(self._eyeball(side) for side in SIDES)

    @property
    def between_eyes(self) -> Matrix:
        """Point `[3]` between the eyeballs' centres at rest, world."""
        return (self.eyeballs[0].center + self.eyeballs[1].center) / 2.0

    def pose(
        self,
        weights: Array,
        pose_deg: Array | tuple[float, ...] = (0.0, 0.0, 0.0),
        translation_m: Array | tuple[float, ...] = (0.0, 0.0, 0.0),
    ) -> tuple[Array, Matrix]:
        """Give the vertices `[N, 3]` and the head bone's matrix `[4, 4]` (world from rest) for ARKit `weights` `[52]`.

        The angles (yaw, pitch, roll) are spread over neck and head, so the matrix, not they, is the head's pose.
        """
        if np.shape(weights) != (EXPRESSION_SIZE,):
            raise ValueError(f"weights: expected shape ({EXPRESSION_SIZE},), got {np.shape(weights)}")
        vertices = self.mesh.rest.copy()
        for index in np.flatnonzero(weights):
            vertices += weights[index] * self._shapes[index]
        for eyeball, (yaw, pitch) in zip(self.eyeballs, gaze_of_weights(weights), strict=True):
            self._slide_lids(vertices, eyeball)
            turn = rotation_z(np.deg2rad(yaw)) @ rotation_x(-np.deg2rad(pitch))
            vertices[eyeball.vertices] = (vertices[eyeball.vertices] - eyeball.center) @ turn.T + eyeball.center
        return self._carry(vertices, pose_deg, translation_m)

    def head_matrix(self, pose_deg: Array | tuple[float, ...], translation_m: Array | tuple[float, ...]) -> Matrix:
        """Give the head bone's matrix `[4, 4]` alone."""
        return self._bone_matrices(pose_deg, translation_m)[-1]

    def _bone_matrices(
        self, pose_deg: Array | tuple[float, ...], translation_m: Array | tuple[float, ...]
    ) -> list[Matrix]:
        matrix = np.eye(4)
        matrix[:3, 3] = translation_m
        matrices = []
        for pivot, share in zip(self.mesh.pivots.astype(np.float64), NECK_SHARES, strict=True):
            turn = np.eye(4)
            turn[:3, :3] = head_rotation(np.asarray(pose_deg, np.float64) * share)
            turn[:3, 3] = pivot - turn[:3, :3] @ pivot
            matrix = matrix @ turn
            matrices.append(matrix)
        return matrices

    def _carry(
        self, vertices: Array, pose_deg: Array | tuple[float, ...], translation_m: Array | tuple[float, ...]
    ) -> tuple[Array, Matrix]:
        """Blend linearly between the bones' motions."""
        matrices = self._bone_matrices(pose_deg, translation_m)
        weights = self.mesh.bone_weights
        moved = (vertices + np.asarray(translation_m, np.float32)) * (1.0 - weights.sum(1, keepdims=True))
        for bone, matrix in enumerate(matrices):
            turned = vertices @ matrix[:3, :3].T.astype(np.float32) + matrix[:3, 3].astype(np.float32)
            moved += weights[:, bone : bone + 1] * turned
        return moved.astype(np.float32), matrices[-1]

    @staticmethod
    def _slide_lids(vertices: Array, eyeball: Eyeball) -> None:
        """Push lids out of the eyeball along its radius: straight blends would cut through it."""
        arm = vertices[eyeball.lids] - eyeball.center
        distance = np.linalg.norm(arm, axis=1, keepdims=True)
        vertices[eyeball.lids] = eyeball.center + arm * np.maximum(1.0, eyeball.clearance / distance)

    def _eyeball(self, side: str) -> Eyeball:
        rest = self.mesh.rest.astype(np.float64)
        eyes = np.arange(len(rest))[self.mesh.parts["eyes"].vertices]
        own = eyes[(rest[eyes, 0] > 0) == (side == "Left")]
        depth = rest[own, 1]
        center, radius = fit_sphere(rest[own[depth > np.median(depth)]])  # the rear half: in front the cornea bulges
        distance = np.linalg.norm(rest - center, axis=1)
        blinks = np.abs(self._shapes[EXPRESSION_INDEX[f"eyeBlink{side}"]]).max(1) > 2e-4
        near = (distance < 1.8 * radius) & (distance > 0.985 * radius) & (rest[:, 1] < center[1])
        is_lid = blinks & near
        is_lid[eyes] = False
        lids = np.flatnonzero(is_lid)
        lashes = self.mesh.parts["lashes"]
        is_lash = (lids >= lashes.start) & (lids < lashes.start + lashes.count)
        clearance = radius * np.where(is_lash, LASH_CLEARANCE, LID_CLEARANCE)[:, None]
        return Eyeball(center, radius, own, lids, clearance)
