"""The face model reduced to what landmarks see of it: their places at rest and how they move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from capture.binding import LandmarkBinding
from capture.landmarks import COUNT
from models.camera import rotation_angles, rotation_matrix
from models.face import LOOK_DOWN_RAD, LOOK_UP_RAD, LOOK_YAW_RAD, FaceModel
from models.params import EXPRESSION_INDEX, EXPRESSION_NAMES, EXPRESSION_SIZE

Array = NDArray[np.float64]

FREE_NAMES = tuple(name for name in EXPRESSION_NAMES if not name.startswith("eyeLook") and name != "tongueOut")
"""Expression weights that landmarks can tell: `eyeLook*` follow from gaze, and no landmark sees the tongue."""
FREE = np.array([EXPRESSION_INDEX[name] for name in FREE_NAMES])


EXPRESSION_SD = 0.3
"""Standard deviation of the prior of a weight around zero, unless named below."""
SD_BY_NAME: dict[str, float] = {
    "jawOpen": 0.8, "eyeBlinkLeft": 0.8, "eyeBlinkRight": 0.8, "eyeWideLeft": 0.5, "eyeWideRight": 0.5,
    "mouthSmileLeft": 0.7, "mouthSmileRight": 0.7, "mouthPucker": 0.8, "mouthFunnel": 0.5,
    "mouthLeft": 0.6, "mouthRight": 0.6, "mouthFrownLeft": 0.7, "mouthFrownRight": 0.7,
    "browDownLeft": 1.2, "browDownRight": 1.2, "browInnerUp": 1.2, "browOuterUpLeft": 1.2, "browOuterUpRight": 1.2,
    # Landmarks hardly tell these from their neighbours.
    "jawForward": 0.08, "cheekPuff": 0.08, "cheekSquintLeft": 0.12, "cheekSquintRight": 0.12, "mouthClose": 0.15,
    "noseSneerLeft": 0.2, "noseSneerRight": 0.2, "eyeSquintLeft": 0.15, "eyeSquintRight": 0.15,
}  # fmt: skip
DEVIATIONS = np.array([SD_BY_NAME.get(name, EXPRESSION_SD) for name in FREE_NAMES])
"""`[43]` the same, in order."""

DATA_SHARE = 0.1
"""Landmarks err together, so that 478 of them tell as much as this share of independent ones."""
STRAY_SHARE = 0.5
"""Share of a landmark's usual movement with expression that is an error where pose is concerned."""
STRAY_M = 0.003
"""The same, for what no shape describes: skin over muscle."""
LIVELY_M = 0.009
"""A landmark that a shape moves further than this, on lips, lids or brows, is fitted for itself."""
QUIET_STEP = 3
"""Of the others one in so many is fitted, for all."""
SENSOR_M = 0.0007
"""Noise of a landmark from one frame to the next, at the head."""
SHUT_BLINK = 0.6
"""Fitted blink at which the eye is shut: see `capture.lids`."""
IRIS_RESPONSE = 0.85
"""A detected iris moves by this share of the real one's way: it is placed nearer to the eyeball's centre."""


class Posed(Protocol):
    """Whatever has a head's pose and gaze: `FaceParams` of one frame, or a `Personal`'s rest."""

    @property
    def rotation(self) -> NDArray[np.float32]:
        """`[3]` yaw, pitch, roll, radians."""

    @property
    def translation(self) -> NDArray[np.float32]:
        """`[3]` metres."""

    @property
    def gaze(self) -> NDArray[np.float32]:
        """`[2, 2]` (left, right) x (yaw, pitch), radians."""


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

    @classmethod
    def posed(cls, face: Posed, weights: Array) -> Self:
        """Take pose and gaze from elsewhere, in the form that parameters keep them in."""
        return cls(
            rotation=rotation_matrix(face.rotation).astype(np.float64),
            translation=face.translation.astype(np.float64),
            gaze=face.gaze.astype(np.float64),
            weights=weights,
            error_m=0.0,
        )

    @property
    def gaze_unknowns(self) -> Array:
        """Give gaze as it is solved for, `[4]`: yaw and pitch of both eyes' mean, and of left minus right."""
        return np.concatenate([self.gaze.mean(0), self.gaze[0] - self.gaze[1]])

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
        share = DATA_SHARE * self._shares()
        self.precision = share / variance
        """`[478]` 1/m^2"""
        stray = (((DEVIATIONS[:, None, None] * self.expression_basis) ** 2).sum((0, 2))) * STRAY_SHARE**2
        stray[468:] = np.inf
        self.pose_precision = share / (variance + stray + STRAY_M**2)
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
        self._identity_rows = np.ascontiguousarray(self.identity_basis.reshape(len(self.identity_basis), -1))

    def _shares(self) -> Array:
        """Give the share `[478]` of each landmark in what is fitted: quiet skin is left to every third."""
        size = np.linalg.norm(self.expression_basis, axis=-1).max(0)
        lively = size > LIVELY_M
        lively[468:] = True
        shares = np.where(lively, 1.0, 0.0)
        quiet = np.flatnonzero(~lively)
        shares[quiet[::QUIET_STEP]] = QUIET_STEP
        return shares

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
            self.mean + (identity @ self._identity_rows).reshape(COUNT, 3),
            self.eye_center_mean + (identity @ self.eye_center_basis.reshape(len(identity), 6)).reshape(2, 3),
        )

    def landmarks(self, fit: Fit, neutral: Array, eye_centers: Array) -> Array:
        """Pose the landmarks `[478, 3]` in the view frame: the slow reference of the compiled equations."""
        moved = neutral + np.tensordot(fit.weights, self.expression_basis, 1)
        for eye in range(2):
            yaw, pitch = fit.gaze[eye]
            moved += (
                self.look_basis[eye, 0 if yaw > 0 else 1] * yaw + self.look_basis[eye, 2 if pitch > 0 else 3] * pitch
            )
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


def both_eyes(unknowns: Array) -> Array:
    """Undo `Fit.gaze_unknowns`: `[4]` to `[2, 2]`."""
    return np.stack([unknowns[:2] + unknowns[2:] / 2, unknowns[:2] - unknowns[2:] / 2])


BLINKS = np.array([FREE_NAMES.index("eyeBlinkLeft"), FREE_NAMES.index("eyeBlinkRight")])
"""Where `FREE_NAMES` has both."""
