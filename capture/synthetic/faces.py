"""Draw synthetic faces with everything that is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capture.binding import LandmarkBinding
from capture.synthetic import behaviour, raster
from capture.synthetic.assets import Assets
from capture.synthetic.background import Backgrounds
from capture.synthetic.config import SyntheticConfig
from capture.synthetic.light import Light, random_light
from capture.synthetic.person import People
from capture.synthetic.scene import Scene
from capture.synthetic.webcam import Webcam
from models.camera import Camera, rotation_angles
from models.face import FaceModel
from models.params import FaceParams

Array = NDArray[np.float32]
Bytes = NDArray[np.uint8]

HEAD_M = 0.24
ANCHOR_M = np.array([0.0, -0.035, 0.06])
"""A crop without error spans `HEAD_M` around this point of the head, as `capture.crop.Crop.around` frames it. Stated
again here, for that module imports PyTorch, which a worker has no use for; a test compares them."""
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
        self._scene: Scene | None = None
        self._left = 0
        self._buffers: dict[tuple[int, int], tuple[Array, NDArray[np.int32], Array]] = {}

    def sample(self, rng: np.random.Generator) -> SyntheticFace:
        """Draw one face, or a negative."""
        config = self.config
        if self._scene is None or self._left == 0:
            self._scene = Scene(self.model, self._assets, self._people.draw(rng), rng)
            self._left = config.faces_per_person
        self._left -= 1
        params, focal_px = self._place(rng)
        camera = Camera(
            width=config.size, height=config.size, focal_px=focal_px, center_px=(config.size / 2, config.size / 2)
        )
        return self._draw(self._scene, params, camera, config.samples, rng)

    def _place(self, rng: np.random.Generator) -> tuple[FaceParams, float]:
        """Draw what the face does and where it is in a crop that was placed not quite right."""
        config, scene = self.config, self._scene
        assert scene is not None
        roll = np.deg2rad(config.roll_jitter_deg) * _error(rng)
        matrix = behaviour.rotation(rng, np.deg2rad(config.max_yaw_deg), np.deg2rad(config.max_pitch_deg), roll)
        rotation = rotation_angles(matrix)
        distance = float(np.exp(rng.uniform(np.log(0.3), np.log(1.4))))
        size = 1.0 + config.size_jitter * _error(rng)
        aside = config.center_jitter * np.array([_error(rng), _error(rng)])
        # The anchor's depth and the crop's error give the focal length: see `capture.crop.Crop.around`.
        focal_px = config.size * distance / (HEAD_M * size)
        ray = np.array([aside[0] * config.size / focal_px, aside[1] * config.size / focal_px, -1.0])
        anchor = ray * distance / np.linalg.norm(ray)
        gaze = behaviour.gaze(rng, rotation)
        params = FaceParams.neutral().replace(
            identity=scene.person.identity,
            reflectance=scene.person.reflectance,
            expression=behaviour.expression(rng),
            rotation=rotation,
            translation=(anchor - matrix @ ANCHOR_M).astype(np.float32),
            gaze=gaze,
        )
        return params, focal_px

    def _draw(
        self, scene: Scene, params: FaceParams, camera: Camera, samples: int, rng: np.random.Generator
    ) -> SyntheticFace:
        light = random_light(rng, is_test=self.config.split == "test")
        params = params.replace(illumination=light.illumination)
        view = scene.pose(params, rng)
        irradiance, reflection = scene.light(params, light, None)
        pixels = camera.project(view)
        depth, face, weights = self._buffer(camera.height * samples, camera.width * samples)
        inverse = np.where(view[:, 2] < -0.05, -1.0 / np.minimum(view[:, 2], -0.05), -1.0).astype(np.float32)
        raster.draw(
            pixels * np.float32(samples), inverse, scene.triangles, scene.materials, scene.uv, scene.atlas,
            depth, face, weights,
        )  # fmt: skip
        linear = np.empty((camera.height, camera.width, 3), np.float32)
        raster.shade(
            face, weights, scene.triangles, scene.materials, scene.uv, scene.atlas, scene.tint, irradiance, reflection,
            scene.person.eye, scene.eye_frames(params), _glints(light, rng), samples,
            self._backgrounds.cut(rng, camera.height, camera.width), linear,
        )  # fmt: skip
        count = len(self.model.mean)
        visible = _seen(view[:count], pixels[:count], depth, samples)
        crop = self._webcam.shoot(rng, linear)
        points = np.einsum("lk,lkd->ld", self._binding.barycentric, view[self._corners])
        return SyntheticFace(
            crop=crop,
            params=params,
            focal_px=camera.focal_px,
            vertices=scene.person.neutral,
            albedo=scene.person.albedo,
            visible=visible,
            landmarks=camera.project(points.astype(np.float32)),
            confidence=1.0,
            metadata={
                "hair": scene.person.hair.name if scene.person.hair else "",
                "glasses": scene.person.wears_glasses,
                "occluder": "",
                "negative": "",
            },
        )

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


def _glints(light: Light, rng: np.random.Generator) -> Array:
    """Give what the corneas reflect `[L, 8]`: half vectors towards each lamp and one window or screen ahead."""
    directions = np.concatenate([light.directions, rng.normal(size=(1, 3)) * (0.5, 0.3, 0.1) + (0.0, 0.2, 1.0)])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    half = directions + np.array([0.0, 0.0, 1.0])
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    ahead = np.full((1, 3), max(float(light.illumination[:, 0].mean()) * 0.3, 0.1))
    colors = np.concatenate([light.colors * 3.0, ahead])
    size = np.cos(np.deg2rad(rng.uniform(2.5, 9.0, (len(half), 1))))
    strength = rng.uniform(0.1, 1.0, (len(half), 1))
    return np.concatenate([half, colors, size, strength], 1).astype(np.float32)


def _seen(view: Array, pixels: Array, depth: Array, samples: int) -> NDArray[np.bool_]:
    """Tell which vertices nothing hides: the depth buffer `[h, w]` holds inverse metres."""
    column, row = np.floor(pixels * samples).astype(np.int64).T
    inside = (column >= 0) & (row >= 0) & (column < depth.shape[1]) & (row < depth.shape[0])
    nearest = depth[np.clip(row, 0, depth.shape[0] - 1), np.clip(column, 0, depth.shape[1] - 1)]
    return np.asarray(inside & (-view[:, 2] < 1.0 / np.maximum(nearest, 1e-6) + DEPTH_TOLERANCE_M))
