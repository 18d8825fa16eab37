"""One-Euro smoothing (Casiez, Roussel and Vogel, CHI 2012) of face parameters: still when still, quick when quick.

And, if asked, prediction: where a moving head will be once the picture is seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capture.rotation import rotation_from_vector, rotation_vector
from models.camera import rotation_angles, rotation_matrix
from models.options import check_options, option
from models.params import EXPRESSION_NAMES, FaceParams

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class SmoothingSettings:
    """How much movement is smoothed.

    The defaults leave 40 % of the jitter of a head held still, and trail a quick turn by 4 ms, a jaw by 2 ms (measured
    on webcam clips at 30 fps).
    """

    min_cutoff_hz: float = option(
        1.5, "Cutoff frequency of a face at rest: lower is calmer, higher follows small movements.",
        minimum=0.1, maximum=30.0, unit="Hz",
    )  # fmt: skip
    beta: float = option(
        2.0, "How much movement raises the cutoff: higher means less lag in quick movements, and more jitter in them.",
        minimum=0.0, maximum=50.0,
    )  # fmt: skip
    prediction_ms: float = option(
        0.0, "How far ahead a moving head is shown, to make up for the way to the screen: more trembles, overshoots.",
        minimum=0.0, maximum=150.0, unit="ms",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_options(self)


SPEED_CUTOFF_HZ = 4.0
"""Cutoff of the speed estimate."""
PREDICTION_CUTOFF_HZ = 2.0
"""Cutoff of the speed that prediction goes by: calmer than what smoothing needs to know, for its errors are shown."""
REST_SPEED = 0.8
"""Speed, in units a second, below which prediction takes a head for one at rest: its speed is mostly noise."""
ROTATION_UNIT_RAD = 0.35
TRANSLATION_UNIT_M = 0.06
GAZE_UNIT_RAD = 0.25
"""A movement of one unit counts as much as an expression weight going from 0 to 1."""
QUICK_FACTOR = 3.0
"""Blinks last a tenth of a second: their cutoffs are this many times higher."""
MAX_GAP_S = 1.0
"""After a longer gap the filter starts anew."""

_QUICK = np.array([QUICK_FACTOR if name.startswith("eyeBlink") else 1.0 for name in EXPRESSION_NAMES])


def _share(cutoff_hz: Array | float, elapsed_s: float) -> Array:
    """Give the exponential filter's weight of the new value."""
    return np.asarray(1.0 - np.exp(-2.0 * np.pi * np.asarray(cutoff_hz) * elapsed_s))


class OneEuro:
    """Filter a vector; every component has its own cutoff."""

    def __init__(self, unit: float | Array = 1.0, quick: float | Array = 1.0) -> None:
        """Take the size of a notable movement, and a factor on the cutoff; scalars or one for each component."""
        self._unit = unit
        self._quick = quick
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._value: Array | None = None
        self._raw = np.zeros(0)
        self._speed: Array | float = 0.0

    def __call__(self, value: NDArray[np.float32] | Array, elapsed_s: float, settings: SmoothingSettings) -> Array:
        """Filter `value`, `elapsed_s` after the last one."""
        value = np.asarray(value, np.float64)
        if self._value is None:
            self._value, self._raw, self._speed = value.copy(), value.copy(), np.zeros_like(value)
            return self._value
        if elapsed_s <= 0.0:
            return self._value
        speed = (value - self._raw) / (elapsed_s * self._unit)
        self._speed = self._speed + _share(SPEED_CUTOFF_HZ, elapsed_s) * (speed - self._speed)
        cutoff = self._quick * (settings.min_cutoff_hz + settings.beta * np.abs(self._speed))
        self._value = self._value + _share(cutoff, elapsed_s) * (value - self._value)
        self._raw = value.copy()
        return self._value


class OneEuroRotation:
    """Filter a rotation on the sphere of rotations: one speed for all axes, no seams between angles."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._value: Array | None = None
        self._raw = np.eye(3)
        self._speed = np.zeros(3)

    def __call__(self, matrix: NDArray[np.float32] | Array, elapsed_s: float, settings: SmoothingSettings) -> Array:
        """Filter a rotation matrix `[3, 3]`, `elapsed_s` after the last one."""
        matrix = np.asarray(matrix, np.float64)
        if self._value is None:
            self._value, self._raw = matrix, matrix
            return matrix
        if elapsed_s <= 0.0:
            return self._value
        speed = rotation_vector(matrix @ self._raw.T) / (elapsed_s * ROTATION_UNIT_RAD)
        self._speed = self._speed + _share(SPEED_CUTOFF_HZ, elapsed_s) * (speed - self._speed)
        cutoff = settings.min_cutoff_hz + settings.beta * float(np.linalg.norm(self._speed))
        step = float(_share(cutoff, elapsed_s)) * rotation_vector(matrix @ self._value.T)
        self._value, self._raw = rotation_from_vector(step) @ self._value, matrix
        return self._value


class Drift:
    """The speed at which a head moves, to go on with for a moment.

    Pose alone: a head has mass, while eyes jump and stop, and mouths too. On five webcam clips, 25 ms of prediction
    brought the pose shown nearer to the pose 50 ms later by 2 to 30 %; gaze came no nearer on any.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._last: tuple[Array, Array] | None = None
        self._turning = np.zeros(3)
        self._moving = np.zeros(3)

    def see(self, matrix: NDArray[np.float32], translation: NDArray[np.float32], elapsed_s: float) -> None:
        """Hear a rotation matrix `[3, 3]` and a translation `[3]` as tracked, `elapsed_s` after the last ones."""
        now = np.asarray(matrix, np.float64), np.asarray(translation, np.float64)
        if self._last is not None and elapsed_s > 0.0:
            share = _share(PREDICTION_CUTOFF_HZ, elapsed_s)
            turning = rotation_vector(now[0] @ self._last[0].T) / elapsed_s
            self._turning = self._turning + share * (turning - self._turning)
            self._moving = self._moving + share * ((now[1] - self._last[1]) / elapsed_s - self._moving)
        if self._last is None or elapsed_s > 0.0:
            self._last = now

    def ahead(self, matrix: Array, translation: Array, time_s: float) -> tuple[Array, Array]:
        """Give a rotation and a translation as they will be after `time_s` at this speed."""
        turning = _beyond_rest(self._turning, ROTATION_UNIT_RAD)
        return rotation_from_vector(time_s * turning) @ matrix, translation + time_s * _beyond_rest(
            self._moving, TRANSLATION_UNIT_M
        )


def _beyond_rest(speed: Array, unit: float) -> Array:
    """Take what is noise out of a speed `[3]`: far below `REST_SPEED` nothing is left, far above it all."""
    square = float((speed / unit) @ (speed / unit))
    return np.asarray(speed * (square / (square + REST_SPEED**2)))


class FaceSmoother:
    """Smooth rotation, translation, expression and gaze; identity, reflectance and light pass."""

    def __init__(self, settings: SmoothingSettings) -> None:
        self.settings = settings
        self._rotation = OneEuroRotation()
        self._translation = OneEuro(TRANSLATION_UNIT_M)
        self._expression = OneEuro(1.0, _QUICK)
        self._gaze = OneEuro(GAZE_UNIT_RAD)
        self._drift = Drift()
        self._last_s: float | None = None

    def reset(self) -> None:
        """Forget the past: the next frame passes as it is."""
        for part in (self._rotation, self._translation, self._expression, self._gaze, self._drift):
            part.reset()
        self._last_s = None

    def __call__(self, params: FaceParams, time_s: float) -> FaceParams:
        """Smooth one frame seen at `time_s`; steps of any length, a long gap starts anew."""
        if self._last_s is not None and not 0.0 <= time_s - self._last_s <= MAX_GAP_S:
            self.reset()
        elapsed_s = 0.0 if self._last_s is None else time_s - self._last_s
        self._last_s = time_s
        seen = rotation_matrix(params.rotation)
        self._drift.see(seen, params.translation, elapsed_s)
        matrix = self._rotation(seen, elapsed_s, self.settings)
        translation = self._translation(params.translation, elapsed_s, self.settings)
        if self.settings.prediction_ms > 0.0:
            matrix, translation = self._drift.ahead(matrix, translation, self.settings.prediction_ms / 1000.0)
        return params.replace(
            rotation=rotation_angles(matrix.astype(np.float32)),
            translation=translation.astype(np.float32),
            expression=self._expression(params.expression, elapsed_s, self.settings).astype(np.float32),
            gaze=self._gaze(params.gaze, elapsed_s, self.settings).astype(np.float32),
        )
