"""What a person's face looks like at rest: the zero from which expression and pose are counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capture.fitting import FREE_NAMES, Fit, Fitter
from capture.landmarks import Landmarks
from models.camera import Camera

Array = NDArray[np.float64]

ASKED_S = 1.0
"""How long a neutral face is watched that a person was asked to show."""
UNASKED_S = (1.0, 2.0, 4.0, 8.0)
"""Unasked, the first of these gives pose, gaze, brows and lids; the mouth is improved: one that talks closes in the end."""
MIN_FRAMES = 3
"""A slow camera is watched until it gave as many frames."""
MIN_INTERVAL_S = 0.06
"""Frames closer in time are not kept."""
KEPT_FRAMES = 6
"""Frames that a measurement is made of."""
CLOSED_SHARE = 0.3
"""Unasked, this share of the frames, those with the mouth most closed, shows the mouth at rest."""
BLINK = 0.35
"""Frames in which a lid is further down than usual by this weight do not show rest."""
CLOSED_GAP_M = 0.002
"""Gap that the detector sees between closed lips."""
UPPER_LIP, LOWER_LIP = 13, 14

_BLINKS = [FREE_NAMES.index("eyeBlinkLeft"), FREE_NAMES.index("eyeBlinkRight")]
_JAW_OPEN = FREE_NAMES.index("jawOpen")


@dataclass(frozen=True, slots=True)
class Rest:
    """A face at rest."""

    offsets: Array
    """`[478, 3]` where this person's landmarks lie off the model's, head frame, metres."""
    weights: Array
    """`[43]` expression that remains: zero, but for a jaw that hung open all the time it was watched."""
    fit: Fit
    """Usual pose and gaze."""


@dataclass(frozen=True, slots=True)
class _Frame:
    landmarks: Landmarks
    camera: Camera
    fit: Fit
    gap_m: float


class Calibration:
    """Watch a face for a while, then measure it at rest."""

    def __init__(self, *, is_asked: bool) -> None:
        """`is_asked`: the person was told to show a neutral face, so that whatever it shows is rest."""
        self.is_asked = is_asked
        self._dues = [ASKED_S] if is_asked else list(UNASKED_S)
        self._frames: list[_Frame] = []
        self._first: list[_Frame] = []
        self._closed: list[_Frame] = []
        self._start_s: float | None = None
        self._last_s = -np.inf

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing more to watch."""
        return not self._dues

    @property
    def is_measurable(self) -> bool:
        """Whether enough was seen for `measure`."""
        return bool(self._first)

    def add(self, landmarks: Landmarks, camera: Camera, fit: Fit, time_s: float) -> bool:
        """Watch one frame; true when it is time for a measurement, or for a better one."""
        if self.is_complete or time_s - self._last_s < MIN_INTERVAL_S:
            return False
        self._start_s = time_s if self._start_s is None else self._start_s
        self._last_s = time_s
        across = landmarks.points_px[UPPER_LIP] - landmarks.points_px[LOWER_LIP]
        gap_m = float(np.linalg.norm(across)) * float(-fit.translation[2]) / camera.focal_px
        self._frames.append(_Frame(landmarks, camera, fit, gap_m))
        if time_s - self._start_s < self._dues[0] or len(self._frames) < MIN_FRAMES:
            return False
        self._dues = [due for due in self._dues if due > time_s - self._start_s]
        usable = _without_blinks(self._frames)
        self._first = self._first or _spread(usable)
        self._closed = _spread(_with_mouth_closed(usable))
        if self.is_complete:
            self._frames.clear()
        return True

    def usual(self) -> Fit:
        """Give the median of what was seen so far, for the time before the first measurement. Needs one frame."""
        frames = self._frames or self._first
        return _median_fit([frame.fit for frame in frames])

    def measure(self, bench: Fitter, identity: Array) -> Rest:
        """Measure the face at rest for an identity `[80]`. `bench` is a fitter to work with; its state is overwritten."""
        bench.set_identity(identity, np.zeros_like(bench.offsets))
        offsets, weights = self._offsets(bench, self._first)
        if not self.is_asked:
            of_mouth, weights = self._offsets(bench, self._closed)
            offsets = np.where(_moves_with_mouth(bench)[:, None], of_mouth, offsets)
        bench.set_identity(identity, offsets)
        bench.reset()
        # Pose and gaze of the first second, as the offsets make them: a later rest would shift everything shown since.
        fits = [bench.fit(f.landmarks.points_px, f.camera, f.landmarks.depth_px) for f in self._first]
        return Rest(offsets, weights, _median_fit(fits))

    def _offsets(self, bench: Fitter, frames: list[_Frame]) -> tuple[Array, Array]:
        """Measure offsets `[478, 3]` on frames that show rest, and the weights `[43]` that they show beside it."""
        weights = np.zeros(len(FREE_NAMES))
        if not self.is_asked:
            gap_m = max(float(np.median([frame.gap_m for frame in frames])) - CLOSED_GAP_M, 0.0)
            jaw = bench.landmarks.expression_basis[_JAW_OPEN]
            weights[_JAW_OPEN] = min(gap_m / float(np.linalg.norm(jaw[UPPER_LIP] - jaw[LOWER_LIP])), 1.0)
        bench.reset()
        residuals = []
        for frame in frames:
            points = frame.landmarks.points_px
            fit = bench.fit(points, frame.camera, frame.landmarks.depth_px, frozen_expression=weights)
            residuals.append(bench.residual(points, frame.camera, fit))
        return np.median(residuals, axis=0), weights


def _without_blinks(frames: list[_Frame]) -> list[_Frame]:
    blinks = np.array([frame.fit.weights[_BLINKS].max() for frame in frames])
    return [frame for frame, blink in zip(frames, blinks, strict=True) if blink <= np.median(blinks) + BLINK]


def _with_mouth_closed(frames: list[_Frame]) -> list[_Frame]:
    limit = np.quantile([frame.gap_m for frame in frames], CLOSED_SHARE)
    return [frame for frame in frames if frame.gap_m <= limit]


def _spread(frames: list[_Frame]) -> list[_Frame]:
    chosen = np.unique(np.linspace(0, len(frames) - 1, KEPT_FRAMES).round().astype(int))
    return [frames[index] for index in chosen]


def _moves_with_mouth(bench: Fitter) -> NDArray[np.bool_]:
    """Tell the landmarks `[478]` that jaw and lips move more than brows and lids do."""
    size = np.linalg.norm(bench.landmarks.expression_basis, axis=-1)
    of_mouth = np.array([name.startswith(("jaw", "mouth")) for name in FREE_NAMES])
    of_eyes = np.array([name.startswith(("brow", "eye")) for name in FREE_NAMES])
    return np.asarray(size[of_mouth].max(0) > size[of_eyes].max(0))


def _median_fit(fits: list[Fit]) -> Fit:
    """Take the median of each parameter; rotation by its angles."""
    middle = np.median([fit.angles for fit in fits], axis=0)
    nearest = min(fits, key=lambda fit: float(np.abs(fit.angles - middle).sum()))
    return Fit(
        rotation=nearest.rotation,
        translation=np.median([fit.translation for fit in fits], axis=0),
        gaze=np.median([fit.gaze for fit in fits], axis=0),
        weights=np.zeros(len(FREE_NAMES)),
        error_m=0.0,
    )
