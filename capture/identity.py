"""Who is in front of the camera: identity gathered slowly, over frames in which the head turns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from capture.fitting import HUBER_M, Fitter
from capture.landmark_model import Fit, LandmarkModel
from capture.normal_equations import CLOSED_WEIGHT, MIN_FACING
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
"""Prior of a head's size relative to the average: one camera cannot tell size from distance, nothing else holds it."""
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
        """Hear one fitted frame if it is news, and tell so. Costs 3 ms when it is, else next to nothing."""
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
        information, gradient = identity_equations(self._fitter, points_px, camera, fit)
        self._information += FRAME_SHARE * information
        self._right += FRAME_SHARE * (information @ self._fitter.identity - gradient)
        self.target = np.linalg.solve(self._information + self._prior, self._right)
        return True


def identity_equations(fitter: Fitter, points_px: NDArray[np.float32], camera: Camera, fit: Fit) -> tuple[Array, Array]:
    """Give what a fitted frame says of identity: information `[80, 80]` and gradient `[80]` around the present one.

    The frame's own unknowns are eliminated by their Schur complement; those at their bounds count as known.
    """
    current = np.concatenate([np.zeros(6), fit.gaze_unknowns, fit.weights])
    free = np.flatnonzero((current > fitter.low) & (current < fitter.high))
    prior = fitter.prior_precision[free]
    weight, residual, by_frame, by_identity = linearize(fitter, points_px, camera, fit)
    by_frame = by_frame[free]
    weighted = by_frame * weight
    crossed = weighted @ by_identity.T
    own = weighted @ by_frame.T + np.diag(prior)
    solved = np.linalg.solve(own, np.column_stack([crossed, weighted @ residual + prior * current[free]]))
    weighted = by_identity * weight
    return weighted @ by_identity.T - crossed.T @ solved[:, :-1], weighted @ residual - crossed.T @ solved[:, -1]


def linearize(
    fitter: Fitter, points_px: NDArray[np.float32], camera: Camera, fit: Fit
) -> tuple[Array, Array, Array, Array]:
    """Linearize a frame in full: weights `[R]`, residuals `[R]`, derivatives `[53, R]` and `[80, R]`, `R = 2 * 478`.

    The derivatives are by the frame's unknowns and by identity; residuals are metres at the head.
    """
    model = fitter.landmarks
    observed = fitter.rays(points_px, camera)
    points = model.landmarks(fit, fitter.neutral, fitter.eye_centers)
    depth = -points[:, 2:]
    rays = points[:, :2] / depth
    residual = points[:, :2] - observed * depth
    normals = model.normals @ fit.rotation.T
    facing = -(normals * points).sum(1) / np.linalg.norm(points, axis=1)
    error = np.linalg.norm(residual, axis=1)
    weight = model.precision * np.maximum(facing, MIN_FACING) * np.minimum(1.0, HUBER_M / np.maximum(error, 1e-9))
    opened = fitter.openness(fit.weights)
    for eye in range(2):
        weight[model.eye_of_landmark == eye] *= max(opened[eye], CLOSED_WEIGHT)

    def seen(moves: Array) -> Array:  # [n, 478, 3] view frame -> [n, R]
        return np.asarray((moves[..., :2] + rays * moves[..., 2:]).reshape(len(moves), -1))

    turning = np.cross(np.eye(3)[:, None], (points - fit.translation)[None])
    shifting = np.broadcast_to(np.eye(3)[:, None], turning.shape)
    moves = np.concatenate([turning, shifting, _gaze_moves(fitter, fit), _shape_moves(model, fit)])
    return np.repeat(weight, 2), residual.ravel(), seen(moves), seen(model.identity_moves(fit))


def _gaze_moves(fitter: Fitter, fit: Fit, step: float = 1e-4) -> Array:
    """Give how points move with the four gaze unknowns, `[4, 478, 3]`, by differences."""
    model = fitter.landmarks
    changes = np.array([[[1, 0], [1, 0]], [[0, 1], [0, 1]], [[0.5, 0], [-0.5, 0]], [[0, 0.5], [0, -0.5]]])
    here = model.landmarks(fit, fitter.neutral, fitter.eye_centers)
    turned = [replace(fit, gaze=fit.gaze + step * change) for change in changes]
    return np.stack([(model.landmarks(f, fitter.neutral, fitter.eye_centers) - here) / step for f in turned])


def _shape_moves(model: LandmarkModel, fit: Fit) -> Array:
    basis = model.expression_basis.copy()
    basis[:, model.eye_of_landmark >= 0] = 0.0
    return np.asarray(basis @ fit.rotation.T)
