"""Pictures of what the regressor makes of crops: one row for each, as the paper shows its results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from capture.formation import FaceFormation, Formed, linear_to_srgb
from models.levels import LEVELS
from models.rasterize import Rasterizer
from models.regressor import FaceRegressor, Regressed

Array = NDArray[np.float32]

COLUMNS = ("input", "overlay", "geometry", "reflectance", "light", "error 0", "error 1", "error 2")
"""Parts of a row: the crop, the formed picture laid over it, the shape in grey, albedo without light, light without
albedo, and the photometric error of each level, four times brighter."""
MIN_RIGIDITY = 0.5
"""Triangles that follow the skull less than this (the lower neck) are not drawn."""
CLAY = 0.6
"""Albedo of the grey shape."""


@torch.no_grad()
def draw_faces(
    regressor: FaceRegressor, formation: FaceFormation, crops: NDArray[np.uint8], focal_px: Array, path: Path
) -> None:
    """Write `COLUMNS` of each of `crops [N, S, S, 3]` (cameras of `focal_px [N]`) as rows of one picture."""
    device = formation.mean.device
    image = torch.from_numpy(crops).to(device).permute(0, 3, 1, 2).float() / 255.0
    said = regressor.split(regressor(image.contiguous(memory_format=torch.channels_last)))
    focal = torch.from_numpy(np.ascontiguousarray(focal_px, np.float32)).to(device)
    size = crops.shape[1]
    levels = [form_level(formation, said, focal, size, level) for level in LEVELS]
    painter = _Painter(formation, size)
    rows = [np.concatenate(painter.row(crops[i] / np.float32(255), levels, i), 1) for i in range(len(crops))]
    Image.fromarray((np.concatenate(rows) * 255 + 0.5).astype(np.uint8)).save(path)


def form_level(formation: FaceFormation, said: Regressed, focal_px: torch.Tensor, size: int, level: int) -> Formed:
    """Form the pictures of what was said with the levels up to `level`."""
    neutral, albedo = formation.neutral(said.identity), formation.albedo(said.reflectance)
    known = LEVELS[level]
    formed: Formed = formation(
        neutral + formation.geometry_correction(said.geometry_levels, known),
        albedo + formation.reflectance_correction(said.reflectance_levels, known),
        said.expression, said.gaze, said.illumination, said.rotation, said.translation(focal_px, size), focal_px, size,
    )  # fmt: skip
    return formed


class _Painter:
    """Draws formed heads through one rasterizer."""

    def __init__(self, formation: FaceFormation, size: int) -> None:
        model = formation.model
        self._rasterizer = Rasterizer(
            model.triangles[model.rigidity[model.triangles].min(1) > MIN_RIGIDITY], size, size
        )
        self._size = size

    def row(self, crop: Array, levels: list[Formed], index: int) -> list[Array]:
        full = levels[-1]
        grey = CLAY * (0.25 + 0.75 * full.facing[index].clamp(min=0.0))[:, None].expand(-1, 3)
        whole = [linear_to_srgb(formed.color[index]).clamp(0, 1) for formed in levels]
        light = linear_to_srgb(CLAY * full.light[index]).clamp(0, 1)
        albedo = linear_to_srgb(full.albedo[index])
        overlay, drawn = self._draw(full, index, whole[-1], crop)
        black = np.zeros_like(crop)
        parts = [crop, overlay]
        parts += [self._draw(full, index, values, black)[0] for values in (linear_to_srgb(grey), albedo, light)]
        for formed, color in zip(levels, whole, strict=True):
            picture, drawn = self._draw(formed, index, color, crop)
            parts.append(np.clip(4 * np.abs(picture - crop), 0, 1) * drawn[..., None])
        return parts

    def _draw(self, formed: Formed, index: int, values: torch.Tensor, below: Array) -> tuple[Array, NDArray[np.bool_]]:
        self._rasterizer.draw(formed.pixels[index].cpu().numpy(), -formed.vertices[index, :, 2].cpu().numpy())
        picture = np.ascontiguousarray(below.transpose(2, 0, 1))
        self._rasterizer.interpolate(values.cpu().numpy(), picture)
        return picture.transpose(1, 2, 0), self._rasterizer.face >= 0
