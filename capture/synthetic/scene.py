"""One person's meshes joined, posed and lit: what the rasterizer takes."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from capture.synthetic import raster
from capture.synthetic.assets import Assets
from capture.synthetic.light import Light
from capture.synthetic.person import Person, _weigh
from capture.synthetic.wardrobe import Piece, cloth, glasses, lens, shoulders
from models.face import FaceModel
from models.illumination import vertex_normals
from models.params import BLINKS, EXPRESSION_INDEX, FaceParams

Array = NDArray[np.float32]
Indices = NDArray[np.int32]

NECK_PIVOT = np.array([0.0, -0.10, -0.01], np.float32)
"""About where a head turns on its neck."""
LASH_TURN_RAD = 0.75
"""How far the upper lashes sink as the lid shuts."""
TEETH_SHIFT_M = np.array([0.0, -0.0025, -0.004], np.float32)
"""MakeHuman's teeth sit too high and too close behind the lips."""
_JAW = [EXPRESSION_INDEX[name] for name in ("jawOpen", "jawForward", "jawLeft", "jawRight")]


class Scene:
    """A person dressed, ready to be posed any number of times. The head's vertices come first."""

    def __init__(self, model: FaceModel, assets: Assets, person: Person, rng: np.random.Generator) -> None:
        self._model, self._assets, self.person = model, assets, person
        self._count = len(model.mean)
        centers = model.eye_centers(person.neutral)
        near = np.abs(model.mean[:, 1] - centers[0, 1]) < 0.012
        rigid: list[tuple[Piece, int]] = []
        frame_color = rng.uniform(0.0, 0.25, 3) if rng.random() < 0.5 else np.full(3, rng.uniform(0.004, 0.05))
        if person.wears_glasses:
            front = person.neutral[near & (np.abs(np.abs(model.mean[:, 0]) - 0.031) < 0.02)][:, 2].max() + 0.004
            temples = np.abs(person.neutral[near & (np.abs(model.mean[:, 2] - 0.03) < 0.012)][:, 0]).max()
            frame, glass = glasses(rng, centers, float(front), float(temples))
            rigid += [(frame, raster.PLAIN), (glass, raster.LENS)]
        base = model.mean[:, 1] < model.mean[:, 1].min() + 0.012
        trunk = shoulders(rng, person.neutral[base])
        self._build(rigid, trunk)
        self._fill_atlas(rng)
        self._paint(frame_color.astype(np.float32), rigid)

    def _build(self, rigid: list[tuple[Piece, int]], trunk: Piece) -> None:
        model, assets, person = self._model, self._assets, self.person
        is_eye = model.eye_angle[model.triangles].max(1) < 3.0
        head = np.where(is_eye, raster.EYE, np.where(assets.is_textured, raster.SKIN, raster.PLAIN))
        parts = [(model.triangles, head, assets.corner_uv)]
        start = self._count
        self.teeth = slice(start, start + len(assets.teeth.vertices))
        self.lash = slice(self.teeth.stop, self.teeth.stop + len(person.lash.vertices))
        hair_count = len(person.hair_vertices)
        self.hair = slice(self.lash.stop, self.lash.stop + hair_count)
        meshes = [(person.lash, person.lash.triangles, raster.LASH, self.lash)]
        if person.hair is not None:
            meshes.append((person.hair, person.hair_triangles, raster.HAIR, self.hair))
        meshes.append((assets.teeth, assets.teeth.triangles, raster.TEETH, self.teeth))
        for mesh, triangles, material, where in meshes[:-1]:
            parts.append((triangles + where.start, np.full(len(triangles), material), mesh.uv[triangles]))
        end = self.hair.stop
        for piece, material in [*rigid, (trunk, raster.CLOTH)]:
            parts.append((piece.triangles + end, np.full(len(piece.triangles), material), piece.uv[piece.triangles]))
            end += len(piece.vertices)
        # The teeth come last, to be left out behind shut lips.
        mesh, triangles, material, where = meshes[-1]
        parts.append((triangles + where.start, np.full(len(triangles), material), mesh.uv[triangles]))
        self.shut_count = sum(len(part[0]) for part in parts[:-1])
        self.triangles = np.ascontiguousarray(np.concatenate([part[0] for part in parts]), np.int32)
        self.materials = np.concatenate([part[1] for part in parts]).astype(np.uint8)
        self.uv = np.ascontiguousarray(np.concatenate([part[2] for part in parts]), np.float32)
        solid = (self.materials == raster.SKIN) | (self.materials == raster.HAIR)
        self.casting = np.ascontiguousarray(self.triangles[solid])
        pieces = [piece for piece, _ in rigid]
        self._rigid = np.concatenate([person.hair_vertices, *(piece.vertices for piece in pieces)])
        self._rigid_normals = np.concatenate([_radial(person.hair_vertices), *(piece.normals for piece in pieces)])
        self._trunk = trunk
        self.vertices = np.zeros((end, 3), np.float32)
        self.normals = np.zeros((end, 3), np.float32)
        self.trunk = slice(end - len(trunk.vertices), end)

    def _fill_atlas(self, rng: np.random.Generator) -> None:
        person, assets = self.person, self._assets
        self.atlas = np.full(raster.ATLAS_BYTES, 255, np.uint8)
        raster.texture(self.atlas, raster.SKIN)[:] = person.skin
        raster.texture(self.atlas, raster.EYE)[..., :3] = person.iris
        assert assets.teeth.texture is not None
        assert person.lash.texture is not None
        raster.texture(self.atlas, raster.TEETH)[:] = assets.teeth.texture
        raster.texture(self.atlas, raster.LASH)[:] = person.lash.texture
        if person.hair_texture is not None:
            raster.texture(self.atlas, raster.HAIR)[:] = person.hair_texture
        raster.texture(self.atlas, raster.LENS)[:] = lens(rng)
        raster.texture(self.atlas, raster.CLOTH)[:] = cloth(rng)

    def _paint(self, frame_color: Array, rigid: list[tuple[Piece, int]]) -> None:
        """Give every vertex its colour, its share of open sky and its gloss."""
        model, person, count = self._model, self.person, len(self.vertices)
        self.surface = np.zeros((count, 9), np.float32)
        self.tint = self.surface[:, 6:]
        self.tint[:] = 1.0
        self.tint[: self._count] = person.albedo
        for start, stop in model.eye_ranges:
            ball = model.mean[start:stop] - model.mean[stop - 24 : stop].mean(0)
            self.tint[start:stop] = ball / np.linalg.norm(ball, axis=1, keepdims=True)
        self.tint[self.teeth] = person.teeth_color
        self.tint[self.lash] = 0.25
        self.tint[self.hair] = person.hair_color * np.float32(3.2)
        self._open = np.ones(count, np.float32)
        self._open[: self._count] = self._assets.occlusion
        skin = person.neutral[: self._count]
        self._is_inside = (self._assets.occlusion < 0.25) & (model.base_indices >= 0) & (skin[:, 2] > 0.05)
        depth = person.teeth_vertices[:, 2]
        self._teeth_open = np.clip((depth - depth.max() + 0.030) / 0.030, 0.05, 1.0).astype(np.float32)
        self._gloss = np.zeros(count, np.float32)
        self._gloss[: self._count] = person.gloss
        self._gloss[self.teeth] = 0.25
        self._gloss[self.hair] = 0.06
        place = self.hair.stop
        for piece, material in rigid:
            here = slice(place, place + len(piece.vertices))
            if material == raster.PLAIN:
                self.tint[here], self._gloss[here] = frame_color, 0.35
            place = here.stop
        self._lens_vertices = np.unique(self.triangles[self.materials == raster.LENS])
        self._is_right_eye = np.zeros(count, bool)
        self._is_right_eye[slice(*model.eye_ranges[1])] = True
        self._upper_lash = person.lash.vertices[:, 1] > model.eye_centers(model.mean)[:, 1].mean() - 0.001
        self._lash_is_left = person.lash.vertices[:, 0] > 0

    def pose(self, params: FaceParams, rng: np.random.Generator) -> Array:
        """Deform and pose everything: view-frame vertices `[N, 3]`; the first `V` are the face model's."""
        model, person = self._model, self.person
        head = model.vertices(params, person.neutral)
        matrix = turn(params.rotation)
        # A trunk follows the head's turn only in part, and the neck lies between them.
        follow = np.array([rng.uniform(0.0, 0.8), rng.uniform(0.0, 0.5), rng.uniform(0.0, 0.6)])
        lean = (params.rotation * follow + rng.normal(0.0, (0.12, 0.08, 0.05))).astype(np.float32)
        trunk_turn = turn(lean)
        pivot = matrix @ NECK_PIVOT + params.translation
        view = self.vertices
        _pose_head(head, model.rigidity, matrix, params.translation, trunk_turn, pivot, NECK_PIVOT, view)
        teeth = person.teeth_vertices + TEETH_SHIFT_M
        for index, moves in zip(_JAW, self._assets.teeth_jaw, strict=True):
            if params.expression[index] > 1e-3:
                teeth = teeth + params.expression[index] * moves
        view[self.teeth] = teeth @ matrix.T + params.translation
        view[self.lash] = (self._lashes(head, params)) @ matrix.T + params.translation
        end = self.lash.stop + len(self._rigid)
        view[self.lash.stop : end] = self._rigid @ matrix.T + params.translation
        view[self.trunk] = (self._trunk.vertices - NECK_PIVOT) @ trunk_turn.T + pivot
        self.normals[: self._count] = vertex_normals(view[: self._count], model.triangles)
        self.normals[self.teeth] = matrix @ np.array([0.0, 0.0, 1.0], np.float32)
        self.normals[self.lash] = matrix @ np.array([0.0, 0.3, 0.95], np.float32)
        self.normals[self.lash.stop : end] = self._rigid_normals @ matrix.T
        self.normals[self.trunk] = self._trunk.normals @ trunk_turn.T
        return view

    def _lashes(self, head: Array, params: FaceParams) -> Array:
        person = self.person
        roots = _weigh(head, person.lash.anchors, person.lash.weights)
        blink = np.where(self._lash_is_left, params.expression[BLINKS[0]], params.expression[BLINKS[1]])
        look = np.where(self._lash_is_left, params.gaze[0, 1], params.gaze[1, 1])
        angle = np.where(self._upper_lash, LASH_TURN_RAD * blink - 0.6 * look * (1 - blink), 0.0)
        cosine, sine = np.cos(angle), np.sin(angle)
        x, y, z = person.lash_shift.T
        return np.asarray(roots + np.stack([x, y * cosine - z * sine, y * sine + z * cosine], -1), np.float32)

    def light(self, params: FaceParams, light: Light, shadow: Array | None) -> Array:
        """Light every vertex: irradiance over pi, reflections and colour, `[N, 9]`. `shadow [N]` dims the first lamp.

        The result is the scene's own memory, valid until the next call.
        """
        opening = float(params.expression[EXPRESSION_INDEX["jawOpen"]])
        inside = self._open.copy()
        inside[: self._count][self._is_inside] = np.maximum(
            inside[: self._count][self._is_inside], 0.05 + 0.12 * opening
        )
        inside[self.teeth] = self._teeth_open * np.float32(min(0.6 + 1.2 * opening, 0.95))
        to_head = turn(params.rotation)
        for start, stop in self._model.eye_ranges:
            local = self.normals[start:stop] @ to_head
            inside[start:stop] = np.clip(
                0.95 - 0.75 * np.maximum(local[:, 1] - 0.12, 0) - 0.25 * np.abs(local[:, 0]), 0.2, 1
            )
        irradiance, reflection = self.surface[:, :3], self.surface[:, 3:6]
        lit = np.ones(len(self.vertices), np.float32) if shadow is None else shadow
        _light(
            self.vertices, self.normals, inside, self._gloss, np.float32(self.person.shine), light.ambient,
            light.directions, light.colors, lit, irradiance, reflection,
        )  # fmt: skip
        if len(self._lens_vertices):
            irradiance[self._lens_vertices] = irradiance[self._lens_vertices].mean()
        reflection[self._is_right_eye] = 1.0
        for start, stop in self._model.eye_ranges[:1]:
            reflection[start:stop] = 0.0
        return self.surface

    def eye_frames(self, params: FaceParams) -> Array:
        """Give the rotations `[2, 3, 3]` from the unit eyeballs to the view frame."""
        head = turn(params.rotation)
        turns = [turn(np.array([yaw, pitch, 0.0], np.float32)) for yaw, pitch in params.gaze]
        return np.stack([head @ turn for turn in turns]).astype(np.float32)


@numba.njit(cache=True, error_model="numpy")
def turn(rotation: Array) -> Array:  # pragma: no cover - compiled
    """Give the matrix `[3, 3]` of yaw, pitch, roll: `models.camera.rotation_matrix` without its overhead."""
    yaw, pitch, roll = rotation[0], rotation[1], rotation[2]
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    matrix = np.empty((3, 3), np.float32)
    matrix[0, 0], matrix[0, 1], matrix[0, 2] = cy * cr + sy * sp * sr, cy * sr - sy * sp * cr, sy * cp
    matrix[1, 0], matrix[1, 1], matrix[1, 2] = -cp * sr, cp * cr, sp
    matrix[2, 0], matrix[2, 1], matrix[2, 2] = -sy * cr + cy * sp * sr, -sy * sr - cy * sp * cr, cy * cp
    return matrix


def _radial(points: Array) -> Array:
    """Give hair the normals of the round head below it."""
    out = points - np.array([0.0, 0.02, 0.0], np.float32)
    return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6), np.float32)


@numba.njit(cache=True, fastmath={"contract", "nsz"}, error_model="numpy")
def _pose_head(
    head: Array, rigidity: Array, matrix: Array, shift: Array, trunk_turn: Array, pivot: Array, neck: Array, view: Array
) -> None:  # pragma: no cover - compiled
    for v in range(head.shape[0]):
        share = min(max((rigidity[v] - np.float32(0.02)) / np.float32(0.9), np.float32(0.0)), np.float32(1.0))
        for axis in range(3):
            first, second = shift[axis], pivot[axis]
            for k in range(3):
                first += matrix[axis, k] * head[v, k]
                second += trunk_turn[axis, k] * (head[v, k] - neck[k])
            view[v, axis] = share * first + (np.float32(1.0) - share) * second


@numba.njit(cache=True, fastmath={"contract", "arcp", "nsz"}, error_model="numpy")
def _light(
    vertices: Array,
    normals: Array,
    open_sky: Array,
    gloss: Array,
    shine: np.float32,
    ambient: Array,
    directions: Array,
    colors: Array,
    lit: Array,
    irradiance: Array,
    reflection: Array,
) -> None:  # pragma: no cover - compiled
    for v in range(vertices.shape[0]):
        x, y, z = normals[v, 0], normals[v, 1], normals[v, 2]
        for c in range(3):
            a = ambient[c]
            value = (
                a[0] * 0.28209479 + 0.48860251 * (a[1] * y + a[2] * z + a[3] * x)
                + 1.09254843 * (a[4] * x * y + a[5] * y * z + a[7] * x * z)
                + 0.31539157 * a[6] * (3 * z * z - 1) + 0.54627422 * a[8] * (x * x - y * y)
            )  # fmt: skip
            irradiance[v, c] = max(value, 0.0) * open_sky[v]
            reflection[v, c] = 0.0
        length = np.sqrt(vertices[v, 0] ** 2 + vertices[v, 1] ** 2 + vertices[v, 2] ** 2)
        for lamp in range(directions.shape[0]):
            dx, dy, dz = directions[lamp, 0], directions[lamp, 1], directions[lamp, 2]
            facing = x * dx + y * dy + z * dz
            if facing <= 0.0:
                continue
            # What occludes the sky occludes lamps as well, though less.
            share = facing * (0.35 + 0.65 * open_sky[v]) if lamp else facing * lit[v] * (0.5 + 0.5 * open_sky[v])
            for c in range(3):
                irradiance[v, c] += share * colors[lamp, c]
            if gloss[v] <= 0.0:
                continue
            hx, hy, hz = dx - vertices[v, 0] / length, dy - vertices[v, 1] / length, dz - vertices[v, 2] / length
            scale = 1.0 / np.sqrt(hx * hx + hy * hy + hz * hz + 1e-9)
            aligned = max((x * hx + y * hy + z * hz) * scale, 0.0)
            mirrored = gloss[v] * (shine + 8.0) * 0.06 * aligned**shine * (lit[v] if lamp == 0 else 1.0)
            for c in range(3):
                reflection[v, c] += mirrored * facing * colors[lamp, c]
