"""Where the marked picture lies in a video: it may be cut, scaled, or a window on a recorded screen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from reenact.mark.pattern import GRID, reference_chips

Complex = NDArray[np.complex64]

SCALES = (0.22, 1.4)
"""Smallest and largest width of the marked picture as a share of the video's longer side; above 1 it was cut."""
SCALE_STEP = 1.02
"""A chip at the rim is off by a third of its size at most."""
CHIP_PX = 2
"""Pixels for a chip while searching."""
OVERHANG = 0.3
"""Share of the marked picture that may lie outside on each side."""
NUM_CANDIDATES = 3


@dataclass(frozen=True, slots=True)
class Place:
    """A rectangle in a picture, pixels of the demodulated picture."""

    left: float
    top: float
    width: float
    height: float

    def grid(self, picture: Complex, per_chip: int = 4) -> Complex:
        """Average a picture `[h, w]` over the chips of this place, `[20, 20]`; what lies outside counts as 0."""
        side = GRID * per_chip
        x = (self.left + (np.arange(side, dtype=np.float32) + 0.5) * (self.width / side) - 0.5).astype(np.float32)
        y = (self.top + (np.arange(side, dtype=np.float32) + 0.5) * (self.height / side) - 0.5).astype(np.float32)
        map_x, map_y = np.meshgrid(x, y)
        pair = np.ascontiguousarray(picture).view(np.float32).reshape(*picture.shape, 2)
        sampled = cv2.remap(pair, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        chips = sampled.reshape(GRID, per_chip, GRID, per_chip, 2).mean(axis=(1, 3))
        return (chips[..., 0] + 1j * chips[..., 1]).astype(np.complex64)


def score(weighted: Complex, place: Place) -> float:
    """Say how well the reference fits there: where there is none, the square is exponential with mean 1."""
    chips = place.grid(weighted)
    energy = float(np.sum(np.abs(chips) ** 2))
    return float(abs(np.sum(chips * reference_chips())) / math.sqrt(energy)) if energy > 0 else 0.0


def whole(weighted: Complex) -> Place:
    """Give the place of a marked picture that fills the video."""
    return Place(0.0, 0.0, float(weighted.shape[1]), float(weighted.shape[0]))


def search(weighted: Complex) -> list[tuple[float, Place]]:
    """Look for the reference at every scale and shift; give the best places with their scores, best first."""
    found: list[tuple[float, Place]] = []
    for width in _widths(max(weighted.shape)):
        found.append(_best_at(weighted, width))
    found.sort(key=lambda item: -item[0])
    return [
        (score(weighted, place), place) for place in (refine(weighted, rough) for _, rough in found[:NUM_CANDIDATES])
    ]


def refine(weighted: Complex, place: Place) -> Place:
    """Move and scale a place, each side by itself, to where the reference fits best."""
    best = score(weighted, place)
    step = 0.5 / GRID
    while step > 0.02 / GRID:
        has_moved = False
        for moved in _neighbours(place, step):
            if (value := score(weighted, moved)) > best * 1.0005:
                best, place, has_moved = value, moved, True
        if not has_moved:
            step /= 2.0
    return place


def _neighbours(place: Place, step: float) -> Iterator[Place]:
    dx, dy = step * place.width, step * place.height
    for sign in (1.0, -1.0):
        yield Place(place.left + sign * dx, place.top, place.width, place.height)
        yield Place(place.left, place.top + sign * dy, place.width, place.height)
        yield Place(
            place.left - sign * dx, place.top - sign * dy, place.width + 2 * sign * dx, place.height + 2 * sign * dy
        )
        yield Place(place.left - sign * dx, place.top, place.width + 2 * sign * dx, place.height)


def _widths(longer: int) -> Iterator[float]:
    low, high = SCALES
    count = math.ceil(math.log(high / low) / math.log(SCALE_STEP))
    for index in range(count + 1):
        yield longer * high * (low / high) ** (index / count)


def _best_at(weighted: Complex, width: float) -> tuple[float, Place]:
    """Correlate with a square reference of `width` pixels at every shift; give the best place and its score."""
    side = GRID * CHIP_PX
    zoom = side / width
    size = (max(1, round(weighted.shape[1] * zoom)), max(1, round(weighted.shape[0] * zoom)))
    pair = np.ascontiguousarray(weighted).view(np.float32).reshape(*weighted.shape, 2)
    scaled = cv2.resize(pair, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    margin = round(OVERHANG * side)
    shape = tuple(cv2.getOptimalDFTSize(max(length, side) + 2 * margin) for length in scaled.shape[:2])
    picture = np.zeros(shape, np.complex64)
    picture[margin : margin + size[1], margin : margin + size[0]] = scaled[..., 0] + 1j * scaled[..., 1]
    template = np.zeros(shape, np.float32)
    template[:side, :side] = np.kron(reference_chips(), np.ones((CHIP_PX, CHIP_PX), np.float32))
    correlation = np.abs(np.fft.ifft2(np.fft.fft2(picture) * np.conj(np.fft.fft2(template))))
    # Energy below the template at each shift, so that a bright spot is no match.
    energy = cv2.boxFilter(
        np.abs(picture) ** 2, -1, (side, side), anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    floor = 0.25 * float(energy.max())
    values = correlation / np.sqrt(np.maximum(energy, floor) + 1e-20) / CHIP_PX
    values = values[: size[1] + 2 * margin - side + 1, : size[0] + 2 * margin - side + 1]
    top, left = np.unravel_index(int(values.argmax()), values.shape)
    across, down = weighted.shape[1] / size[0], weighted.shape[0] / size[1]
    place = Place((int(left) - margin) * across, (int(top) - margin) * down, side * across, side * down)
    return float(values[top, left]), place
