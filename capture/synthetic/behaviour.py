"""What a face does in one picture: expression, gaze, lids and pose, drawn as they occur before a webcam."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.build.milo.performance import COMPANIONS, MOODS, OPPOSITES, VISEMES, Recipe, shape_weights
from models.camera import rotation_matrix
from models.params import BLINKS, EXPRESSION_INDEX, EXPRESSION_NAMES, EXPRESSION_SIZE

Array = NDArray[np.float32]

_FREE = [name for name in EXPRESSION_NAMES if not name.startswith("eyeLook")]
_LEFT_RIGHT = [
    (EXPRESSION_INDEX[name], EXPRESSION_INDEX[name.removesuffix("Left") + "Right"])
    for name in _FREE
    if name.endswith("Left") and name not in ("jawLeft", "mouthLeft")
]
_OPPOSITES = [
    ([EXPRESSION_INDEX[n] for n in _FREE if n.startswith(a)], [EXPRESSION_INDEX[n] for n in _FREE if n.startswith(b)])
    for a, b in OPPOSITES
]
_COMPANIONS = {EXPRESSION_INDEX[name]: opening for name, opening in COMPANIONS.items()}
_JAW_OPEN = EXPRESSION_INDEX["jawOpen"]
_VISEMES = [shape_weights(recipe) for recipe in VISEMES]
_MOODS = [shape_weights(recipe) for recipe in MOODS]

GAZE_LIMIT_RAD = (np.deg2rad(38.0), np.deg2rad(28.0))


def expression(rng: np.random.Generator) -> Array:
    """Draw the 52 weights: speech, moods, both, or any few shapes; lids separately."""
    weights = np.zeros(EXPRESSION_SIZE)
    kind = rng.random()
    if kind < 0.45:  # speech: between two visemes
        share, loudness = rng.random(), rng.uniform(0.5, 1.35)
        for part, amount in ((rng.integers(len(_VISEMES)), share), (rng.integers(len(_VISEMES)), 1.0 - share)):
            for index, weight in _VISEMES[part].items():
                weights[index] += amount * loudness * weight
    if kind > 0.25 and kind < 0.75:
        strength = rng.uniform(0.2, 1.1)
        for index, weight in _MOODS[rng.integers(len(_MOODS))].items():
            weights[index] = max(weights[index], strength * weight)
    if kind >= 0.75:  # anything goes, also what nobody does on purpose
        count = rng.integers(2, 10)
        chosen = rng.choice(len(_FREE), count, replace=False)
        for index in (EXPRESSION_INDEX[_FREE[k]] for k in chosen):
            weights[index] = rng.beta(1.2, 1.2)
        mirrored = rng.random(len(_LEFT_RIGHT)) < 0.7
        for (left, right), is_mirrored in zip(_LEFT_RIGHT, mirrored, strict=True):
            if is_mirrored:
                weights[left] = weights[right] = max(weights[left], weights[right])
    weights[_JAW_OPEN] = max(weights[_JAW_OPEN], rng.uniform(0.0, 1.0) if rng.random() < 0.12 else 0.0)
    _settle(weights, rng)
    weights *= 1.0 + 0.12 * rng.normal(size=EXPRESSION_SIZE)
    weights += np.where(rng.random(EXPRESSION_SIZE) < 0.12, np.abs(rng.normal(0, 0.06, EXPRESSION_SIZE)), 0.0)
    weights[BLINKS] = _lids(rng)
    weights[[EXPRESSION_INDEX[n] for n in EXPRESSION_NAMES if n.startswith("eyeLook")]] = 0.0
    for side, blink in zip(("Left", "Right"), BLINKS, strict=True):
        weights[EXPRESSION_INDEX["eyeWide" + side]] *= max(1.0 - 2.0 * weights[blink], 0.0)
    return np.clip(weights, 0.0, 1.0).astype(np.float32)


def _settle(weights: NDArray[np.float64], rng: np.random.Generator) -> None:
    """Open the jaw for what needs it, and keep what no face makes together apart."""
    for index, opening in _COMPANIONS.items():
        if weights[index] > 0.0:
            weights[_JAW_OPEN] = max(weights[_JAW_OPEN], opening * weights[index])
    for first, second in _OPPOSITES:
        if weights[first].max() > 0.0 and weights[second].max() > 0.0:
            weights[first if rng.random() < 0.5 else second] *= 0.15


def _lids(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw both blinks: mostly open, sometimes half shut or shut, rarely one eye only."""
    kind = rng.random()
    if kind < 0.55:
        lids = np.full(2, abs(rng.normal(0.0, 0.06)))
    elif kind < 0.75:
        lids = np.full(2, rng.uniform(0.1, 0.7))
    elif kind < 0.93:
        lids = np.full(2, rng.uniform(0.7, 1.0))
    else:
        lids = rng.uniform(0.0, 1.0, 2)
    return np.asarray(np.clip(lids + rng.normal(0.0, 0.03, 2), 0.0, 1.0))


def gaze(rng: np.random.Generator, rotation: Array) -> Array:
    """Draw (left, right) x (yaw, pitch): near the camera or anywhere, both eyes on one point."""
    kind = rng.random()
    if kind < 0.45:  # at the screen: the eyes undo most of the head's turn
        aim = -rng.uniform(0.4, 1.0) * np.asarray(rotation[:2]) + rng.normal(0.0, (0.12, 0.08))
    elif kind < 0.85:
        aim = rng.normal(0.0, (0.28, 0.18))
    else:
        aim = rng.uniform((-0.66, -0.48), (0.66, 0.42))
    yaw, pitch = np.clip(aim, (-GAZE_LIMIT_RAD[0], -GAZE_LIMIT_RAD[1]), GAZE_LIMIT_RAD)
    distance_m = 1.0 / rng.uniform(0.2, 3.0)
    vergence = 0.031 / distance_m * np.cos(yaw)
    squint = rng.normal(0.0, 0.012, (2, 2))
    eyes = np.array([[yaw - vergence, pitch], [yaw + vergence, pitch]]) + squint
    return np.clip(eyes, (-0.7, -0.5), (0.7, 0.5)).astype(np.float32)


def rotation(rng: np.random.Generator, max_yaw_rad: float, max_pitch_rad: float, roll_rad: float) -> Array:
    """Draw a head's rotation matrix `[3, 3]`, upright in the picture but for `roll_rad`: crops turn with the head."""
    if rng.random() < 0.65:
        yaw, pitch = rng.normal(0.0, (0.28, 0.16))
    else:
        yaw, pitch = rng.uniform((-max_yaw_rad, -max_pitch_rad), (max_yaw_rad, max_pitch_rad))
    yaw, pitch = np.clip((yaw, pitch), (-max_yaw_rad, -max_pitch_rad), (max_yaw_rad, max_pitch_rad))
    # A head tilted about its own axis, too, for a person's own tilt is not the picture's.
    matrix = rotation_matrix(np.array([yaw, pitch, rng.normal(0.0, 0.06)])).astype(np.float64)
    upright = np.arctan2(matrix[0, 1], matrix[1, 1])
    angle = upright - roll_rad
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return (turn @ matrix).astype(np.float32)


__all__ = ["GAZE_LIMIT_RAD", "Recipe", "expression", "gaze", "rotation"]
