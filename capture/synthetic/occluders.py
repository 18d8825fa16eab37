"""What comes between a face and its camera: hands, cups, microphones, telephones, bars."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

KINDS = ("hand", "cup", "microphone", "telephone", "bar")


def parts_of(rng: np.random.Generator, kind: str, at: Array, size: float, skin: Array, level: float) -> Array:
    """Draw the parts `[P, 10]` of one: capsules from (x0, y0) to (x1, y1), of radii r0 and r1, colour, roundness.

    `at [2]` is where it covers the face, `size` about a head's width, both in pixels; `skin [3]` is the colour of hands
    and `level` the brightness of everything, linear.
    """
    angle = rng.uniform(0, 2 * np.pi)
    away = np.array([np.cos(angle), abs(np.sin(angle))])  # things come from below
    away /= np.linalg.norm(away)
    across = np.array([-away[1], away[0]])
    color = level * np.clip(rng.uniform(0.02, 0.9) + rng.normal(0, rng.choice([0.02, 0.2]), 3), 0.01, 1.0)
    parts: list[list[float]] = []

    def capsule(start: Array, end: Array, first: float, last: float, paint: Array, round_: float) -> None:
        parts.append([*start, *end, first, last, *paint, round_])

    if kind == "hand":
        paint = skin * np.float32(rng.uniform(0.75, 1.15))
        palm = at + away * size * rng.uniform(0.2, 0.8)
        capsule(palm, palm + away * size * 1.5, 0.19 * size, 0.14 * size, paint * np.float32(0.9), 0.6)  # wrist
        capsule(palm - 0.1 * size * across, palm + 0.1 * size * across, 0.17 * size, 0.17 * size, paint, 0.5)
        spread = rng.uniform(0.05, 0.35)
        curl = rng.uniform(0.45, 1.0)
        for k in range(5):
            lean = (k - 2) * spread + rng.normal(0, 0.05)
            toward = -away * np.cos(lean) + across * np.sin(lean)
            base = palm + across * (k - 2) * 0.085 * size - away * 0.12 * size
            length = size * curl * (0.42, 0.5, 0.54, 0.5, 0.36)[k]
            knuckle = base + toward * length * 0.5
            bend = toward + across * rng.normal(0, 0.2)
            shade = paint * np.float32(rng.uniform(0.85, 1.05))
            capsule(base, knuckle, 0.055 * size, 0.048 * size, shade, 0.75)
            capsule(knuckle, knuckle + bend * length * 0.5, 0.048 * size, 0.038 * size, shade, 0.75)
    elif kind == "cup":
        height, width = size * rng.uniform(0.4, 0.7), size * rng.uniform(0.18, 0.3)
        for k in range(6):
            middle = at + away * height * (k / 5 - 0.1)
            capsule(
                middle - across * 0.35 * width, middle + across * 0.35 * width, 0.6 * width, 0.6 * width, color, 0.35
            )
    elif kind == "microphone":
        radius = size * rng.uniform(0.07, 0.18)
        capsule(at, at + away * 3 * size, 0.35 * radius, 0.35 * radius, color * np.float32(0.3), 0.8)
        capsule(at, at + away * radius * 0.6, radius, 0.9 * radius, np.minimum(color, 0.08), 0.8)
    elif kind == "telephone":
        width = size * rng.uniform(0.12, 0.2)
        for k in range(-2, 3):
            line = at + across * k * 0.25 * width
            capsule(
                line, line + away * size * rng.uniform(0.7, 0.8), 0.3 * width, 0.3 * width, color * np.float32(0.2), 0.1
            )
    else:
        width = size * rng.uniform(0.03, 0.15)
        tilt = rng.uniform(0, np.pi)
        along = 4 * size * np.array([np.cos(tilt), np.sin(tilt)])
        capsule(at - along, at + along, width, width, color, rng.uniform(0.0, 0.8))
    return np.array(parts, np.float32)


def cover(image: Array, parts: Array, toward: Array) -> Mask:
    """Paint `parts [P, 10]` over `image [H, W, 3]`, lit from `toward [2]` on the screen; tell which pixels `[H, W]`."""
    mask = np.zeros(image.shape[:2], np.bool_)
    _cover(image, parts, toward.astype(np.float32), mask)
    return mask


@numba.njit(cache=True, fastmath={"contract", "nsz"}, error_model="numpy", boundscheck=False)
def _cover(image: Array, parts: Array, toward: Array, mask: Mask) -> None:  # pragma: no cover - compiled
    height, width = mask.shape
    for p in range(parts.shape[0]):
        x0, y0, x1, y1, r0, r1 = parts[p, 0], parts[p, 1], parts[p, 2], parts[p, 3], parts[p, 4], parts[p, 5]
        dx, dy = x1 - x0, y1 - y0
        inverse = np.float32(1.0) / max(dx * dx + dy * dy, np.float32(1e-6))
        reach = max(r0, r1) + np.float32(1.0)
        for y in range(max(int(min(y0, y1) - reach), 0), min(int(max(y0, y1) + reach) + 1, height)):
            for x in range(max(int(min(x0, x1) - reach), 0), min(int(max(x0, x1) + reach) + 1, width)):
                px, py = x + np.float32(0.5) - x0, y + np.float32(0.5) - y0
                t = min(max((px * dx + py * dy) * inverse, np.float32(0.0)), np.float32(1.0))
                ox, oy = px - t * dx, py - t * dy
                radius = r0 + t * (r1 - r0)
                distance = np.sqrt(ox * ox + oy * oy)
                share = min(max(radius - distance + np.float32(0.5), np.float32(0.0)), np.float32(1.0))
                if share <= 0.0:
                    continue
                part = min(distance / max(radius, np.float32(1e-3)), np.float32(1.0))
                round_ = parts[p, 9]
                light = np.float32(1.0) - round_ * np.float32(0.4) * part * part
                light += round_ * np.float32(0.35) * (ox * toward[0] + oy * toward[1]) / max(radius, np.float32(1e-3))
                for c in range(3):
                    image[y, x, c] += share * (parts[p, 6 + c] * max(light, np.float32(0.05)) - image[y, x, c])
                if share > 0.5:
                    mask[y, x] = True
