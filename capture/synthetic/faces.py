"""Draw synthetic faces with everything that is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from capture.binding import LandmarkBinding
from capture.synthetic import behaviour, raster
from capture.synthetic.assets import Assets
from capture.synthetic.background import Backgrounds
from capture.synthetic.config import WIDER, SyntheticConfig
from capture.synthetic.light import Light, random_light
from capture.synthetic.occluders import KINDS, cover, parts_of
from capture.synthetic.person import People
from capture.synthetic.scene import Scene
from capture.synthetic.shadow import ShadowMap
from capture.synthetic.webcam import Webcam
from models.camera import Camera, rotation_angles, rotation_matrix
from models.face import FaceModel
from models.framing import ANCHOR_M, HEAD_M
from models.params import FaceParams

Array = NDArray[np.float32]
Bytes = NDArray[np.uint8]

_ANCHOR = np.array(ANCHOR_M)
NEGATIVES = ("nobody", "astray", "covered", "turned away")
"""Crops that show no face worth fitting."""
LEAST_SHOWN = 0.4
"""Less of the face than this, of what looks towards the camera, is a negative."""
SHARPEST = 1.6
"""Heads larger than 128 pixels by more than this are not blurred more: a better camera stands closer."""
INNER_LIPS = [13, 14]
"""Landmarks on the upper and the lower lip, where they meet."""
PARTED_M = 0.0015
"""Lips closer than this hide the teeth."""
BEYOND_FRAME = 0.1
"""Share of crops that reach beyond their frame, where they are black."""
FREE_SKY = 0.35
"""Share of the sky that skin of the face sees at least; the mouth's inside sees less."""
DEPTH_TOLERANCE_M = 0.004
"""A vertex counts as seen where nothing lies further in front of it than this."""


@dataclass(frozen=True, slots=True)
class SyntheticFace:
    """One picture with its truth."""

    crop: Bytes
    """`[S, S, 3]` sRGB; `[H, W, 3]` for a whole frame."""
    params: FaceParams
    """Pose in the camera of the crop; identity and reflectance are the nearest that the bases hold."""
    focal_px: float
    """Focal length of the crop's camera, whose principal point is the middle."""
    vertices: Array
    """`[V, 3]` the head at rest, head frame."""
    albedo: Array
    """`[V, 3]` linear albedo."""
    visible: NDArray[np.bool_]
    """`[V]` vertices that nothing hides."""
    landmarks: Array
    """`[478, 2]` in pixels of the crop, where MediaPipe's mesh would lie."""
    confidence: float
    """1 for a well-centred visible face, 0 for a negative; then the rest says nothing."""
    metadata: dict[str, Any]
    """What was drawn: `hair`, `glasses`, `occluder`, `negative`."""


class SyntheticFaces:
    """An endless source of faces. Equal configs and generators give equal faces, in order."""

    def __init__(self, config: SyntheticConfig, model: FaceModel | None = None) -> None:
        self.config = config
        self.model = model or FaceModel.load()
        self._assets = Assets.load(self.model, config.split)
        self._people = People(self.model, self._assets, config)
        # Backgrounds of the two splits never come from one seed, whatever the config's own.
        rng = np.random.default_rng([config.seed, 101, config.split == "test"])
        self._backgrounds = Backgrounds(rng)
        self._webcam = Webcam(rng)
        self._binding = LandmarkBinding.load()
        self._corners = self._binding.corners(self.model)
        outside = np.zeros(len(self.model.mean), bool)
        outside[self.model.triangles[self._assets.is_textured]] = True
        outside &= self._assets.occlusion > FREE_SKY
        self._face = np.flatnonzero(outside & (self.model.rigidity > 0.9) & (self.model.mean[:, 2] > 0.06))
        self._shadows = ShadowMap()
        self._scene: Scene | None = None
        self._left = 0
        self._buffers: dict[tuple[int, int], tuple[Array, NDArray[np.int32], Array]] = {}

    def sample(self, rng: np.random.Generator) -> SyntheticFace:
        """Draw one face, or a negative."""
        config = self.config
        if self._scene is None or self._left == 0:
            self._scene = self.person(rng)
            self._left = config.faces_per_person
        self._left -= 1
        negative = str(rng.choice(NEGATIVES)) if rng.random() < config.negatives else ""
        params, focal_px = self._place(self._scene, negative, rng)
        half = config.size / 2
        camera = Camera(width=config.size, height=config.size, focal_px=focal_px, center_px=(half, half))
        light = random_light(rng, is_test=config.split == "test")
        covering = "hand" if negative == "covered" else ""
        if not covering and rng.random() < config.occluded:
            covering = str(rng.choice(KINDS, p=(0.5, 0.15, 0.15, 0.1, 0.1)))
        return self.draw(
            self._scene, params, light, camera, rng, occluder=covering, negative=negative, samples=config.samples
        )

    def backdrop(self, rng: np.random.Generator, camera: Camera) -> Array:
        """Cut a background `[H, W, 3]`, linear, for any number of frames."""
        return self._backgrounds.cut(rng, camera.height, camera.width)

    def person(self, rng: np.random.Generator) -> Scene:
        """Draw a person and dress them, to be drawn any number of times."""
        return Scene(self.model, self._assets, self._people.draw(rng), rng)

    def render_frame(
        self,
        rng: np.random.Generator,
        *,
        width: int = 640,
        height: int = 480,
        head_px: tuple[float, float] = (150, 330),
    ) -> SyntheticFace:
        """Draw a new person in a whole frame of a common webcam, the head `head_px` wide: for trackers that detect.

        Everything of `SyntheticFace` is in the frame's camera (`Camera.webcam`); there are no negatives.
        """
        camera = Camera.webcam(width, height)
        scene = self.person(rng)
        params = self.frame_params(scene, behaviour.expression(rng), camera, rng, head_px=head_px)
        return self.draw(scene, params, random_light(rng, is_test=self.config.split == "test"), camera, rng)

    def frame_params(
        self,
        scene: Scene,
        expression: Array,
        camera: Camera,
        rng: np.random.Generator,
        *,
        head_px: tuple[float, float] = (150, 330),
    ) -> FaceParams:
        """Place a head of random pose and gaze, `head_px` wide, wholly inside a frame."""
        config = self.config
        matrix = behaviour.rotation(
            rng, np.deg2rad(config.max_yaw_deg), np.deg2rad(config.max_pitch_deg), rng.normal(0.0, 0.1)
        )
        distance = camera.focal_px * HEAD_M / rng.uniform(*head_px)
        margin = 0.62 * HEAD_M * camera.focal_px / distance
        room = np.maximum(np.array([camera.width, camera.height]) / 2 - margin, 0.0)
        aside = rng.uniform(-1.0, 1.0, 2) * room / camera.focal_px
        anchor = np.array([aside[0], -aside[1], -1.0]) * distance
        rotation = rotation_angles(matrix)
        return FaceParams.neutral().replace(
            identity=scene.person.identity,
            reflectance=scene.person.reflectance,
            expression=expression,
            rotation=rotation,
            translation=(anchor - matrix @ _ANCHOR).astype(np.float32),
            gaze=behaviour.gaze(rng, rotation),
        )

    def _place(self, scene: Scene, negative: str, rng: np.random.Generator) -> tuple[FaceParams, float]:
        """Draw what the face does, and where it is in a crop that was placed not quite right; for a negative, wrong."""
        config = self.config
        yaw, pitch = np.deg2rad(config.max_yaw_deg), np.deg2rad(config.max_pitch_deg)
        errors = np.array([_error(rng) for _ in range(4)]) * (WIDER if rng.random() < config.wide else 1.0)
        roll = np.deg2rad(config.roll_jitter_deg) * errors[0]
        size = 1.0 + config.size_jitter * errors[1]
        aside = config.center_jitter * errors[2:]
        if negative == "astray":
            kind = rng.integers(3)
            if kind == 0:
                angle = rng.uniform(0, 2 * np.pi)
                aside = rng.uniform(0.28, 0.6) * np.array([np.cos(angle), np.sin(angle)])
            elif kind == 1:
                size = rng.choice([rng.uniform(0.3, 0.55), rng.uniform(1.8, 3.5)])
            else:
                roll = rng.choice([-1, 1]) * rng.uniform(np.deg2rad(50), np.pi)
        matrix = behaviour.rotation(rng, yaw, pitch, roll)
        if negative == "turned away":
            matrix = (rotation_matrix(np.array([rng.uniform(2.0, 4.3), 0.0, 0.0], np.float32)) @ matrix).astype(
                np.float32
            )
        elif negative == "nobody":
            aside = np.array([0.0, -6.0])
        rotation = rotation_angles(matrix)
        distance = float(np.exp(rng.uniform(np.log(0.3), np.log(1.4))))
        # The anchor's distance and the crop's error give the focal length: see `capture.crop.Crop.around`.
        focal_px = config.size * distance / (HEAD_M * size)
        ray = np.array([aside[0] * config.size / focal_px, aside[1] * config.size / focal_px, -1.0])
        anchor = ray * distance / np.linalg.norm(ray)
        gaze = behaviour.gaze(rng, rotation)
        params = FaceParams.neutral().replace(
            identity=scene.person.identity,
            reflectance=scene.person.reflectance,
            expression=behaviour.expression(rng),
            rotation=rotation,
            translation=(anchor - matrix @ _ANCHOR).astype(np.float32),
            gaze=gaze,
        )
        return params, focal_px

    def draw(
        self,
        scene: Scene,
        params: FaceParams,
        light: Light,
        camera: Camera,
        rng: np.random.Generator,
        *,
        occluder: str = "",
        negative: str = "",
        samples: int = 2,
        background: Array | None = None,
        number: int = 0,
    ) -> SyntheticFace:
        """Draw one person with `params` under `light`, as `camera` sees them.

        `occluder` is one of `occluders.KINDS` or empty; `background [H, W, 3]`, linear, is random if not given.
        Frames of one video come from equal generators, by `number`.
        """
        params = params.replace(illumination=light.illumination)
        view = scene.pose(params, rng)
        lit = None
        if len(light.directions):
            middle = view[self._face].mean(0)
            lit = self._shadows.lit(view, scene.casting, light.directions[0], middle)
        surface = scene.light(params, light, lit)
        pixels, inverse = np.empty((len(view), 2), np.float32), np.empty(len(view), np.float32)
        _project(view, camera.focal_px, *camera.center_px, pixels, inverse)
        depth, face, weights = self._buffer(camera.height * samples, camera.width * samples)
        lips = np.linalg.norm(np.subtract(*self._landmarks(view, INNER_LIPS)))
        shown_count = len(scene.triangles) if lips > PARTED_M else scene.shut_count
        raster.draw(
            pixels * np.float32(samples), inverse, scene.triangles[:shown_count], scene.materials, scene.uv,
            scene.atlas, depth, face, weights,
        )  # fmt: skip
        if background is None:
            background = self.backdrop(rng, camera)
        linear = np.empty((camera.height, camera.width, 3), np.float32)
        head_px = camera.focal_px * HEAD_M / max(float(np.linalg.norm(params.translation)), 0.05)
        raster.shade(
            face, weights, scene.triangles, scene.materials, scene.uv, scene.atlas, surface, scene.person.eye,
            scene.eye_frames(params), _glints(light, rng), samples, head_px > 180.0, background,
            linear,
        )  # fmt: skip
        count = len(self.model.mean)
        visible = _seen(view[:count], pixels[:count], depth, samples)
        if occluder:
            parts = self._occluder(occluder, negative, pixels, head_px, surface[:, :3], scene, rng)
            mask = cover(linear, parts, rng.normal(0, 1, 2).astype(np.float32))
            visible &= ~_under(mask, pixels[:count])
        facing = vertex_facing(view[self._face], scene.normals[self._face]) > 0.1
        shown = float(visible[self._face][facing].mean()) if facing.any() else 0.0
        points = self._landmarks(view, slice(None))
        crop = self._webcam.shoot(rng, linear, number, scale=min(head_px / 128.0, SHARPEST))
        if camera.width == self.config.size and rng.random() < BEYOND_FRAME:
            crop = crop.copy()
            _leave_frame(rng, crop)
        return SyntheticFace(
            crop=crop,
            params=params,
            focal_px=camera.focal_px,
            vertices=scene.person.neutral,
            albedo=scene.person.albedo,
            visible=visible,
            landmarks=camera.project(points),
            confidence=0.0 if negative or shown < LEAST_SHOWN else 1.0,
            metadata={
                "hair": scene.person.hair.name if scene.person.hair else "",
                "glasses": scene.person.wears_glasses,
                "occluder": occluder,
                "negative": negative or ("covered" if shown < LEAST_SHOWN else ""),
            },
        )

    def _landmarks(self, view: Array, landmarks: slice | list[int]) -> Array:
        """Take landmarks `[N, 3]` out of the head's vertices in the view frame."""
        corners = view[self._corners[landmarks]]
        return np.asarray(np.einsum("lk,lkd->ld", self._binding.barycentric[landmarks], corners), np.float32)

    def _occluder(
        self, kind: str, negative: str, pixels: Array, head_px: float, irradiance: Array, scene: Scene,
        rng: np.random.Generator,
    ) -> Array:  # fmt: skip
        """Draw the parts of one occluder, somewhere on the face; for a negative over most of it."""
        face = pixels[self._face]
        middle = face.mean(0)
        # What is held before a face stands freer in the light than most of the face.
        light = np.percentile(irradiance[self._face], 85, axis=0).astype(np.float32)
        skin = np.clip(scene.person.albedo[self._face].mean(0), 0.03, 1.0) * light
        if negative == "covered":
            hands = [
                parts_of(
                    rng, kind, middle + rng.normal(0, 0.08, 2) * head_px, head_px * rng.uniform(1.1, 1.6), skin, 1.0
                )
                for _ in range(2)
            ]
            return np.concatenate(hands)
        at = face[rng.integers(len(face))] + rng.normal(0, 0.12, 2) * head_px
        return parts_of(rng, kind, at, head_px * rng.uniform(0.45, 0.85), skin, float(light.mean()))

    def _buffer(self, height: int, width: int) -> tuple[Array, NDArray[np.int32], Array]:
        if (height, width) not in self._buffers:
            self._buffers[height, width] = (
                np.zeros((height, width), np.float32),
                np.zeros((height, width), np.int32),
                np.zeros((height, width, 2), np.float32),
            )
        return self._buffers[height, width]


def _error(rng: np.random.Generator) -> float:
    """Draw a crop's error, -1 to 1: mostly small, as the tracker's own last fit places it, sometimes large."""
    return float(np.clip(rng.normal(0.0, 0.3), -1, 1) if rng.random() < 0.6 else rng.uniform(-1, 1))


def _leave_frame(rng: np.random.Generator, crop: Bytes) -> None:
    """Blacken what lies beyond one edge of a frame, which is turned against the crop: mostly below, rarely above."""
    size = len(crop)
    tilt = rng.normal(0.0, 0.2)
    side = rng.choice(4, p=(0.45, 0.2, 0.2, 0.15))
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    across = (rows, columns, -columns, -rows)[side]
    along = (columns, rows, rows, columns)[side]
    crop[across + tilt * along > rng.uniform(0.22, 0.5)] = 0


def _glints(light: Light, rng: np.random.Generator) -> Array:
    """Give what the corneas reflect `[L, 8]`: half vectors towards each lamp and one window or screen ahead."""
    directions = np.concatenate([light.directions, rng.normal(size=(1, 3)) * (0.5, 0.3, 0.1) + (0.0, 0.2, 1.0)])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    half = directions + np.array([0.0, 0.0, 1.0])
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    ahead = np.full((1, 3), max(float(light.illumination[:, 0].mean()) * 0.3, 0.1))
    colors = np.concatenate([light.colors * 3.0, ahead])
    size = np.cos(np.deg2rad(rng.uniform(1.2, 4.5, (len(half), 1))))
    strength = rng.uniform(0.0, 1.0, (len(half), 1)) ** 2
    return np.concatenate([half, colors, size, strength], 1).astype(np.float32)


@numba.njit(cache=True, error_model="numpy")
def _project(
    view: Array, focal: float, center_u: float, center_v: float, pixels: Array, inverse: Array
) -> None:  # pragma: no cover - compiled
    """Fill `pixels [N, 2]` and inverse depth `[N]`, -1 behind the camera."""
    for v in range(view.shape[0]):
        depth = -view[v, 2]
        inverse[v] = 1.0 / depth if depth > 0.05 else -1.0
        scale = focal / max(depth, np.float32(0.05))
        pixels[v, 0] = center_u + scale * view[v, 0]
        pixels[v, 1] = center_v - scale * view[v, 1]


def _seen(view: Array, pixels: Array, depth: Array, samples: int) -> NDArray[np.bool_]:
    """Tell which vertices nothing hides: the depth buffer `[h, w]` holds inverse metres."""
    column, row = np.floor(pixels * samples).astype(np.int64).T
    inside = (column >= 0) & (row >= 0) & (column < depth.shape[1]) & (row < depth.shape[0])
    nearest = depth[np.clip(row, 0, depth.shape[0] - 1), np.clip(column, 0, depth.shape[1] - 1)]
    return np.asarray(inside & (-view[:, 2] < 1.0 / np.maximum(nearest, 1e-6) + DEPTH_TOLERANCE_M))


def _under(mask: NDArray[np.bool_], pixels: Array) -> NDArray[np.bool_]:
    """Tell which of `pixels [V, 2]` lie under `mask [H, W]`."""
    height, width = mask.shape
    column, row = np.floor(pixels).astype(np.int64).T
    return np.asarray(mask[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)])


def vertex_facing(view: Array, normals: Array) -> Array:
    """Give the cosine `[V]` between each normal and the way to the camera."""
    return np.asarray(-(normals * view).sum(1) / np.maximum(np.linalg.norm(view, axis=1), 1e-6), np.float32)
