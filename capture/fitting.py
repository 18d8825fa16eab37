"""Fit pose, expression and gaze to landmarks: a few Gauss-Newton steps a frame, compiled by numba."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capture.binding import LandmarkBinding
from capture.landmarks import COUNT
from capture.normal_equations import accumulate, solve_bounded
from models.camera import Camera, rotation_angles, rotation_matrix
from models.face import LOOK_DOWN_RAD, LOOK_UP_RAD, LOOK_YAW_RAD, FaceModel
from models.params import EXPRESSION_INDEX, EXPRESSION_NAMES, EXPRESSION_SIZE, IDENTITY_SIZE

Array = NDArray[np.float64]

FREE_NAMES = tuple(name for name in EXPRESSION_NAMES if not name.startswith("eyeLook") and name != "tongueOut")
"""Expression weights that landmarks can tell: `eyeLook*` follow from gaze, and no landmark sees the tongue."""
FREE = np.array([EXPRESSION_INDEX[name] for name in FREE_NAMES])

POSE, GAZE, EXPRESSION = slice(0, 6), slice(6, 10), slice(10, 10 + len(FREE))
SIZE = EXPRESSION.stop
"""Unknowns of a frame: rotation (3), translation (3), gaze (yaw, pitch, their differences left minus right), expression."""

EXPRESSION_SD = 0.35
"""Standard deviation of the prior of a weight around zero, unless named below."""
SD_BY_NAME = {
    "jawOpen": 0.7, "eyeBlinkLeft": 0.8, "eyeBlinkRight": 0.8, "jawForward": 0.08, "cheekPuff": 0.08,
    "cheekSquintLeft": 0.12, "cheekSquintRight": 0.12, "mouthClose": 0.15, "noseSneerLeft": 0.2, "noseSneerRight": 0.2,
    "eyeSquintLeft": 0.15, "eyeSquintRight": 0.15,
}  # fmt: skip
GAZE_SD_RAD = np.deg2rad([20.0, 15.0, 2.0, 1.0])
"""Prior of the common yaw and pitch, and of the differences: eyes move together."""

DATA_SHARE = 0.08
"""Landmarks err together, so that 478 of them tell as much as this share of independent ones."""
SENSOR_M = 0.0007
"""Noise of a landmark from one frame to the next, at the head."""
HUBER_M = 0.006
"""Landmarks further off than this, behind a hand for instance, pull no harder."""
ITERATIONS = 3
COLD_ITERATIONS = 12
CLOSED_IRIS_WEIGHT = 1e-3
"""Behind closed lids the detector invents an iris."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What one frame says of a face."""

    rotation: Array
    """`[3, 3]` head to view."""
    translation: Array
    """`[3]` metres in the view frame."""
    gaze: Array
    """`[2, 2]` (left, right) x (yaw, pitch), rad."""
    weights: Array
    """`[43]` expression weights of `FREE_NAMES`."""
    error_m: float
    """Root mean square distance of the landmarks from the fitted ones, at the head."""

    @property
    def angles(self) -> NDArray[np.float32]:
        """`[3]` yaw, pitch, roll in radians."""
        return rotation_angles(self.rotation.astype(np.float32))

    @property
    def expression(self) -> NDArray[np.float32]:
        """`[52]` weights in the order of `EXPRESSION_NAMES`."""
        full = np.zeros(EXPRESSION_SIZE, np.float32)
        full[FREE] = self.weights
        return full


class LandmarkModel:
    """The face model reduced to its 478 landmarks, with the derivatives that fitting needs. Head frame, metres."""

    def __init__(self, model: FaceModel, binding: LandmarkBinding) -> None:
        points = binding.points(model, model.mean).astype(np.float64)
        self.mean = points
        self.identity_basis = binding.points(model, model.identity_basis).astype(np.float64)
        """`[80, 478, 3]`"""
        expression = binding.points(model, model.expression_basis).astype(np.float64)
        self.expression_basis = expression[FREE]
        """`[43, 478, 3]`"""
        self.look_basis = self._look_basis(expression)
        """`[2, 4, 478, 3]` metres per radian of each eye's gaze: yaw > 0, yaw < 0, pitch > 0, pitch < 0."""
        corners = model.mean[binding.corners(model)].astype(np.float64)
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self.normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        variance = binding.spread_m.astype(np.float64) ** 2 + SENSOR_M**2
        self.precision = DATA_SHARE / variance
        """`[478]` 1/m^2"""
        eyes = [model.identity_basis[:, a:b][:, -24:].mean(1) for a, b in model.eye_ranges]
        self.eye_center_mean = model.eye_centers(model.mean).astype(np.float64)
        self.eye_center_basis = np.stack(eyes, 1).astype(np.float64)
        """`[80, 2, 3]`"""
        self.eye_of_landmark = np.full(COUNT, -1, np.int64)
        self.eye_of_landmark[473:478], self.eye_of_landmark[468:473] = 0, 1

    @staticmethod
    def _look_basis(expression: Array) -> Array:
        basis = np.zeros((2, 4, COUNT, 3))
        for eye, (side, outward, inward) in enumerate((("Left", 0, 1), ("Right", 1, 0))):
            basis[eye, outward] = expression[EXPRESSION_INDEX["eyeLookOut" + side]] / LOOK_YAW_RAD
            basis[eye, inward] = -expression[EXPRESSION_INDEX["eyeLookIn" + side]] / LOOK_YAW_RAD
            if eye == 1:  # his right eye looks outward at yaw < 0
                basis[eye, :2] *= -1.0
            basis[eye, 2] = expression[EXPRESSION_INDEX["eyeLookUp" + side]] / LOOK_UP_RAD
            basis[eye, 3] = -expression[EXPRESSION_INDEX["eyeLookDown" + side]] / LOOK_DOWN_RAD
        return basis

    def neutral(self, identity: Array) -> tuple[Array, Array]:
        """Give the landmarks `[478, 3]` and the eyeball centres `[2, 3]` of a face at rest."""
        return (
            self.mean + np.tensordot(identity, self.identity_basis, 1),
            self.eye_center_mean + np.tensordot(identity, self.eye_center_basis, 1),
        )

    def landmarks(self, fit: Fit, neutral: Array, eye_centers: Array) -> Array:
        """Pose the landmarks `[478, 3]` in the view frame: the slow reference of the compiled equations."""
        moved = neutral + np.tensordot(fit.weights, self.expression_basis, 1)
        for eye in range(2):
            yaw, pitch = fit.gaze[eye]
            moved += self.look_basis[eye, 0 if yaw > 0 else 1] * yaw + self.look_basis[eye, 2 if pitch > 0 else 3] * pitch
            iris = self.eye_of_landmark == eye
            turn = rotation_matrix(np.array([yaw, pitch, 0.0])).astype(np.float64)
            moved[iris] = (neutral[iris] - eye_centers[eye]) @ turn.T + eye_centers[eye]
        return np.asarray(moved @ fit.rotation.T + fit.translation)


class Fitter:
    """Fit frame after frame, each from the last one's result."""

    def __init__(self, model: FaceModel, binding: LandmarkBinding) -> None:
        self.landmarks = LandmarkModel(model, binding)
        self.identity = np.zeros(IDENTITY_SIZE)
        """`[80]` alpha, set by `set_identity`."""
        self.offsets = np.zeros((COUNT, 3))
        """`[478, 3]` where this person's landmarks lie off the model's, head frame, metres; set by `set_identity`."""
        self.neutral, self.eye_centers = self.landmarks.neutral(self.identity)
        self.last: Fit | None = None
        deviations = np.array([SD_BY_NAME.get(name, EXPRESSION_SD) for name in FREE_NAMES])
        self._prior_precision = np.concatenate([np.full(6, 1e-6), 1.0 / GAZE_SD_RAD**2, 1.0 / deviations**2])
        big = np.full(10, 1e3)
        self._low = np.concatenate([-big, np.zeros(len(FREE))])
        self._high = np.concatenate([big, np.ones(len(FREE))])
        self._shapes = _sparse(self.landmarks.expression_basis)
        self._hessian = np.zeros((SIZE, SIZE))
        self._gradient = np.zeros(SIZE)

    def set_identity(self, identity: Array, offsets: Array | None = None) -> None:
        """Take another face at rest: coefficients `[80]` and, optionally, offsets `[478, 3]`."""
        self.identity = np.asarray(identity, np.float64)
        if offsets is not None:
            self.offsets = np.asarray(offsets, np.float64)
        neutral, self.eye_centers = self.landmarks.neutral(self.identity)
        self.neutral = neutral + self.offsets

    def reset(self) -> None:
        """Start cold at the next frame."""
        self.last = None

    def fit(self, points_px: NDArray[np.float32], camera: Camera, *, frozen_expression: Array | None = None) -> Fit:
        """Fit `points_px [478, 2]`. `frozen_expression [43]` holds the weights and fits pose and gaze alone."""
        observed = (np.asarray(points_px, np.float64) - camera.center_px) * [1.0, -1.0] / camera.focal_px
        start = self.last if self.last is not None else self._cold(observed)
        iterations = ITERATIONS if self.last is not None else COLD_ITERATIONS
        rotation, translation = start.rotation.copy(), start.translation.copy()
        gaze = np.concatenate([start.gaze.mean(0), start.gaze[0] - start.gaze[1]])
        weights = start.weights.copy() if frozen_expression is None else np.asarray(frozen_expression, np.float64)
        low, high = self._low, self._high
        if frozen_expression is not None:
            low, high = low.copy(), high.copy()
            low[EXPRESSION] = high[EXPRESSION] = weights
        error = 0.0
        for _ in range(iterations):
            error = self._linearize(observed, rotation, translation, gaze, weights)
            current = np.concatenate([np.zeros(6), gaze, weights])
            # The prior draws gaze and expression to zero; pose is free but for a trace that keeps the system regular.
            hessian = self._hessian + np.diag(self._prior_precision)
            gradient = self._gradient + self._prior_precision * current
            solution = solve_bounded(hessian, hessian @ current - gradient, low, high, current)
            rotation = _exp(solution[:3]) @ rotation
            translation = translation + solution[3:6]
            gaze, weights = solution[GAZE].copy(), solution[EXPRESSION].copy()
        both = np.stack([gaze[:2] + gaze[2:] / 2, gaze[:2] - gaze[2:] / 2])
        self.last = Fit(_orthonormal(rotation), translation, both, weights, error)
        return self.last

    def _linearize(self, observed: Array, rotation: Array, translation: Array, gaze: Array, weights: Array) -> float:
        """Fill the normal equations at a state; gives the root mean square error in metres at the head."""
        model = self.landmarks
        openness = 1.0 - weights[_BLINKS]
        return float(
            accumulate(
                observed, model.precision, model.normals, self.neutral, self.eye_centers, model.eye_of_landmark,
                model.look_basis, *self._shapes, rotation, translation, gaze, weights, openness, HUBER_M,
                self._hessian, self._gradient,
            )
        )  # fmt: skip

    def _cold(self, observed: Array) -> Fit:
        """Start from the size and place of the landmarks, looking straight ahead."""
        face = slice(0, 468)
        seen, rest = observed[face], self.neutral[face]
        # Height shrinks less than width when a head turns.
        size = np.linalg.norm(seen[:, 1] - seen[:, 1].mean()) / np.linalg.norm(rest[:, 1] - rest[:, 1].mean())
        depth = 1.0 / max(size, 1e-3)
        center = seen.mean(0) * depth - rest[:, :2].mean(0)
        translation = np.array([center[0], center[1], -depth - rest[:, 2].mean()])
        return Fit(np.eye(3), translation, np.zeros((2, 2)), np.zeros(len(FREE)), 0.0)


_BLINKS = np.array([FREE_NAMES.index("eyeBlinkLeft"), FREE_NAMES.index("eyeBlinkRight")])


def _sparse(basis: Array, threshold_m: float = 5e-5) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """Keep of `[43, 478, 3]`, by landmark, the shapes that move it: (starts `[479]`, shapes `[n]`, offsets `[n, 3]`)."""
    moves = np.linalg.norm(basis, axis=-1).T > threshold_m  # [478, 43]
    landmark, shape = np.nonzero(moves)
    starts = np.searchsorted(landmark, np.arange(COUNT + 1))
    return starts.astype(np.int64), shape.astype(np.int64), np.ascontiguousarray(basis[shape, landmark])


def _exp(vector: Array) -> Array:
    """Turn a rotation vector `[3]` into a matrix (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)


def _orthonormal(matrix: Array) -> Array:
    u, _, vt = np.linalg.svd(matrix)
    return np.asarray(u @ vt)
