"""Fit pose, expression and gaze to landmarks: a few Gauss-Newton steps a frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from capture.binding import LandmarkBinding
from capture.bounded import solve_bounded
from capture.gaze_prior import GazePrior
from capture.landmark_model import (
    BLINKS,
    DEVIATIONS,
    FREE,
    FREE_NAMES,
    SHUT_BLINK,
    Fit,
    LandmarkModel,
    both_eyes,
)
from capture.landmarks import COUNT
from capture.lids import LARGEST_BLINK, fitted_blinks, lid_scale
from capture.normal_equations import accumulate
from capture.rotation import rotation_from_vector
from capture.rotation_prior import DEPTH_SAY, HINT_SAY, RotationPrior, rotation_by_depth
from models.camera import Camera, rotation_matrix
from models.face import FaceModel
from models.params import EXPRESSION_REACH, IDENTITY_SIZE, FaceParams

Array = NDArray[np.float64]

POSE, GAZE, EXPRESSION = slice(0, 6), slice(6, 10), slice(10, 10 + len(FREE))
SIZE = EXPRESSION.stop
"""Unknowns of a frame: rotation and translation, gaze (yaw, pitch, and of each left minus right), expression."""

GAZE_SD_RAD = np.deg2rad([60.0, 45.0, 2.0, 1.0])
"""Prior of the common yaw and pitch, and of the differences: eyes move together."""
GAZE_LIMIT_RAD = np.deg2rad([50.0, 50.0, 30.0, 10.0])
"""How far eyes turn, each way, in the same order. Beyond a quarter turn an iris on the eyeball's back would fit as well
as one in front, and stay."""

HUBER_M = 0.006
"""Landmarks further off than this, behind a hand for instance, pull no harder."""
HELD_PRECISION = 1.0 / np.deg2rad(4.0) ** 2
"""How firmly eyes behind shut lids stay where they looked."""
PAIRS: tuple[tuple[tuple[int, int], ...], ...] = (
    ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402)),  # inner lips
    ((61, 291),),  # mouth corners
    ((0, 17),),  # outer lips
    ((159, 145), (158, 153), (160, 144), (386, 374), (385, 380), (387, 373)),  # lids
    ((468, 33), (468, 133), (473, 263), (473, 362)),  # irises and eye corners
    tuple((brow, 6) for brow in (70, 63, 105, 66, 107, 55, 300, 293, 334, 296, 336, 285)),  # brows and root of the nose
    ((61, 98), (291, 327)),  # mouth corners and nostrils
    ((0, 2),),  # upper lip and nose
)
"""Landmarks whose distance is known better than their places: what a detector gets wrong, it gets wrong together."""
LIDS = PAIRS[3]
PAIR_SPREAD_M = ((0.0015, 0.002, 0.002, 0.001, 0.0015, np.inf, np.inf, np.inf),
                 (0.0015, 0.0006, 0.002, 0.001, 0.0015, 0.0015, 0.002, 0.0015))  # fmt: skip
"""Error of such a distance, for each group: in a stranger, whose brows lie anywhere, and in a person whose offsets are
known, where all that changes it is how they look."""
PAIR_SHARE = 0.5
"""As `DATA_SHARE`, for pairs."""
SMILES = np.array([FREE_NAMES.index(f"mouthSmile{side}") for side in ("Left", "Right")])
"""What a hint says of an expression: the regressor sees that somebody smiles, where landmarks alone cannot tell a smile
from a wide mouth."""
SMILE_SD = 0.15
"""How well it knows the least that a smile is: it errs towards a face at rest, and landmarks may see more of one."""
FROWNS = np.array([FREE_NAMES.index(f"mouthFrown{side}") for side in ("Left", "Right")])
"""Nobody frowns with the corner of the mouth that smiles; landmarks alone would, where a smile goes rather aside than
up."""
FROWN_KEPT = 0.15
"""Where a corner is seen to smile by so much, what holds a frown of it back is twice as strong."""
_SHUT = {"eyeBlinkLeft": 1.0, "eyeWideLeft": -0.32, "eyeSquintLeft": 0.26,
         "eyeBlinkRight": -1.0, "eyeWideRight": 0.32, "eyeSquintRight": -0.26}  # fmt: skip
APART = np.array([_SHUT.get(name, 0.0) for name in FREE_NAMES])
"""`[43]` how much further the left eye is shut than the right one, in blinks: eyes opened wide and squints count by how
far they move the lids."""
APART_SD = 0.05
"""How well a hint knows that difference. It sees each eye; landmarks take lids that are half down, as of somebody who
reads, for a wink."""
_ACROSS = np.concatenate([np.zeros(GAZE.stop - GAZE.start), APART]) / APART_SD
_ACROSS_PRECISION = np.outer(_ACROSS, _ACROSS)
KNOWN_POSE_PRIOR = 0.1
"""Strength of the prior on expression where the pose is known: it need not be kept from explaining that."""
KNOWN_POSE_VERGENCE_SD_RAD = np.deg2rad(8.0)
"""What holds the eyes' yaw together then: some people squint inwards, and what trembles is smoothed both ways."""
NEAREST_M = 0.15
"""No head is nearer to the camera: landmarks of a hand before a face may be fitted best by one in the lens."""
ITERATIONS = 2
COLD_ITERATIONS = 12


class Fitter:
    """Fit frame after frame, each from the last one's result."""

    def __init__(self, model: FaceModel, binding: LandmarkBinding) -> None:
        self.landmarks = LandmarkModel(model, binding)
        self.identity = np.zeros(IDENTITY_SIZE)
        """`[80]` alpha, set by `set_identity`."""
        self.offsets = np.zeros((COUNT, 3))
        """`[478, 3]` where this person's landmarks lie off the model's, head frame, metres; set by `set_identity`."""
        self.familiarity = 0.0
        """0 where nothing is known of these offsets, 1 where they are; set by `set_identity`."""
        self.neutral, self.eye_centers = self.landmarks.neutral(self.identity)
        self._usual_gap_m = self._lid_gap_m()
        self.lid_scale = 1.0
        """What a fitted blink of this person counts, see `capture.lids`; set by `set_identity`."""
        self.last: Fit | None = None
        self.prior_precision = np.concatenate([np.full(POSE.stop, 1e-6), 1.0 / GAZE_SD_RAD**2, 1.0 / DEVIATIONS**2])
        """`[SIZE]` of each unknown around zero; next to nothing on pose, so that systems stay regular."""
        reach = np.concatenate([np.full(POSE.stop, 1e3), GAZE_LIMIT_RAD])
        self.low = np.concatenate([-reach, np.zeros(len(FREE))])
        """`[SIZE]` least value of each unknown."""
        self.high = np.concatenate([reach, EXPRESSION_REACH[FREE].astype(np.float64)])
        self.high[EXPRESSION][BLINKS] = LARGEST_BLINK
        """`[SIZE]` greatest value of each unknown."""
        self._by_depth, self._by_hint = RotationPrior(DEPTH_SAY), RotationPrior(HINT_SAY)
        self._gaze_by_hint = GazePrior()
        self._shapes = _sparse(self.landmarks.expression_basis)
        self._pair_slots, self._pair_precisions = _pair_slots()
        self._hessian = np.zeros((SIZE, SIZE))
        self._gradient = np.zeros(SIZE)
        self._pose_hessian = np.zeros((6, 6))
        self._pose_gradient = np.zeros(6)

    def warm_up(self) -> None:
        """Compile the inner loops, which takes seconds the first time on a machine, and forget again."""
        camera = Camera.webcam(64, 64)
        self.fit(camera.project((self.neutral - np.array([0.0, 0.0, 0.6])).astype(np.float32)), camera)
        self.reset()

    def forget_person(self) -> None:
        """Go back to the average face, and start cold."""
        self.set_identity(np.zeros(IDENTITY_SIZE), np.zeros((COUNT, 3)), familiarity=0.0)
        self._by_depth.reset()
        self._by_hint.reset()
        self._gaze_by_hint.reset()
        self.reset()

    def set_identity(self, identity: Array, offsets: Array | None = None, *, familiarity: float = 1.0) -> None:
        """Take another face at rest: coefficients `[80]` and, optionally, offsets `[478, 3]`.

        How well the offsets are known, 0 to 1, is their `familiarity`.
        """
        self.identity = np.asarray(identity, np.float64)
        if offsets is not None:
            self.offsets, self.familiarity = np.asarray(offsets, np.float64), familiarity
        neutral, self.eye_centers = self.landmarks.neutral(self.identity)
        self.neutral = neutral + self.offsets
        self.lid_scale = lid_scale(self._lid_gap_m(), self._usual_gap_m)

    def _lid_gap_m(self) -> float:
        """Measure how far lids at rest are apart, metres."""
        upper, lower = np.array(LIDS).T
        return float(np.linalg.norm(self.neutral[upper] - self.neutral[lower], axis=1).mean())

    def openness(self, weights: Array) -> Array:
        """Tell how much of each iris `[2]` (left, right) shows at expression weights `[43]`, 0 to 1."""
        return np.clip(1.0 - self.lid_scale * weights[BLINKS] / SHUT_BLINK, 0.0, 1.0)

    def residual(self, points_px: NDArray[np.float32], camera: Camera, fit: Fit) -> Array:
        """Give where landmarks lie off the fitted ones, `[478, 3]` metres, head frame, across the line of sight."""
        points = self.landmarks.landmarks(fit, self.neutral, self.eye_centers)
        seen = self.rays(points_px, camera) * -points[:, 2:] - points[:, :2]
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
        hint: FaceParams | None = None,
        frozen_expression: Array | None = None,
    ) -> Fit:
        """Fit `points_px [478, 2]`. `frozen_expression [43]` holds the weights and fits pose and gaze alone.

        The detector's guess of depth, `depth_px [478]`, steadies yaw and pitch where it is given, and so do rotation
        and gaze of a `hint`, another's reading of the face; a smile is at least about what the hint sees of one,
        and its corner does not frown.
        """
        observed = self.rays(points_px, camera)
        start = self.last if self.last is not None else self._cold(observed)
        iterations = ITERATIONS if self.last is not None else COLD_ITERATIONS
        rotation, translation = start.rotation.copy(), start.translation.copy()
        gaze = start.gaze_unknowns
        started = gaze.copy()
        weights = start.weights.copy() if frozen_expression is None else np.asarray(frozen_expression, np.float64)
        low, high = self.low[GAZE.start :], self.high[GAZE.start :]
        if frozen_expression is not None:
            low, high = np.append(low[:4], weights), np.append(high[:4], weights)
        smiles, apart = self._told(hint)
        drawn = []
        if depth_px is not None:
            precision = self.landmarks.pose_precision
            depth = depth_px / camera.focal_px
            turned = rotation_by_depth(observed, depth, self.neutral, precision, start.translation)
            drawn.append((self._by_depth, self._by_depth.corrected(turned)))
        if hint is not None:
            drawn.append((self._by_hint, self._by_hint.corrected(rotation_matrix(hint.rotation).astype(np.float64))))
        error = 0.0
        for _ in range(iterations):
            error = self._linearize(observed, rotation, translation, gaze, weights)
            for prior, wanted in drawn:
                prior.add(self._pose_hessian, self._pose_gradient, wanted, rotation)
            step = -np.linalg.solve(self._pose_hessian, self._pose_gradient)
            rotation = rotation_from_vector(step[:3]) @ rotation
            translation = translation + step[3:]
            translation[2] = min(translation[2], -NEAREST_M)
            gaze, weights = self._explain(step, gaze, weights, started, low, high, self.prior_precision, smiles, apart)
        rotation = _orthonormal(rotation)
        for prior, wanted in drawn:
            prior.learn(wanted, rotation)
        eyes = both_eyes(gaze)
        if hint is not None:
            eyes = self._gaze_by_hint.draw(eyes, hint.gaze.astype(np.float64), self.openness(weights))
        self.last = Fit(rotation, translation, eyes, weights, error)
        return self.last

    def fit_expression(
        self, points_px: NDArray[np.float32], camera: Camera, fit: Fit, hint: FaceParams | None = None
    ) -> Fit:
        """Fit gaze and expression alone, from those of `fit`; its pose is known from elsewhere, and stays.

        A `hint` says of the expression what it does in `fit`. Gaze is the landmarks': see `capture.gaze_prior`.
        """
        observed = self.rays(points_px, camera)
        gaze = started = fit.gaze_unknowns
        weights, error = fit.weights, 0.0
        low, high, prior = self.low[GAZE.start :], self.high[GAZE.start :], self.prior_precision.copy()
        prior[EXPRESSION] *= KNOWN_POSE_PRIOR
        prior[GAZE][2] = 1.0 / KNOWN_POSE_VERGENCE_SD_RAD**2
        told = self._told(hint)
        for _ in range(2 * ITERATIONS):
            error = self._linearize(observed, fit.rotation, fit.translation, gaze, weights)
            gaze, weights = self._explain(np.zeros(POSE.stop), gaze, weights, started, low, high, prior, *told)
        return Fit(fit.rotation, fit.translation, both_eyes(gaze), weights, error)

    def _told(self, hint: FaceParams | None) -> tuple[Array | None, float | None]:
        """Give what a hint says of an expression: smiles `[2]`, and how far lids are `APART`."""
        if hint is None:
            return None, None
        seen = hint.expression[FREE].astype(np.float64)
        smiles = seen[SMILES]
        seen[BLINKS] = fitted_blinks(seen[BLINKS], self.lid_scale)
        return smiles, float(APART @ seen)

    def _explain(
        self,
        step: Array,
        gaze: Array,
        weights: Array,
        started: Array,
        low: Array,
        high: Array,
        precision: Array,
        smiles: Array | None = None,
        apart: float | None = None,
    ) -> tuple[Array, Array]:
        """Let gaze `[4]` and weights `[43]` explain what a `step` of pose leaves, drawn to rest by `precision`.

        Smiles below those that were seen, `smiles [2]`, are drawn up to them, and frowns of their corners to rest;
        lids are drawn to be as far apart, in `APART`, as was seen.
        """
        rest = slice(POSE.stop, SIZE)
        current = np.concatenate([gaze, weights])
        prior, expected = precision[rest], np.zeros(len(current))
        if smiles is not None:
            is_low = weights[SMILES] < smiles
            low_smiles = len(gaze) + SMILES[is_low]
            prior = prior.copy()
            prior[low_smiles], expected[low_smiles] = 1.0 / SMILE_SD**2, smiles[is_low]
            prior[len(gaze) + FROWNS] *= 1.0 + (smiles / FROWN_KEPT) ** 2
        held = np.zeros(len(prior))
        held[:4] = HELD_PRECISION * (1.0 - self.openness(weights).mean()) ** 4
        hessian = self._hessian[rest, rest] + np.diag(prior + held)
        gradient = self._gradient[rest] + self._hessian[rest, POSE] @ step + prior * (current - expected)
        gradient[:4] += held[:4] * (gaze - started)
        if apart is not None:
            hessian += _ACROSS_PRECISION
            gradient += _ACROSS * (_ACROSS @ current - apart / APART_SD)
        solution = solve_bounded(hessian, hessian @ current - gradient, low, high, current)
        return solution[:4].copy(), solution[4:].copy()

    def _linearize(self, observed: Array, rotation: Array, translation: Array, gaze: Array, weights: Array) -> float:
        """Fill the normal equations at a state; gives the root mean square error in metres at the head."""
        model = self.landmarks
        stranger, known = self._pair_precisions
        pair_precision = stranger + self.familiarity * (known - stranger)
        return float(
            accumulate(
                observed, model.precision, model.pose_precision, model.normals, self.neutral, self.eye_centers,
                model.eye_of_landmark, model.look_basis, *self._shapes, *self._pair_slots, pair_precision, rotation,
                translation, gaze, weights, self.openness(weights), HUBER_M, self._hessian, self._gradient,
                self._pose_hessian, self._pose_gradient,
            )
        )  # fmt: skip

    @staticmethod
    def rays(points_px: NDArray[np.float32], camera: Camera) -> Array:
        """Turn pixels `[478, 2]` into rays (x, y) at unit depth, y up."""
        return (np.asarray(points_px, np.float64) - camera.center_px) * [1.0, -1.0] / camera.focal_px

    def _cold(self, observed: Array) -> Fit:
        """Start from the size and place of the landmarks, looking straight ahead."""
        face = slice(0, 468)
        seen, rest = observed[face], self.neutral[face]
        # Height shrinks less than width when a head turns.
        depth = float(np.std(rest[:, 1]) / max(np.std(seen[:, 1]), 1e-4))
        center = seen.mean(0) * depth - rest[:, :2].mean(0)
        translation = np.array([center[0], center[1], -depth - rest[:, 2].mean()])
        return Fit(np.eye(3), translation, np.zeros((2, 2)), np.zeros(len(FREE)), 0.0)


def _sparse(basis: Array, threshold_m: float = 2e-4) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """Keep of `[43, 478, 3]`, by landmark, what moves it: (starts `[479]`, shapes `[n]`, offsets `[n, 3]`)."""
    moves = threshold_m < np.linalg.norm(basis, axis=-1).T  # [478, 43]
    landmark, shape = np.nonzero(moves)
    starts = np.searchsorted(landmark, np.arange(COUNT + 1))
    return starts.astype(np.int64), shape.astype(np.int64), np.ascontiguousarray(basis[shape, landmark])


def _pair_slots() -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], Array]:
    """Give slots of landmarks `[478]` and pairs of slots `[P, 2]`, and the pairs' precision `[2, P]`, 1/m^2."""
    landmarks = sorted({landmark for group in PAIRS for pair in group for landmark in pair})
    slots = np.full(COUNT, -1, np.int64)
    slots[landmarks] = np.arange(len(landmarks))
    pairs = slots[np.array([pair for group in PAIRS for pair in group])]
    precision = PAIR_SHARE / np.repeat(np.array(PAIR_SPREAD_M), [len(group) for group in PAIRS], axis=1) ** 2
    return (slots, pairs), precision


def _orthonormal(matrix: Array) -> Array:
    u, _, vt = np.linalg.svd(matrix)
    return np.asarray(u @ vt)
