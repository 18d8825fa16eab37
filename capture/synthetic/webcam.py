"""From linear light to what a webcam sends: defocus, motion, noise, tone, low resolution and compression."""

from __future__ import annotations

import io

import numba
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]
Bytes = NDArray[np.uint8]

_levels = np.linspace(0.0, 1.0, 4096)
_ENCODED = (np.where(_levels <= 0.0031308, _levels * 12.92, 1.055 * _levels ** (1 / 2.4) - 0.055) * 255.0).astype(
    np.float32
)
NOISE_COUNT = 1 << 18


class Webcam:
    """Spoils pictures as cameras and codecs do."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._noise = rng.normal(size=NOISE_COUNT).astype(np.float32)

    def shoot(self, rng: np.random.Generator, linear: Array, number: int = 0, *, scale: float = 1.0) -> Bytes:
        """Turn `linear [H, W, 3]`, which is spoiled, into a picture `[H, W, 3]` uint8 sRGB.

        `scale` is the size of a head over that in a crop of 128 pixels: what is blurred is blurred in proportion.
        Frames of one video come from equal generators, by `number`: then only the noise differs.
        """
        height, width = linear.shape[:2]
        if rng.random() < 0.55:
            sigma = abs(rng.normal(0.0, 0.65)) * scale
            if sigma > 0.25:
                linear = blur(linear, sigma, sigma)
        if rng.random() < 0.12:  # motion
            amount = rng.uniform(0.5, 2.6) * scale
            linear = blur(linear, amount, 0.01) if rng.random() < 0.6 else blur(linear, 0.01, amount)
        gain = 10.0 ** rng.uniform(-3.2, -1.4) if rng.random() < 0.85 else 0.0
        smooth = rng.random() < 0.5  # noise that a camera's own filter has left is coarser
        output = np.empty((height, width, 3), np.uint8)
        contrast = np.float32(np.exp(rng.normal(0.0, 0.10)))
        _encode(
            linear, self._noise, int(rng.integers(NOISE_COUNT)) + 65_537 * number, np.float32(gain), smooth, contrast,
            np.float32(rng.normal(0.0, 5.0)), np.float32(np.clip(rng.normal(1.0, 0.12), 0.5, 1.4)), output,
        )  # fmt: skip
        kind = rng.random()
        if kind < 0.18:  # a small picture made larger, or the other way round
            factor = rng.uniform(0.4, 0.9)
            small = Image.fromarray(output).resize(
                (max(int(width * factor), 8), max(int(height * factor), 8)), Image.Resampling.BILINEAR
            )
            output = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))
        kind = rng.random()
        if kind < 0.55:
            output = _through(output, "JPEG", quality=int(rng.integers(28, 96)), subsampling=int(rng.choice([0, 2, 2])))
        elif kind < 0.62:
            output = _through(output, "WEBP", quality=int(rng.integers(5, 70)), method=0)
        return output


def _through(image: Bytes, codec: str, **options: int) -> Bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, codec, **options)
    return np.asarray(Image.open(buffer).convert("RGB"), np.uint8)


def blur(image: Array, sigma_x: float, sigma_y: float) -> Array:
    """Blur `[H, W, 3]` with a Gaussian, edges repeated."""
    rows = np.empty_like(image)
    output = np.empty_like(image)
    _blur_rows(image, _kernel(sigma_x), rows)
    _blur_columns(rows, _kernel(sigma_y), output)
    return output


def _kernel(sigma: float) -> Array:
    radius = max(int(np.ceil(2.5 * sigma)), 0)
    steps = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (steps / max(sigma, 1e-3)) ** 2)
    return (weights / weights.sum()).astype(np.float32)


@numba.njit(cache=True, fastmath={"contract", "nsz"}, error_model="numpy", boundscheck=False)
def _blur_rows(image: Array, kernel: Array, output: Array) -> None:  # pragma: no cover - compiled
    height, width = image.shape[0], image.shape[1]
    radius = len(kernel) // 2
    for y in range(height):
        for x in range(width):
            r = g = b = np.float32(0.0)
            for k in range(len(kernel)):
                column = min(max(x + k - radius, 0), width - 1)
                r += kernel[k] * image[y, column, 0]
                g += kernel[k] * image[y, column, 1]
                b += kernel[k] * image[y, column, 2]
            output[y, x, 0], output[y, x, 1], output[y, x, 2] = r, g, b


@numba.njit(cache=True, fastmath={"contract", "nsz"}, error_model="numpy", boundscheck=False)
def _blur_columns(image: Array, kernel: Array, output: Array) -> None:  # pragma: no cover - compiled
    height, width = image.shape[0], image.shape[1]
    radius = len(kernel) // 2
    for y in range(height):
        output[y] = 0.0
        for k in range(len(kernel)):
            row = min(max(y + k - radius, 0), height - 1)
            weight = kernel[k]
            for x in range(width):
                for c in range(3):
                    output[y, x, c] += weight * image[row, x, c]


@numba.njit(cache=True, fastmath={"contract", "nsz"}, error_model="numpy", boundscheck=False)
def _encode(
    linear: Array,
    noise: Array,
    start: int,
    gain: np.float32,
    smooth: bool,
    contrast: np.float32,
    lift: np.float32,
    saturation: np.float32,
    output: Bytes,
) -> None:  # pragma: no cover - compiled
    """Add noise that grows with the root of light, encode as sRGB, and grade."""
    height, width = output.shape[0], output.shape[1]
    mask = len(noise) - 1
    n = start
    top, zero, half = np.float32(4095.0), np.float32(0.0), np.float32(0.5)
    middle, white = np.float32(128.0), np.float32(255.0)
    shot, read = gain * np.float32(0.12), gain * np.float32(0.25)
    for y in range(height):
        for x in range(width):
            red = green = blue = zero
            for c in range(3):
                value = linear[y, x, c]
                if gain > zero:
                    draw = noise[n & mask]
                    if smooth:
                        draw = half * (draw + noise[(n + 3) & mask] + noise[(n + 3 * width) & mask])
                    value += draw * (np.sqrt(max(value, zero) * shot) + read)
                n += 1
                code = _ENCODED[int(min(max(value * top, zero), top))]
                if c == 0:
                    red = code
                elif c == 1:
                    green = code
                else:
                    blue = code
            grey = np.float32(0.3) * red + np.float32(0.59) * green + np.float32(0.11) * blue
            shift = middle + lift + half - contrast * middle
            base = (grey - saturation * grey) * contrast + shift
            slope = saturation * contrast
            output[y, x, 0] = np.uint8(min(max(red * slope + base, zero), white))
            output[y, x, 1] = np.uint8(min(max(green * slope + base, zero), white))
            output[y, x, 2] = np.uint8(min(max(blue * slope + base, zero), white))
