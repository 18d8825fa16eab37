"""A small maker of synthetic faces: the model's own picture before a plain background, truth included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capture.binding import LandmarkBinding
from models.camera import Camera
from models.face import FaceModel
from models.illumination import linear_to_srgb, shade, vertex_normals
from models.params import FaceParams
from models.rasterize import Rasterizer

SIZE, FOCAL_PX = 192, 480.0


class Painter:
    """Paints random heads that have a shape and a colour beyond the bases."""

    def __init__(self, model: FaceModel, seed: int = 0) -> None:
        self._model, self._rng = model, np.random.default_rng(seed)
        self._camera = Camera(width=SIZE, height=SIZE, focal_px=FOCAL_PX, center_px=(SIZE / 2, SIZE / 2))
        self._binding = LandmarkBinding.load()
        self._rasterizer = Rasterizer(model.triangles, SIZE, SIZE)
        waves = np.random.default_rng(1).normal(0, 30.0, (3, 12))
        self._beyond = np.sin(model.mean @ waves)

    def face(self) -> dict[str, Any]:
        rng, model = self._rng, self._model
        params = FaceParams.neutral().replace(
            identity=rng.normal(0, 1, 80).astype(np.float32),
            expression=(rng.uniform(0, 0.8, 52) * (rng.uniform(size=52) < 0.15)).astype(np.float32),
            reflectance=rng.normal(0, 1, 80).astype(np.float32),
            rotation=rng.normal(0, 0.3, 3).astype(np.float32),
            translation=np.array([*rng.normal(0, 0.01, 2), -0.6 + 0.05 * rng.normal()], np.float32),
            gaze=np.repeat(rng.normal(0, 0.2, (1, 2)), 2, 0).astype(np.float32),
        )
        params.expression[10:18] = 0.0
        params.illumination[:, 1:4] = rng.normal(0, 0.5, (1, 3))
        neutral = model.neutral(params.identity)
        skin = slice(0, model.eye_ranges[0][0])
        shift = (self._beyond @ rng.normal(0, 3e-4, (12, 3))).astype(np.float32)
        neutral[skin] += shift[skin]
        albedo = model.albedo(params.reflectance)
        albedo[skin] = np.clip(albedo + self._beyond @ rng.normal(0, 0.01, (12, 1)), 0, 1)[skin]
        vertices = model.view_vertices(params, neutral)
        color = linear_to_srgb(shade(albedo, vertex_normals(vertices, model.triangles), params.illumination))
        image = np.full((3, SIZE, SIZE), rng.uniform(), np.float32)
        self._rasterizer.draw(self._camera.project(vertices), -vertices[:, 2])
        self._rasterizer.interpolate(color, image)
        crop = (image.transpose(1, 2, 0) * 255 + 0.5).astype(np.uint8)
        truth = params.fields() | {"vertices": neutral, "albedo": albedo, "focal_px": np.float32(FOCAL_PX)}
        points = np.einsum("lk,lkd->ld", self._binding.barycentric, vertices[self._binding.corners(model)])
        visible = {"visible": np.ones(len(neutral), bool), "landmarks": self._camera.project(points)}
        return {"crop": crop, "confidence": np.float32(1)} | truth | visible

    def nothing(self) -> dict[str, Any]:
        """Paint no face; what is said of it means nothing."""
        face = self.face()
        values = {name: np.full_like(value, np.nan) for name, value in face.items() if name not in ("crop", "visible")}
        noise = self._rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
        return {"crop": noise, "visible": face["visible"]} | values | {"confidence": np.float32(0)}

    def batch(self, count: int) -> dict[str, NDArray[Any]]:
        """Paint `count` samples, every eighth of them without a face."""
        rows = [self.nothing() if i % 8 == 7 else self.face() for i in range(count)]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def stream(self, batch: int) -> Iterator[dict[str, NDArray[Any]]]:
        while True:
            yield self.batch(batch)
