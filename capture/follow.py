"""Does the output follow the source? Measured on landmarks detected in both, independent of the face model.

Every measure is taken from MediaPipe's own landmarks and its own depth, so that an error of our binding or fitting
cannot hide: it must show in the pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capture.landmarks import Landmarks

Array = NDArray[np.float64]

MEASURES = (
    "yaw", "pitch", "roll", "mouth_opening", "eye_opening", "gaze_horizontal", "gaze_vertical", "mouth_width",
    "brow_height", "mouth_corners",
)  # fmt: skip

RIGID = np.array([
    10, 67, 109, 338, 297, 151, 9, 8, 168, 6, 197, 195, 5, 33, 133, 362, 263, 127, 356, 234, 454, 93, 323, 98, 327, 2,
])  # fmt: skip
"""Landmarks that neither speech nor brows move much: forehead, nose, eye corners, sides of the head."""
MOUTH_TOP, MOUTH_BOTTOM, MOUTH_CORNERS = 13, 14, (61, 291)
EYE_CORNERS = {"right": (33, 133), "left": (362, 263)}
"""Image-left corner first."""
LIDS = {"right": ((159, 145), (158, 153), (160, 144)), "left": ((386, 374), (385, 380), (387, 373))}
IRIS_CENTERS = {"right": 468, "left": 473}
NOSE_BASE = 2
BROWS = {"right": (70, 63, 105, 66, 107), "left": (300, 293, 334, 296, 336)}

MIN_OPENNESS = 0.15
"""Lid gap over eye width below which the detector invents the iris."""


@dataclass(frozen=True, slots=True)
class Following:
    """How well one measure follows."""

    correlation: float
    """Pearson's r at the best lag; NaN where a series does not vary."""
    lag_s: float
    """How far the output trails the source there."""


def measure(points_px: NDArray[np.float32], depth_px: NDArray[np.float32]) -> dict[str, Array]:
    """Measure a series of landmarks `[T, 478, 2]` with depths `[T, 478]`; frames without a face are NaN.

    Gives each of `MEASURES` as `[T]`: angles in radians; openings, widths, the height of the brows above the eyes'
    corners and that of the mouth's corners above the nose's base in eye distances; gaze as the place of the irises
    between the eye corners, -1 to 1, positive to the image's right, and above the line between them, in eye widths; NaN
    where the eyes are shut.
    """
    points = np.concatenate([points_px, depth_px[..., None]], -1).astype(np.float64)
    points[..., 1:] *= -1.0  # y up, z towards the viewer
    seen = np.isfinite(points).all((1, 2))
    series = {name: np.full(len(points), np.nan) for name in MEASURES}
    if not seen.any():
        return series
    upright, rotation = _derotate(points[seen])
    series["yaw"][seen] = np.arctan2(rotation[:, 0, 2], rotation[:, 2, 2])
    series["pitch"][seen] = np.arcsin(np.clip(rotation[:, 1, 2], -1.0, 1.0))
    series["roll"][seen] = np.arctan2(-rotation[:, 1, 0], rotation[:, 1, 1])
    eye_distance = _distance(upright, EYE_CORNERS["right"][0], EYE_CORNERS["left"][1])
    series["mouth_opening"][seen] = _distance(upright, MOUTH_TOP, MOUTH_BOTTOM) / eye_distance
    series["mouth_width"][seen] = _distance(upright, *MOUTH_CORNERS) / eye_distance
    lifts = [upright[:, BROWS[side], 1].mean(1) - upright[:, EYE_CORNERS[side], 1].mean(1) for side in BROWS]
    series["brow_height"][seen] = np.mean(lifts, 0) / eye_distance
    corners = upright[:, MOUTH_CORNERS, 1].mean(1)
    series["mouth_corners"][seen] = (corners - upright[:, NOSE_BASE, 1]) / eye_distance
    openings = [_distance(upright, *pair) for side in LIDS for pair in LIDS[side]]
    series["eye_opening"][seen] = np.mean(openings, 0) / eye_distance
    places, heights = [], []
    for side, (start, stop) in EYE_CORNERS.items():
        along = (upright[:, stop] - upright[:, start])[:, :2]
        iris = (upright[:, IRIS_CENTERS[side]] - upright[:, start])[:, :2]
        width = (along**2).sum(-1)
        places.append(2.0 * (iris * along).sum(-1) / width - 1.0)
        heights.append((along[:, 0] * iris[:, 1] - along[:, 1] * iris[:, 0]) / width)
    widths = [_distance(upright, *corners) for corners in EYE_CORNERS.values()]
    is_open = np.mean(openings, 0) > MIN_OPENNESS * np.mean(widths, 0)
    series["gaze_horizontal"][seen] = np.where(is_open, np.mean(places, 0), np.nan)
    series["gaze_vertical"][seen] = np.where(is_open, np.mean(heights, 0), np.nan)
    return series


def measure_found(found: Sequence[Landmarks | None]) -> dict[str, Array]:
    """Do `measure` of what a detector found in each frame, None where there was no face."""
    nothing = np.full((478, 3), np.nan, np.float32)
    points = np.stack([nothing if one is None else np.column_stack([one.points_px, one.depth_px]) for one in found])
    return measure(points[..., :2], points[..., 2])


def follow_correlation(
    source: Mapping[str, Array], output: Mapping[str, Array], fps: float, max_lag_s: float = 0.3
) -> dict[str, Following]:
    """Correlate each measure of two series at the same `fps`, the output trailing by the best lag of up to `max_lag_s`.

    Frames where either has no face (NaN) are left out. Raises `ValueError` when the series differ in length.
    """
    result = {}
    for name in source:
        if len(source[name]) != len(output[name]):
            raise ValueError(f"{name}: expected series of one length, got {len(source[name])} and {len(output[name])}")
        best = Following(np.nan, 0.0)
        for lag in range(min(round(max_lag_s * fps), len(source[name]) - 2) + 1):
            r = _pearson(source[name][: len(source[name]) - lag], output[name][lag:])
            if np.isnan(best.correlation) or r > best.correlation:
                best = Following(r, lag / fps)
        result[name] = best
    return result


def _derotate(points: Array) -> tuple[Array, Array]:
    """Fit each face rigidly, with scale, to the middle one: derotated points `[T, 478, 3]`, rotations `[T, 3, 3]`."""
    rigid = points[:, RIGID]
    centered = rigid - rigid.mean(1, keepdims=True)
    centered /= np.sqrt((centered**2).sum((1, 2), keepdims=True))
    reference = np.median(centered, 0)
    # Rotated so that the eyes are level and the forehead upright: angles are then the head's own.
    reference = reference @ _upright(points, reference)
    u, _, vt = np.linalg.svd(np.einsum("tki,kj->tij", centered, reference))
    flip = np.ones((len(points), 3))
    flip[:, 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * flip[:, None]) @ vt  # centered = reference @ rotation.T
    middle = points[:, RIGID].mean(1, keepdims=True)
    return (points - middle) @ rotation, rotation


def _upright(points: Array, reference: Array) -> Array:
    """Give the rotation that brings the reference's eye line to x and its plane upright."""
    place = {landmark: index for index, landmark in enumerate(RIGID)}
    right = reference[place[263]] - reference[place[33]]
    up = reference[place[10]] - reference[place[2]]
    x = right / np.linalg.norm(right)
    y = up - (up @ x) * x
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], 1)


def _distance(points: Array, first: int, second: int) -> Array:
    return np.asarray(np.linalg.norm(points[:, first] - points[:, second], axis=-1))


def _pearson(first: Array, second: Array) -> float:
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 3:
        return float("nan")
    a, b = first[both] - first[both].mean(), second[both] - second[both].mean()
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / scale) if scale > 1e-12 else float("nan")
