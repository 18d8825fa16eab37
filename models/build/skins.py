"""Albedo of skin at the vertices: the CC0 MakeHuman skins, varied by what varies in people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.illumination import srgb_to_linear
from models.params import EXPRESSION_INDEX

Array = NDArray[np.float64]

MELANIN = np.array([0.35, 0.62, 1.0])
"""Absorption of melanin in R, G, B, relative to blue (after Krishnaswamy and Baranoski, 2004)."""
HAEMOGLOBIN = np.array([0.12, 1.0, 0.85])
"""Absorption of haemoglobin in R, G, B, relative to green."""


def load_skins(folder: Path, texture_coordinates: Array) -> Array:
    """Sample each `*_diffuse*.jpg` skin of `folder` at `[V, 2]` coordinates; gives linear albedo `[S, V, 3]`."""
    paths = sorted(folder.glob("*_diffuse*.jpg"))
    if not paths:
        raise ValueError(f"{folder}: expected MakeHuman skins (*_diffuse*.jpg), found none")
    skins = []
    for path in paths:
        # One texel of a 512-wide copy is about the size of the mesh's finest triangles: no aliasing.
        image = Image.open(path).convert("RGB").resize((512, 512), Image.Resampling.BOX)
        pixels = srgb_to_linear(np.asarray(image, np.float32) / 255.0)
        column = np.clip(texture_coordinates[:, 0] * 512, 0, 511).astype(int)
        row = np.clip((1 - texture_coordinates[:, 1]) * 512, 0, 511).astype(int)
        skins.append(pixels[row, column])
    return np.stack(skins).astype(np.float64)


def face_regions(mean: Array, expressions: Array, eye_centers: Array) -> dict[str, Array]:
    """Weigh lips, brows and beard at the vertices, `[V]` in 0 to 1, from geometry and from what each shape moves."""
    motion = {name: np.linalg.norm(expressions[index], axis=1) for name, index in EXPRESSION_INDEX.items()}
    lips = np.clip((motion["mouthRollLower"] + motion["mouthRollUpper"]) / 0.004 - 0.35, 0, 1)
    eye_height, eye_front = eye_centers[:, 1].mean(), eye_centers[:, 2].mean()
    above = mean[:, 1] - eye_height
    across = np.abs(mean[:, 0])
    is_front = mean[:, 2] > eye_front - 0.02
    arch = 0.016 - 0.25 * np.maximum(across - 0.045, 0)
    brows = np.exp(-(((above - arch) / 0.0045) ** 2)) * np.clip((across - 0.010) / 0.006, 0, 1)
    brows *= np.clip((0.060 - across) / 0.008, 0, 1) * is_front
    beard = np.clip((-above - 0.050) / 0.02, 0, 1) * np.clip((mean[:, 2] - eye_front + 0.055) / 0.03, 0, 1) * (1 - lips)
    return {"lips": lips, "brows": brows, "beard": beard}


def smooth_noise(mean: Array, count: int, scale_m: float, rng: np.random.Generator) -> Array:
    """Draw `count` smooth unit-variance fields `[count, V]` over the head, by random Fourier features."""
    features = 48
    waves = rng.normal(0, 1 / scale_m, (3, features))
    phase = rng.uniform(0, 2 * np.pi, features)
    basis = np.cos(mean @ waves + phase) * np.sqrt(2 / features)
    return np.asarray(rng.normal(size=(count, features)) @ basis.T)


def random_skins(skins: Array, regions: dict[str, Array], mean: Array, count: int, rng: np.random.Generator) -> Array:
    """Draw `count` albedos `[count, V, 3]`: a mixture of `skins [S, V, 3]`, then pigment, blood, lips, brows, beard."""
    mixture = rng.dirichlet(np.full(len(skins), 0.35), count)
    absorbance = np.tensordot(mixture, -np.log(np.clip(skins, 0.004, 1.0)), 1)
    fine, coarse = smooth_noise(mean, count, 0.008, rng), smooth_noise(mean, count, 0.035, rng)
    melanin = 0.25 * rng.normal(size=(count, 1)) + 0.06 * coarse + 0.03 * fine
    blood = 0.10 * rng.normal(size=(count, 1)) + 0.05 * smooth_noise(mean, count, 0.025, rng) + 0.02 * fine
    blood = blood + regions["lips"] * rng.normal(0.15, 0.18, (count, 1))
    dark = regions["brows"] * np.clip(rng.normal(0.9, 0.7, (count, 1)), 0, None)
    dark = dark + regions["beard"] * np.clip(rng.normal(0.0, 0.35, (count, 1)), 0, None) * (1 + 0.2 * fine)
    absorbance += melanin[..., None] * MELANIN + blood[..., None] * HAEMOGLOBIN + dark[..., None]
    return np.asarray(np.exp(-np.clip(absorbance, 0.02, 6.0)))
