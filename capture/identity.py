"""Who is in front of the camera: identity gathered slowly, over frames in which the head turns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from capture.fitting import Fit, Fitter
from models.camera import Camera
from models.params import IDENTITY_SIZE

Array = NDArray[np.float64]

BIN_RAD = np.deg2rad([12.0, 10.0])
"""Size of a bin of yaw and pitch; each bin is heard only so often, so that sitting still does not outvote a turn."""
FRAMES_PER_BIN = 6
MIN_INTERVAL_S = 0.2
"""Frames closer in time than this tell the same."""
FRAME_SHARE = 0.15
"""Share of a frame's information that is new to the frames before it: a detector errs alike on one face."""
SIZE_SD = 0.02
"""Prior of a head's size relative to the average. One camera cannot tell size from distance, so nothing else holds it."""
MAX_ERROR_M = 0.006
"""Frames that fit worse than this say nothing about the face."""


class IdentityEstimator:
    """Gather normal equations of identity, each frame's own pose, gaze and expression eliminated (Schur complement)."""

    def __init__(self, fitter: Fitter) -> None:
        self._fitter = fitter
        mean = fitter.landmarks.mean - fitter.landmarks.mean.mean(0)
        growth = np.tensordot(fitter.landmarks.identity_basis, mean, 2) / (mean**2).sum()
        self._prior = np.eye(IDENTITY_SIZE) + np.outer(growth, growth) / SIZE_SD**2
        self.reset()

    def reset(self) -> None:
        """Forget the person: back to the average face."""
        self._information = np.zeros((IDENTITY_SIZE, IDENTITY_SIZE))
        self._right = np.zeros(IDENTITY_SIZE)
        self._bins: dict[tuple[int, int], int] = {}
        self._last_s = -np.inf
        self.target = np.zeros(IDENTITY_SIZE)
        """`[80]` newest estimate, towards which the tracker eases."""
        self.num_frames = 0
        """Frames heard so far."""

    def update(self, points_px: NDArray[np.float32], camera: Camera, fit: Fit, time_s: float) -> bool:
        """Hear one fitted frame if it is news, and tell so. Costs a few milliseconds when it is, else next to nothing."""
        yaw, pitch, _ = fit.angles
        place = (round(float(yaw / BIN_RAD[0])), round(float(pitch / BIN_RAD[1])))
        heard = self._bins.get(place, 0)
        if time_s - self._last_s < MIN_INTERVAL_S or heard >= FRAMES_PER_BIN or fit.error_m > MAX_ERROR_M:
            return False
        if abs(place[0]) > 3 or abs(place[1]) > 3:
            return False
        self._last_s = time_s
        self._bins[place] = heard + 1
        self.num_frames += 1
        information, gradient = self._fitter.identity_equations(points_px, camera, fit)
        self._information += FRAME_SHARE * information
        self._right += FRAME_SHARE * (information @ self._fitter.identity - gradient)
        self.target = np.linalg.solve(self._information + self._prior, self._right)
        return True
