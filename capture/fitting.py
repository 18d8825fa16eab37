"""Fit pose, expression and gaze to landmarks: a few Gauss-Newton steps a frame, compiled by numba."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from capture.binding import LandmarkBinding
from capture.landmarks import COUNT
from capture.normal_equations import CLOSED_WEIGHT, MIN_FACING, accumulate, solve_bounded
from capture.rotation import rotation_from_vector, rotation_vector
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

EXPRESSION_SD = 0.3
"""Standard deviation of the prior of a weight around zero, unless named below."""
SD_BY_NAME = {
    "jawOpen": 0.8, "eyeBlinkLeft": 0.8, "eyeBlinkRight": 0.8, "mouthSmileLeft": 0.7, "mouthSmileRight": 0.7,
    "mouthPucker": 0.8, "mouthFunnel": 0.5, "eyeWideLeft": 0.5, "eyeWideRight": 0.5,
    "browDownLeft": 1.2, "browDownRight": 1.2, "browInnerUp": 1.2, "browOuterUpLeft": 1.2, "browOuterUpRight": 1.2,
    # Landmarks hardly tell these from their neighbours.
    "jawForward": 0.08, "cheekPuff": 0.08, "cheekSquintLeft": 0.12, "cheekSquintRight": 0.12, "mouthClose": 0.15,
    "noseSneerLeft": 0.2, "noseSneerRight": 0.2, "eyeSquintLeft": 0.15, "eyeSquintRight": 0.15,
}  # fmt: skip
GAZE_SD_RAD = np.deg2rad([60.0, 45.0, 2.0, 1.0])
"""Prior of the common yaw and pitch, and of the differences: eyes move together."""

DATA_SHARE = 0.1
"""Landmarks err together, so that 478 of them tell as much as this share of independent ones."""
PAIRS: tuple[tuple[tuple[int, int], ...], ...] = (
    ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402)),  # inner lips
    ((61, 291), (0, 17)),  # mouth corners, outer lips
    ((159, 145), (158, 153), (160, 144), (386, 374), (385, 380), (387, 373)),  # lids
    ((468, 33), (468, 133), (473, 263), (473, 362)),  # irises and eye corners
)
"""Landmarks whose distance is known better than their places: what a detector gets wrong, it gets wrong together."""
PAIR_SPREAD_M = (0.0015, 0.002, 0.001, 0.0015)
"""Error of such a distance, for each group."""
PAIR_SHARE = 0.5
"""As `DATA_SHARE`, for pairs."""
STRAY_SHARE = 0.5
"""Share of a landmark's usual movement with expression that is an error where pose is concerned."""
STRAY_M = 0.003
"""The same, for what no shape describes: skin over muscle."""
SENSOR_M = 0.0007
"""Noise of a landmark from one frame to the next, at the head."""
HUBER_M = 0.006
"""Landmarks further off than this, behind a hand for instance, pull no harder."""
SHUT_BLINK = 0.6
"""Fitted blink at which the eye is shut: see `capture.lids`."""
HELD_PRECISION = 1.0 / np.deg2rad(4.0) ** 2
"""How firmly eyes behind shut lids stay where they looked."""
IRIS_RESPONSE = 0.85
"""A detected iris moves by this share of the real one's way: it is placed nearer to the eyeball's centre."""
DEPTH_SAY = np.array([0.65, 0.6, 0.15])
"""Say of the detector's depth in pitch, yaw and roll, the rest being the landmarks': near the best mix on known heads."""
DEPTH_MEMORY = 300
"""Frames over which the depth's lasting error is learned."""
ITERATIONS = 2
COLD_ITERATIONS = 12


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
        """Give yaw, pitch, roll `[3]` in radians."""
        return rotation_angles(self.rotation.astype(np.float32))

    @property
    def expression(self) -> NDArray[np.float32]:
        """Give all weights `[52]` in the order of `EXPRESSION_NAMES`."""
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
        deviations = np.array([SD_BY_NAME.get(name, EXPRESSION_SD) for name in FREE_NAMES])
        stray = (((deviations[:, None, None] * self.expression_basis) ** 2).sum((0, 2))) * STRAY_SHARE**2
        stray[468:] = np.inf
        self.pose_precision = DATA_SHARE / (variance + stray + STRAY_M**2)
        """`[478]` 1/m^2: what expressions move says less of pose, for no expression is modelled exactly."""
        eyes = [model.identity_basis[:, a:b][:, -24:].mean(1) for a, b in model.eye_ranges]
        self.eye_center_mean = model.eye_centers(model.mean).astype(np.float64)
        self.eye_center_basis = np.stack(eyes, 1).astype(np.float64)
        """`[80, 2, 3]`"""
        self.eye_of_landmark = np.full(COUNT, -1, np.int64)
        self.eye_of_landmark[473:478], self.eye_of_landmark[468:473] = 0, 1
        for eye in range(2):
            iris = self.eye_of_landmark == eye
            center, basis = self.eye_center_mean[eye, 2], self.eye_center_basis[:, eye, 2:]
            points[iris, 2] = center + IRIS_RESPONSE * (points[iris, 2] - center)
            self.identity_basis[:, iris, 2] = basis + IRIS_RESPONSE * (self.identity_basis[:, iris, 2] - basis)

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

    def identity_moves(self, fit: Fit) -> Array:
        """Give how landmarks move in the view frame with each identity coefficient: `[80, 478, 3]` metres."""
        basis = self.identity_basis.copy()
        for eye in range(2):
            iris = np.flatnonzero(self.eye_of_landmark == eye)
            center = self.eye_center_basis[:, eye][:, None]
            turn = rotation_matrix(np.array([*fit.gaze[eye], 0.0])).astype(np.float64)
            basis[:, iris] = (basis[:, iris] - center) @ turn.T + center
        return np.asarray(basis @ fit.rotation.T)


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
        self._depth_bias = np.zeros(3)
        self._depth_count = 0
        deviations = np.array([SD_BY_NAME.get(name, EXPRESSION_SD) for name in FREE_NAMES])
        self._prior_precision = np.concatenate([np.full(6, 1e-6), 1.0 / GAZE_SD_RAD**2, 1.0 / deviations**2])
        big = np.full(10, 1e3)
        self._low = np.concatenate([-big, np.zeros(len(FREE))])
        self._high = np.concatenate([big, np.ones(len(FREE))])
        self._shapes = _sparse(self.landmarks.expression_basis)
        self._pairs = _pair_slots()
        self._hessian = np.zeros((SIZE, SIZE))
        self._gradient = np.zeros(SIZE)
        self._pose_hessian = np.zeros((6, 6))
        self._pose_gradient = np.zeros(6)

    def forget_person(self) -> None:
        """Go back to the average face, and start cold."""
        self.set_identity(np.zeros(IDENTITY_SIZE), np.zeros((COUNT, 3)))
        self._depth_bias = np.zeros(3)
        self._depth_count = 0
        self.reset()

    def set_identity(self, identity: Array, offsets: Array | None = None) -> None:
        """Take another face at rest: coefficients `[80]` and, optionally, offsets `[478, 3]`."""
        self.identity = np.asarray(identity, np.float64)
        if offsets is not None:
            self.offsets = np.asarray(offsets, np.float64)
        neutral, self.eye_centers = self.landmarks.neutral(self.identity)
        self.neutral = neutral + self.offsets

    def residual(self, points_px: NDArray[np.float32], camera: Camera, fit: Fit) -> Array:
        """Give where the landmarks lie off the fitted ones, `[478, 3]` metres in the head frame, across the line of sight."""
        points = self.landmarks.landmarks(fit, self.neutral, self.eye_centers)
        seen = self._rays(points_px, camera) * -points[:, 2:] - points[:, :2]
        return np.asarray(seen @ fit.rotation[:2])

    def reset(self) -> None:
        """Start cold at the next frame."""
        self.last = None

    def fit(
        self,
        points_px: NDArray[np.float32],
        camera: Camera,
        depth_px: NDArray[np.float32] | None = None,
        *,
        frozen_expression: Array | None = None,
    ) -> Fit:
        """Fit `points_px [478, 2]`. `frozen_expression [43]` holds the weights and fits pose and gaze alone.

        The detector's guess of depth, `depth_px [478]`, steadies yaw and pitch where it is given.
        """
        observed = self._rays(points_px, camera)
        start = self.last if self.last is not None else self._cold(observed)
        iterations = ITERATIONS if self.last is not None else COLD_ITERATIONS
        rotation, translation = start.rotation.copy(), start.translation.copy()
        gaze = np.concatenate([start.gaze.mean(0), start.gaze[0] - start.gaze[1]])
        started = gaze.copy()
        weights = start.weights.copy() if frozen_expression is None else np.asarray(frozen_expression, np.float64)
        low, high = self._low, self._high
        if frozen_expression is not None:
            low, high = low.copy(), high.copy()
            low[EXPRESSION] = high[EXPRESSION] = weights
        turned = None if depth_px is None else self._turn_by_depth(observed, depth_px / camera.focal_px, start)
        error = 0.0
        for _ in range(iterations):
            error = self._linearize(observed, rotation, translation, gaze, weights)
            if turned is not None and self._depth_count:
                self._add_rotation_prior(rotation_vector(turned @ rotation.T))
            step = -np.linalg.solve(self._pose_hessian, self._pose_gradient)
            rotation = rotation_from_vector(step[:3]) @ rotation
            translation = translation + step[3:]
            # Gaze and expression explain what the new pose leaves.
            current = np.concatenate([gaze, weights])
            prior = self._prior_precision[6:]
            held = np.zeros(len(prior))
            held[:4] = HELD_PRECISION * (1.0 - _openness(weights).mean()) ** 4
            hessian = self._hessian[6:, 6:] + np.diag(prior + held)
            gradient = self._gradient[6:] + self._hessian[6:, :6] @ step + prior * current
            gradient[:4] += held[:4] * (gaze - started)
            solution = solve_bounded(hessian, hessian @ current - gradient, low[6:], high[6:], current)
            gaze, weights = solution[:4].copy(), solution[4:].copy()
        both = np.stack([gaze[:2] + gaze[2:] / 2, gaze[:2] - gaze[2:] / 2])
        rotation = _orthonormal(rotation)
        if turned is not None:
            self._learn_depth_bias(turned, rotation)
        self.last = Fit(rotation, translation, both, weights, error)
        return self.last

    def _turn_by_depth(self, observed: Array, depth: Array, start: Fit) -> Array:
        """Fit the rotation to landmarks with the detector's depth, its usual error taken off: `[3, 3]`."""
        weight = self.landmarks.pose_precision / self.landmarks.pose_precision.sum()
        seen = np.column_stack([observed, -depth])
        arms = (seen - weight @ seen) * weight[:, None]
        u, _, vt = np.linalg.svd(arms.T @ (self.neutral - weight @ self.neutral))
        turn = (u * [1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
        # The detector sees as if the camera looked straight at the face.
        x, y, z = start.translation / np.linalg.norm(start.translation)
        towards = rotation_from_vector(np.array([y, -x, 0.0]) * (np.arctan2(np.hypot(x, y), -z) / max(np.hypot(x, y), 1e-9)))
        return np.asarray(rotation_from_vector(-self._depth_bias) @ towards @ turn)

    def _add_rotation_prior(self, difference: Array) -> None:
        """Draw the pose's equations towards a rotation that is `difference` (vector, rad) away."""
        hessian = self._pose_hessian
        known = hessian[:3, :3] - hessian[:3, 3:] @ np.linalg.solve(hessian[3:, 3:], hessian[3:, :3])
        precision = DEPTH_SAY / (1.0 - DEPTH_SAY) * np.diag(known)
        hessian[:3, :3] += np.diag(precision)
        self._pose_gradient[:3] -= precision * difference

    def _learn_depth_bias(self, turned: Array, rotation: Array) -> None:
        """Follow the lasting difference between rotation by depth and by landmarks: the person's, not the moment's."""
        difference = rotation_vector(turned @ rotation.T)
        if self._depth_count:  # the fit has given in by its share
            difference /= 1.0 - DEPTH_SAY
        self._depth_count = min(self._depth_count + 1, DEPTH_MEMORY)
        self._depth_bias = self._depth_bias + difference / self._depth_count

    def _linearize(self, observed: Array, rotation: Array, translation: Array, gaze: Array, weights: Array) -> float:
        """Fill the normal equations at a state; gives the root mean square error in metres at the head."""
        model = self.landmarks
        openness = _openness(weights)
        return float(
            accumulate(
                observed, model.precision, model.pose_precision, model.normals, self.neutral, self.eye_centers, model.eye_of_landmark,
                model.look_basis, *self._shapes, *self._pairs, rotation, translation, gaze, weights, openness, HUBER_M,
                self._hessian, self._gradient, self._pose_hessian, self._pose_gradient,
            )
        )  # fmt: skip

    def identity_equations(self, points_px: NDArray[np.float32], camera: Camera, fit: Fit) -> tuple[Array, Array]:
        """Give what a fitted frame says of identity, its own unknowns eliminated: information `[80, 80]`, gradient `[80]`.

        Around the present identity; unknowns at their bounds count as known.
        """
        observed = self._rays(points_px, camera)
        gaze = np.concatenate([fit.gaze.mean(0), fit.gaze[0] - fit.gaze[1]])
        self._linearize(observed, fit.rotation, fit.translation, gaze, fit.weights)
        current = np.concatenate([np.zeros(6), gaze, fit.weights])
        free = np.flatnonzero((current > self._low) & (current < self._high))
        prior = self._prior_precision[free]
        weight, residual, by_frame, by_identity = self._dense(observed, fit, free)
        weighted = by_frame * weight
        crossed = weighted @ by_identity.T
        own = weighted @ by_frame.T + np.diag(prior)
        solved = np.linalg.solve(own, np.column_stack([crossed, weighted @ residual + prior * current[free]]))
        weighted = by_identity * weight
        return weighted @ by_identity.T - crossed.T @ solved[:, :-1], weighted @ residual - crossed.T @ solved[:, -1]

    def _dense(self, observed: Array, fit: Fit, free: NDArray[np.intp]) -> tuple[Array, Array, Array, Array]:
        """Linearize a frame in full: weights `[R]`, residuals `[R]`, Jacobians `[free, R]` and `[80, R]`, R = 2 * 478."""
        model = self.landmarks
        points = model.landmarks(fit, self.neutral, self.eye_centers)
        depth = -points[:, 2:]
        rays = points[:, :2] / depth
        residual = points[:, :2] - observed * depth
        normals = model.normals @ fit.rotation.T
        facing = -(normals * points).sum(1) / np.linalg.norm(points, axis=1)
        error = np.linalg.norm(residual, axis=1)
        weight = model.precision * np.maximum(facing, MIN_FACING) * np.minimum(1.0, HUBER_M / np.maximum(error, 1e-9))
        for eye in range(2):
            weight[model.eye_of_landmark == eye] *= max(_openness(fit.weights)[eye], CLOSED_WEIGHT)

        def seen(moves: Array) -> Array:  # [n, 478, 3] view frame -> [n, R]
            return np.asarray((moves[..., :2] + rays * moves[..., 2:]).reshape(len(moves), -1))

        moves = np.concatenate([self._pose_moves(points - fit.translation), self._gaze_moves(fit), self._shape_moves(fit)])
        return np.repeat(weight, 2), residual.ravel(), seen(moves[free]), seen(model.identity_moves(fit))

    @staticmethod
    def _pose_moves(arms: Array) -> Array:
        """Give how points move with rotation about the view axes and with translation: `[6, 478, 3]`."""
        axes = np.eye(3)
        turning = np.cross(axes[:, None], arms[None])
        return np.concatenate([turning, np.broadcast_to(axes[:, None], turning.shape)])

    def _gaze_moves(self, fit: Fit, step: float = 1e-4) -> Array:
        """Give how points move with the four gaze unknowns, `[4, 478, 3]`, by differences."""
        model = self.landmarks
        changes = np.array([[[1, 0], [1, 0]], [[0, 1], [0, 1]], [[0.5, 0], [-0.5, 0]], [[0, 0.5], [0, -0.5]]])
        here = model.landmarks(fit, self.neutral, self.eye_centers)
        turned = [replace(fit, gaze=fit.gaze + step * change) for change in changes]
        return np.stack([(model.landmarks(f, self.neutral, self.eye_centers) - here) / step for f in turned])

    def _shape_moves(self, fit: Fit) -> Array:
        basis = self.landmarks.expression_basis.copy()
        basis[:, self.landmarks.eye_of_landmark >= 0] = 0.0
        return np.asarray(basis @ fit.rotation.T)

    @staticmethod
    def _rays(points_px: NDArray[np.float32], camera: Camera) -> Array:
        return (np.asarray(points_px, np.float64) - camera.center_px) * [1.0, -1.0] / camera.focal_px

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


def _openness(weights: Array) -> Array:
    """Tell how much of each iris shows, `[2]` (left, right), 0 to 1."""
    return np.clip(1.0 - weights[_BLINKS] / SHUT_BLINK, 0.0, 1.0)


_BLINKS = np.array([FREE_NAMES.index("eyeBlinkLeft"), FREE_NAMES.index("eyeBlinkRight")])


def _sparse(basis: Array, threshold_m: float = 5e-5) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """Keep of `[43, 478, 3]`, by landmark, the shapes that move it: (starts `[479]`, shapes `[n]`, offsets `[n, 3]`)."""
    moves = np.linalg.norm(basis, axis=-1).T > threshold_m  # [478, 43]
    landmark, shape = np.nonzero(moves)
    starts = np.searchsorted(landmark, np.arange(COUNT + 1))
    return starts.astype(np.int64), shape.astype(np.int64), np.ascontiguousarray(basis[shape, landmark])


def _pair_slots() -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """Give slots of landmarks `[478]`, pairs of slots `[P, 2]` and their precision `[P]`, 1/m^2."""
    landmarks = sorted({landmark for group in PAIRS for pair in group for landmark in pair})
    slots = np.full(COUNT, -1, np.int64)
    slots[landmarks] = np.arange(len(landmarks))
    pairs = slots[np.array([pair for group in PAIRS for pair in group])]
    precision = np.concatenate(
        [np.full(len(group), PAIR_SHARE / spread**2) for group, spread in zip(PAIRS, PAIR_SPREAD_M, strict=True)]
    )
    return slots, pairs, precision


def _orthonormal(matrix: Array) -> Array:
    u, _, vt = np.linalg.svd(matrix)
    return np.asarray(u @ vt)
