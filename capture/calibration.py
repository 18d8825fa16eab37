"""What a person's face looks like at rest: the zero from which expression and pose are counted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from capture.fitting import FREE_NAMES, Fit, Fitter
from models.camera import Camera, rotation_angles
from models.params import FaceParams

Array = NDArray[np.float64]

DURATION_S = 1.0
"""How long a neutral face is watched."""
MIN_FRAMES = 3
"""A slow camera is watched until it gave as many frames."""
KEPT_FRAMES = 8
"""Frames that offsets are measured on."""
REST_QUANTILE = 0.25
"""Weights only ever rise from rest, so that unasked, in someone who may be talking, rest is rather low than median."""

_AT_REST_UNASKED = np.array([name.startswith(("brow", "eye")) for name in FREE_NAMES])
"""Brows and lids of someone who just sat down are taken to be at rest; a mouth may be talking."""


class Calibration:
    """Watch a face for a second, then give its neutral parameters and the offsets of its landmarks."""

    def __init__(self, *, is_asked: bool) -> None:
        """`is_asked`: the person was told to show a neutral face, so that whatever it shows is rest."""
        self.is_asked = is_asked
        self._frames: list[tuple[NDArray[np.float32], Camera]] = []
        self._fits: list[Fit] = []
        self._start_s: float | None = None
        self.is_complete = False

    def add(self, points_px: NDArray[np.float32], camera: Camera, fit: Fit, time_s: float) -> None:
        """Watch one frame. Sets `is_complete` once enough were seen."""
        self._start_s = time_s if self._start_s is None else self._start_s
        self._frames.append((points_px, camera))
        self._fits.append(fit)
        if time_s - self._start_s >= DURATION_S and len(self._fits) >= MIN_FRAMES:
            self.is_complete = True
            chosen = np.unique(np.linspace(0, len(self._fits) - 1, KEPT_FRAMES).round().astype(int))
            self._rest = self.rest_weights()
            self._kept = [self._frames[index] for index in chosen]
            self._frames.clear()

    def rest_weights(self) -> Array:
        """Give the expression weights `[43]` that this person shows at rest, once their offsets are taken out."""
        seen = np.quantile([fit.weights for fit in self._fits], REST_QUANTILE, axis=0)
        return np.zeros(len(seen)) if self.is_asked else np.where(_AT_REST_UNASKED, 0.0, seen)

    def offsets(self, model: Fitter, identity: Array) -> Array:
        """Measure where the landmarks at rest lie off the model's, `[478, 3]` metres, for an identity `[80]`.

        `model` is a fitter to work with; its state is overwritten.
        """
        model.set_identity(identity, np.zeros_like(model.offsets))
        model.reset()
        residuals = []
        for points_px, camera in self._kept:
            fit = model.fit(points_px, camera, frozen_expression=self._rest)
            residuals.append(model.residual(points_px, camera, fit))
        return np.asarray(np.median(residuals, axis=0))

    def neutral(self, params: FaceParams) -> FaceParams:
        """Give the neutral frame: medians of pose and gaze over what was seen so far, expression at rest.

        `params` provides identity, reflectance and light. Needs at least one frame.
        """
        middle = Fit(
            np.eye(3),
            np.median([fit.translation for fit in self._fits], axis=0),
            np.median([fit.gaze for fit in self._fits], axis=0),
            self.rest_weights(),
            0.0,
        )
        angles = np.median([rotation_angles(fit.rotation.astype(np.float32)) for fit in self._fits], axis=0)
        return params.replace(
            rotation=angles.astype(np.float32),
            translation=middle.translation.astype(np.float32),
            gaze=middle.gaze.astype(np.float32),
            expression=middle.expression,
        )
