"""Random light: ambience and a few lamps, and the spherical harmonics of what both shed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.illumination import sh_basis
from models.params import SH_BAND0

Array = NDArray[np.float32]

BANDS = np.repeat([1.0, 2.0 / 3.0, 1.0 / 4.0], [1, 3, 5]).astype(np.float32)
"""Irradiance over pi of a distant lamp, band by band (Ramamoorthi and Hanrahan, SIGGRAPH 2001, equation 8)."""


@dataclass(frozen=True, slots=True)
class Light:
    """What shines on one face."""

    illumination: Array
    """`[3, 9]` all of it, as `FaceParams.illumination`."""
    ambient: Array
    """`[3, 9]` what comes from everywhere, likewise."""
    directions: Array
    """`[L, 3]` unit vectors towards the lamps, view frame; the brightest first."""
    colors: Array
    """`[L, 3]` irradiance over pi that a surface facing the lamp receives, linear."""


def random_light(rng: np.random.Generator, *, is_test: bool) -> Light:
    """Draw one: rooms, windows, screens, lamps and the sun; brightness and white balance of the camera included.

    Light of the test split comes from other seeds, and more often from one side only.
    """
    lamps = int(rng.integers(0, 4)) if rng.random() < 0.9 else 1
    contrast = rng.beta(1.6, 1.4) if lamps else 0.0
    if rng.random() < (0.25 if is_test else 0.18):
        lamps, contrast = max(lamps, 1), rng.uniform(0.7, 0.97)
    directions = rng.normal(size=(lamps, 3)) * (1.2, 0.8, 0.9) + (0.0, 0.45, 0.75)
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-6)
    shares = np.sort(rng.dirichlet(np.full(lamps, 0.8)))[::-1] if lamps else np.zeros(0)
    warmth = rng.normal(0.0, 0.16, (lamps + 2, 1)) * (1.0, 0.1, -1.0) + rng.normal(0.0, 0.03, (lamps + 2, 3))
    tint = np.exp(warmth)
    if lamps and rng.random() < 0.1:  # a coloured lamp or screen
        tint[0] = np.exp(rng.normal(0.0, 0.6, 3))
    # Sky above, floor below, and a gentle change from side to side.
    up = np.array([rng.normal(0, 0.25), 1.0, rng.normal(0.2, 0.25)])
    up /= np.linalg.norm(up)
    slope = rng.uniform(0.0, 0.55)
    ambient = np.zeros((3, 9))
    ambient[:, 0] = tint[-1] / SH_BAND0
    ambient[:, 1:4] = slope * np.outer(tint[-2], up[[1, 2, 0]]) / 0.48860251 * 0.7
    ambient[:, 4:] = rng.normal(0.0, 0.06, 5) / SH_BAND0
    ambient *= 1.0 - contrast
    colors = contrast * 1.5 * shares[:, None] * tint[:lamps]
    harmonics = sh_basis(directions.astype(np.float32)).astype(np.float64) if lamps else np.zeros((0, 9))
    lit = ambient + np.einsum("lc,lk->ck", colors, harmonics * BANDS * np.pi)
    # The camera sets exposure and white balance by what it sees from the front.
    front = np.maximum(lit @ sh_basis(np.array([0.0, 0.2, 0.98], np.float32)), 0.05)
    level = rng.uniform(0.55, 1.25) if rng.random() < 0.85 else rng.uniform(0.25, 1.9)
    balance = rng.uniform(0.4, 1.0)
    gain = level / (front.mean() * (front / front.mean()) ** balance) * np.exp(rng.normal(0.0, 0.04, 3))
    return Light(
        illumination=(lit * gain[:, None]).astype(np.float32),
        ambient=(ambient * gain[:, None]).astype(np.float32),
        directions=directions.astype(np.float32),
        colors=(colors * gain).astype(np.float32),
    )
