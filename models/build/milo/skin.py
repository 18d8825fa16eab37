"""Skin textures from a photographic one: colour with blood, beard and moles, a height map and a roughness map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.build.milo.target import Target
from models.build.milo.texture import TEXTURE_SIZE, face_mask, mirrored, spot, to_texture

Array = NDArray[np.float32]

BEARD_OUTLINE = (
    (488, 440), (512, 440), (545, 520), (600, 575), (655, 590), (672, 545), (700, 518), (742, 522), (784, 518),
    (812, 545), (829, 590), (884, 575), (939, 520), (972, 440), (996, 440), (985, 520), (940, 600), (860, 655),
    (742, 672), (624, 655), (545, 600), (500, 520),
)  # fmt: skip
"""Jaw, chin and upper lip, in face pixels."""

BLOOD = (
    (628, 500, 55, 45, 0.9), (855, 500, 55, 45, 0.9), (741, 488, 30, 22, 1.0), (741, 610, 45, 22, 0.35),
    (455, 430, 40, 50, 0.6), (1028, 430, 40, 50, 0.6), (741, 330, 120, 40, 0.25),
)  # fmt: skip
"""Cheeks, tip of the nose, chin, ears, forehead: x, y, radii, strength."""


@dataclass(frozen=True, slots=True)
class SkinMaps:
    """Three textures `[2048, 2048]`, sRGB colour and linear masks, uint8."""

    color: NDArray[np.uint8]
    """`[2048, 2048, 3]`."""
    height: NDArray[np.uint8]
    roughness: NDArray[np.uint8]

    def save(self, folder: Path) -> None:
        """Write `skin_color.png`, `skin_height.png` and `skin_roughness.png`."""
        for name in ("color", "height", "roughness"):
            Image.fromarray(getattr(self, name)).save(folder / f"skin_{name}.png")


def paint_skin(target: Target, assets: Path) -> SkinMaps:
    """Paint the textures of a description. The seed decides mottling, pores and moles."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng([target.seed, 1])
    skin = target.skin
    with Image.open(assets / skin.texture) as image:
        photo = image.convert("RGB").resize((TEXTURE_SIZE, TEXTURE_SIZE), Image.Resampling.LANCZOS)
    color = np.asarray(photo).astype(np.float32) / 255.0
    color += skin.detail * (color - gaussian_filter(color, (5, 5, 0)))

    def noise(sigma: float) -> Array:
        """Make smooth noise of standard deviation about 1/4."""
        white = rng.standard_normal((TEXTURE_SIZE, TEXTURE_SIZE)).astype(np.float32)
        return np.asarray(gaussian_filter(white, sigma) * sigma, np.float32)

    mottling = 1.2 * noise(7.0) + 0.8 * noise(2.2)
    face = np.clip(1.6 * spot(741, 470, 330, 260), 0.0, 1.0)
    redness = sum(strength * spot(x, y, rx, ry) for x, y, rx, ry, strength in BLOOD) * skin.redness
    redness = redness * (1.0 + 0.45 * mottling) + 0.10 * mottling * face
    color *= 1.0 + redness[..., None] * np.array([0.015, -0.075, -0.07], np.float32)

    lips = np.clip((color[..., 0] - color[..., 1:].mean(-1) - 0.27) * 6.0, 0.0, 1.0)
    lips = gaussian_filter(lips, 2.0)
    stubble = gaussian_filter((rng.random((TEXTURE_SIZE, TEXTURE_SIZE)) < 0.16).astype(np.float32), 0.55)
    stubble = np.clip((stubble - 0.08) * 4.0, 0.0, 1.0)
    jaw = to_texture(gaussian_filter(face_mask(BEARD_OUTLINE), 16.0)) * (1.0 - lips)
    shadow = skin.beard * jaw * (0.13 + 0.17 * stubble)
    color *= 1.0 - shadow[..., None] * np.array([0.85, 0.80, 0.68], np.float32)

    gray = color.mean(-1)  # before scalp and moles, which are colour alone
    if target.hair.style == "strands":
        scalp = to_texture(gaussian_filter(face_mask(mirrored(target.hair.hairline)), 5.0))[..., None]
        color *= 1.0 - scalp * np.array(skin.scalp_tint, np.float32) * np.clip(1.2 * scalp - 0.2, 0.0, 1.0)
    for _ in range(skin.moles):
        radius = rng.uniform(1.0, 2.1)
        depth = rng.uniform(0.08, 0.28)
        mole = spot(rng.uniform(560, 930), rng.uniform(290, 660), radius, radius) * depth * (1.0 - lips)
        color *= 1.0 - mole[..., None] * np.array([0.6, 0.8, 0.9], np.float32)
    color = np.clip(color, 0.0, 1.0)

    pores = 0.07 * 2.0 * noise(1.0) + 0.05 * 2.0 * noise(2.5)
    height = np.clip(0.5 + 2.5 * (gray - gaussian_filter(gray, 5.0)) + pores, 0.0, 1.0)
    shine = 0.07 * spot(741, 470, 40, 60) + 0.05 * spot(741, 300, 140, 50)
    roughness = np.clip(0.50 - 0.17 * lips - shine + 0.03 * np.clip(mottling, -1.0, 1.0), 0.2, 0.8)
    return SkinMaps(_to_bytes(color), _to_bytes(height), _to_bytes(roughness))


def _to_bytes(values: Array) -> NDArray[np.uint8]:
    return (values * 255.0 + 0.5).astype(np.uint8)
