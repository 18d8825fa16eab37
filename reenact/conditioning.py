"""Render the three conditioning images of Deep Video Portraits (section 4) from `FaceParams`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.camera import Camera, rotation_matrix
from models.eyeballs import eyeball_correspondence
from models.face import IRIS_RAD, FaceModel
from models.generator import SpaceTimeGenerator
from models.halo import BEHIND_M, DEPTH_M, Halo
from models.illumination import linear_to_srgb, shade, vertex_normals
from models.mouth import inner_mouth, tongue_correspondence
from models.params import FaceParams
from models.rasterize import Rasterizer
from models.teeth import Teeth, is_tongue

Array = NDArray[np.float32]

CHANNELS = 9
"""Diffuse colour 0-2, correspondence 3-5, eye and gaze 6-8."""
GROUPS = {"diffuse": slice(0, 3), "correspondence": slice(3, 6), "gaze": slice(6, 9)}
"""Channels of each conditioning image."""

MIN_RIGIDITY = 0.5
"""Triangles that follow the skull less than this (the lower neck) are not drawn."""
GLANCE_RAD = np.deg2rad(60.0)


@dataclass(frozen=True, slots=True)
class Scene:
    """A head posed, shaded and projected: what is left is to fill pixels."""

    pixels: Array
    """`[V, 2]` (u, v)."""
    depth_m: Array
    """`[V]`, positive in front of the camera."""
    attributes: Array
    """`[V, 9]` channels at the vertices; `[V, 6]`, without diffuse colour, where the head is not shaded."""


class ConditioningRenderer:
    """Render `FaceParams` at one size and camera to the generator's input."""

    def __init__(
        self,
        model: FaceModel,
        camera: Camera,
        halo: Halo | None = None,
        *,
        shape: Array | None = None,
        teeth_rise: Array | None = None,
        is_shaded: bool = True,
        has_own_eyes: bool = False,
    ) -> None:
        """Draw the head of `model` and, around it, the card `halo` of a generator that has one.

        The head is off its identity by a person's own `shape [V, 3]`, metres, and its teeth lie higher by `teeth_rise
        [2]`, upper and lower. A generator with a card paints texels as they are: tongue and inner mouth have some of
        their own, and eyeballs where it `has_own_eyes`. Unless it `is_shaded`, its diffuse colour stays black.
        """
        self._model = model
        self._camera = camera
        self._teeth = teeth = Teeth(model)
        self._skin = len(model.mean)
        self._copied = np.zeros(0, np.int64)
        codes, triangles = [model.correspondence.copy(), teeth.correspondence], model.triangles.copy()
        behind_lips = is_tongue(model)[triangles].all(1)
        if has_own_eyes:
            for eye, places in zip(model.eye_vertices, eyeball_correspondence(model), strict=True):
                codes[0][eye] = places
        if halo is not None:
            tongue, places = tongue_correspondence(model)
            codes[0][tongue] = places
            inner = inner_mouth(model)
            self._copied, corners = inner.vertices, triangles[inner.triangles]
            triangles[inner.triangles] = sum(map(len, codes)) + np.searchsorted(inner.vertices, corners)
            codes.append(inner.correspondence)
            behind_lips[inner.triangles] = True
        is_drawn = model.rigidity[model.triangles].min(1) > MIN_RIGIDITY
        if halo is not None:
            # What lies behind the card has its texels, from the wrong place of it, and hides it.
            is_drawn &= model.mean[model.triangles, 2].min(1) >= DEPTH_M
        self._triangles = np.concatenate([triangles[is_drawn], self._skin + teeth.triangles])
        self._is_behind_lips = np.append(behind_lips[is_drawn], np.ones(len(teeth.triangles), bool))
        self._num_head = len(self._triangles)
        self._halo = halo
        self._shape = np.zeros_like(model.mean) if shape is None else shape
        self._teeth_rise = np.zeros(2, np.float32) if teeth_rise is None else teeth_rise
        self._is_shaded = is_shaded
        self._drawn = slice(0 if is_shaded else GROUPS["diffuse"].stop, CHANNELS)
        self._num_card = 0 if halo is None else len(halo.points)
        if halo is not None:
            self._neck, self._edge = (np.flatnonzero(rigidity < 1.0) for rigidity in (model.rigidity, halo.rigidity))
            self._held = np.concatenate([self._neck, sum(map(len, codes)) + self._edge])
            self._rigidity = np.concatenate([model.rigidity[self._neck], halo.rigidity[self._edge]])
            self._triangles = np.concatenate([self._triangles, sum(map(len, codes)) + halo.triangles])
            codes.append(halo.correspondence)
        self._rasterizer = Rasterizer(self._triangles, camera.height, camera.width)
        self._attributes = np.zeros((sum(map(len, codes)), CHANNELS), np.float32)
        self._attributes[:, GROUPS["correspondence"]] = np.concatenate(codes)
        self._attributes[: self._skin, GROUPS["gaze"]] = _gaze_code(model.eye_angle)
        self._identity: Array | None = None
        self._reflectance: Array | None = None
        self._neutral, self._teeth_neutral = model.mean, teeth.mean
        self._albedo = np.zeros((len(self._attributes), 3), np.float32)
        self._albedo[self._skin : self._skin + len(teeth.mean)] = teeth.albedo

    @classmethod
    def of(cls, generator: SpaceTimeGenerator, camera: Camera, model: FaceModel) -> Self:
        """Render what `generator` sees, at its size, of a target filmed by `camera`."""
        size = generator.config.resolution
        return cls(
            model, camera.scaled(size, size), generator.halo, shape=generator.own_shape.float().cpu().numpy(),
            teeth_rise=generator.teeth_rise.float().cpu().numpy(), is_shaded=generator.config.is_shaded,
            has_own_eyes=generator.config.has_own_eyes,
        )  # fmt: skip

    def render(self, params: FaceParams, output: Array | None = None) -> Array:
        """Render one frame to `[9, H, W]` float32 in 0 to 1, zero where there is no head; reuses `output` if given."""
        return self.draw(self.pose(params), output)

    def pose(self, params: FaceParams) -> Scene:
        """Do the part of `render` that goes by vertices."""
        self._prepare(params)
        head = self._model.vertices(params, self._neutral)
        teeth = self._teeth.vertices(self._teeth_neutral, params.expression)
        card = [] if self._halo is None else [self._halo.placed(params.rotation, params.translation)]
        vertices = np.concatenate([head, teeth, head[self._copied], *card])
        vertices = vertices @ rotation_matrix(params.rotation).T + params.translation
        if self._halo is not None and self._halo.body is not None:
            points = np.concatenate([head[self._neck], self._halo.points[self._edge]])
            vertices[self._held] = self._halo.hold(
                vertices[self._held], points, self._rigidity, params.rotation, params.translation
            )
        attributes = self._attributes.copy()
        if self._is_shaded:
            normals = vertex_normals(vertices, self._triangles)
            attributes[:, GROUPS["diffuse"]] = linear_to_srgb(shade(self._albedo, normals, params.illumination))
        depth = -vertices[:, 2]
        depth[len(vertices) - self._num_card :] += BEHIND_M
        return Scene(self._camera.project(vertices), depth, attributes[:, self._drawn])

    def draw(self, scene: Scene, output: Array | None = None) -> Array:
        """Do the part of `render` that goes by pixels."""
        if output is None:
            output = np.zeros((CHANNELS, self._camera.height, self._camera.width), np.float32)
        else:
            output.fill(0.0)
        self._rasterizer.draw(scene.pixels, scene.depth_m)
        self._rasterizer.interpolate(scene.attributes, output[self._drawn])
        return output

    @property
    def halo_triangles(self) -> NDArray[np.int32]:
        """`[H, W]` triangle of the card that the last frame shows at each pixel, below 0 for the head or nothing."""
        return self._rasterizer.face - self._num_head

    @property
    def shows_mouth(self) -> NDArray[np.bool_]:
        """`[H, W]` where the last frame shows teeth or tongue, or, of a head with a card, any of the inner mouth."""
        face = self._rasterizer.face
        is_head = (face >= 0) & (face < self._num_head)
        return np.asarray(is_head & self._is_behind_lips[np.where(is_head, face, 0)])

    def _prepare(self, params: FaceParams) -> None:
        """Sum the identity and reflectance bases only when their coefficients change: the target's never do."""
        if self._identity is None or not np.array_equal(self._identity, params.identity):
            self._identity = params.identity.copy()
            self._neutral = self._model.neutral(params.identity) + self._shape
            self._teeth_neutral = self._teeth.neutral(params.identity, self._shape, self._teeth_rise)
        if self._is_shaded and (self._reflectance is None or not np.array_equal(self._reflectance, params.reflectance)):
            self._reflectance = params.reflectance.copy()
            self._albedo[: self._skin] = albedo = self._model.albedo(params.reflectance)
            first = self._skin + len(self._teeth.mean)
            self._albedo[first : first + len(self._copied)] = albedo[self._copied]


def _gaze_code(eye_angle: Array) -> Array:
    """Code eyeballs `[V]` as (eyeball, iris, closeness to the line of sight) `[V, 3]`; zero on the skin."""
    is_eye = eye_angle < 3.0
    code = np.stack([np.ones_like(eye_angle), eye_angle < IRIS_RAD, np.clip(1 - eye_angle / GLANCE_RAD, 0, 1)], -1)
    return np.where(is_eye[:, None], code, 0.0).astype(np.float32)
