"""What a person's face looks like at rest: the zero from which expression and pose are counted."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from capture.fitting import LIDS, Fitter
from capture.landmark_model import BLINKS, FREE, FREE_NAMES, Fit
from capture.landmarks import Landmarks
from capture.lids import fitted_blinks
from models.camera import Camera, rotation_matrix
from models.params import FaceParams

Array = NDArray[np.float64]

ASKED_S = 1.0
"""How long a neutral face is watched that a person was asked to show."""
UNASKED_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Unasked, the first of these gives pose; the others improve the rest: a mouth that talks closes, brows come down."""
MIN_FRAMES = 3
"""A slow camera is watched until it gave as many frames."""
MIN_INTERVAL_S = 0.06
"""Frames closer in time are not kept."""
KEPT_FRAMES = 6
"""Frames that a measurement is made of."""
CLOSED_SHARE = 0.3
"""Unasked, this share of the frames, those with the mouth most closed, shows the mouth at rest."""
OPEN_SHARE = (0.5, 0.9)
"""Unasked, frames with the eyes as open as between these quantiles show lids and brows at rest."""
LIDS_UP = 0.1
"""A hint reads lids of open eyes as up to so far down, and lids at rest as no further down than so from where this
person's are furthest up. Who looks at the keys at first would else be wide-eyed ever after."""
UP_SHARE = 0.1
"""Share of the frames that show lids furthest up."""
MIN_OPENNESS = 0.17
"""Lid gap over eye width below which eyes are not open: they say nothing of rest."""
MAX_GAZE_RAD = np.deg2rad([3.0, 10.0])
"""Unasked, eyes at rest look so far aside and up or down at most: a screen lies below its camera, and irises are found
to a degree or two, but who happens to glance aside in the first seconds is not at rest."""
FACING_RAD = np.deg2rad([10.0, 12.0, 6.0])
"""Someone at a camera faces it: unasked, a face that starts further turned (yaw, pitch, roll) is not at rest, and rest
is taken to be this near to facing it."""
SURE_S = 4.0
"""Once watched for so long, one of `UNASKED_S`, a face that started turned is at rest as it was when it was least
turned: its camera may stand beside the screen or below it. Most turn back before."""
STILL_S, STILL_RAD = 2.0, np.deg2rad(3.0)
"""One that was as turned all the time, give or take this, is so already after this long."""
SHIFT_RAD = np.deg2rad(5.0)
"""But where it was turned further by less than this, or would shift what was shown since by less, it stays."""
CLOSED_GAP_M = 0.002
"""Gap that the detector sees between closed lips."""
UPPER_LIP, LOWER_LIP = 13, 14
EYE_CORNERS = ((33, 133), (362, 263))

OWN_WEIGHT, OWN_WEIGHT_OF_EYES = 0.15, 0.3
"""Unasked, a face that shows a shape up to this weight is taken to be built so; what is beyond is expression."""

_OWN = np.where([name.startswith(("brow", "eye")) for name in FREE_NAMES], OWN_WEIGHT_OF_EYES, OWN_WEIGHT)
_ASIDE = [FREE_NAMES.index(f"{part}{side}") for part in ("mouth", "jaw") for side in ("Left", "Right")]
"""Nobody keeps their mouth to one side: one that seems to be there is built so, or seen from there."""
_JAW_OPEN = FREE_NAMES.index("jawOpen")


@dataclass(frozen=True, slots=True)
class Rest:
    """A face at rest."""

    offsets: Array
    """`[478, 3]` where this person's landmarks lie off the model's, head frame, metres."""
    fit: Fit
    """Usual pose and gaze, without expression: the offsets hold what the face shows at rest."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame that was fitted."""

    landmarks: Landmarks
    camera: Camera
    fit: Fit
    hint: FaceParams | None
    """As `Fitter.fit` got it."""


@dataclass(frozen=True, slots=True)
class _Frame:
    seen: Seen
    gap_m: float
    """Between the lips."""
    openness: float
    """Between the lids, over the eyes' width."""

    @property
    def blinks(self) -> NDArray[np.float32]:
        """How far down lids are, `[2]`, as the hint sees it; NaN where there is none."""
        hint = self.seen.hint
        return hint.expression[FREE[BLINKS]] if hint is not None else np.full(2, np.nan, np.float32)

    @property
    def down(self) -> float:
        """The same of both together."""
        return float(self.blinks.mean())


class Calibration:
    """Watch a face for a while, then measure it at rest."""

    def __init__(self, *, is_asked: bool) -> None:
        """`is_asked`: the person was told to show a neutral face, so that whatever it shows is rest."""
        self.is_asked = is_asked
        self._dues = [ASKED_S] if is_asked else list(UNASKED_S)
        self._frames: list[_Frame] = []
        self._seen = 0
        self._poses: list[list[_Frame]] = []
        self._closed: list[_Frame] = []
        self._open: list[_Frame] = []
        self._up: list[_Frame] = []
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

    @property
    def _first(self) -> list[_Frame]:
        return self._poses[0] if self._poses else []

    def add(self, seen: Seen, time_s: float) -> bool:
        """Watch one frame; true when it is time for a measurement, or for a better one."""
        if self.is_complete or time_s - self._last_s < MIN_INTERVAL_S:
            return False
        self._start_s = time_s if self._start_s is None else self._start_s
        self._last_s = time_s
        landmarks = seen.landmarks
        metres_a_px = float(-seen.fit.translation[2]) / seen.camera.focal_px
        gap_m = _mean_distance(landmarks, ((UPPER_LIP, LOWER_LIP),)) * metres_a_px
        openness = _mean_distance(landmarks, LIDS) / max(_mean_distance(landmarks, EYE_CORNERS), 1.0)
        self._frames.append(_Frame(seen, gap_m, openness))
        if time_s - self._start_s < self._dues[0] or len(self._frames) < MIN_FRAMES:
            return False
        self._dues = [due for due in self._dues if due > time_s - self._start_s]
        self._poses.append(_spread(self._frames[self._seen :]))
        self._seen = len(self._frames)
        if not self.is_asked:
            self._closed = _spread(_with_mouth_closed(self._frames))
            self._open = _spread(_with_eyes_open(self._frames))
            self._up = _with_lids_up(self._frames, self._open)
        if not self._dues:
            self._frames.clear()
        return True

    def usual(self) -> Fit:
        """Give the median of what was seen so far, for the time before the first measurement. Needs one frame."""
        usual = _median_fit([frame.seen.fit for frame in self._frames or self._first])
        return usual if self.is_asked else _at_rest(usual, resting([usual.angles]), usual.gaze)

    def measure(self, bench: Fitter, identity: Array) -> Generator[None, None, Rest]:
        """Measure the face at rest for an identity `[80]`, one fit at each step, so that no frame waits for all of it.

        `bench` is a fitter to work with; its state is overwritten.
        """
        bench.set_identity(identity, np.zeros_like(bench.offsets), familiarity=0.0)
        if self.is_asked:
            offsets = yield from self._offsets(bench, self._first, np.zeros(len(FREE_NAMES)))
        else:
            offsets = yield from self._unasked_offsets(bench)
        bench.set_identity(identity, offsets)
        bench.reset()
        # Pose as it was in the first second, as the offsets make it: a later one would shift everything shown since.
        usual = _median_fit((yield from self._refit(bench, self._first)))
        if self.is_asked:
            return Rest(offsets, usual)
        later = [_median_fit([frame.seen.fit for frame in frames]).angles for frames in self._poses[1:]]
        angles = resting([usual.angles, *later])
        gaze = [fit.gaze for fit in (yield from self._refit(bench, self._open))]
        return Rest(offsets, _at_rest(usual, angles, np.median(gaze, axis=0) if gaze else np.zeros((2, 2))))

    @staticmethod
    def _refit(bench: Fitter, frames: list[_Frame], weights: Array | None = None) -> Generator[None, None, list[Fit]]:
        fits = []
        for frame in frames:
            points, depth = frame.seen.landmarks.points_px, frame.seen.landmarks.depth_px
            fits.append(bench.fit(points, frame.seen.camera, depth, hint=frame.seen.hint, frozen_expression=weights))
            yield
        return fits

    def _unasked_offsets(self, bench: Fitter) -> Generator[None, None, Array]:
        """Measure each part of the face on the frames that show it at rest."""
        mouth, eyes, lids = _parts(bench)
        of_mouth = yield from self._own_offsets(bench, self._closed)
        of_face = yield from self._own_offsets(bench, self._open or self._first)
        if not self._open:  # eyes shut all the time: take the model's
            of_face[eyes] = 0.0
        elif self._up is not self._open:
            of_face[lids] = (yield from self._own_offsets(bench, self._up))[lids]
        return np.where(mouth[:, None], of_mouth, of_face)

    def _own_offsets(self, bench: Fitter, frames: list[_Frame]) -> Generator[None, None, Array]:
        """Measure offsets `[478, 3]` on frames near rest, without what they show beyond it."""
        weights = yield from self._shown(bench, frames)
        return (yield from self._offsets(bench, frames, weights))

    def _shown(self, bench: Fitter, frames: list[_Frame]) -> Generator[None, None, Array]:
        """Tell the expression `[43]` in frames near rest: what is too much to be a face's own shape."""
        bench.reset()
        fits = yield from self._refit(bench, frames)
        weights = np.maximum(np.median([fit.weights for fit in fits], axis=0) - _OWN, 0.0)
        weights[_ASIDE] = 0.0
        gap_m = max(float(np.median([frame.gap_m for frame in frames])) - CLOSED_GAP_M, 0.0)
        jaw = bench.landmarks.expression_basis[_JAW_OPEN]
        told = [frame.blinks for frame in frames if frame.seen.hint is not None]
        if told:
            down = np.maximum(np.median(told, axis=0) - LIDS_UP, 0.0)
            weights[BLINKS] = np.maximum(weights[BLINKS], fitted_blinks(down, bench.lid_scale))
        weights[_JAW_OPEN] = min(gap_m / float(np.linalg.norm(jaw[UPPER_LIP] - jaw[LOWER_LIP])), 1.0)
        return weights

    def _offsets(self, bench: Fitter, frames: list[_Frame], weights: Array) -> Generator[None, None, Array]:
        """Measure offsets `[478, 3]` on frames that show expression `weights [43]` and otherwise rest."""
        bench.reset()
        fits = yield from self._refit(bench, frames, weights)
        residuals = [
            bench.residual(frame.seen.landmarks.points_px, frame.seen.camera, fit)
            for frame, fit in zip(frames, fits, strict=True)
        ]
        return np.asarray(np.median(residuals, axis=0))


def _with_mouth_closed(frames: list[_Frame]) -> list[_Frame]:
    limit = np.quantile([frame.gap_m for frame in frames], CLOSED_SHARE)
    return [frame for frame in frames if frame.gap_m <= limit]


def _with_eyes_open(frames: list[_Frame]) -> list[_Frame]:
    low, high = np.quantile([frame.openness for frame in frames], OPEN_SHARE)
    return [frame for frame in frames if max(low, MIN_OPENNESS) <= frame.openness <= max(high, MIN_OPENNESS)]


def _with_lids_up(frames: list[_Frame], eyes_open: list[_Frame]) -> list[_Frame]:
    """Give frames that show lids at rest: those with the `eyes_open`, but where some have the lids down."""
    told = [frame.down for frame in frames if frame.seen.hint is not None]
    limit = np.quantile(told, UP_SHARE) + LIDS_UP if told else np.inf
    if not any(frame.down > limit for frame in eyes_open):
        return eyes_open
    return _spread(_with_eyes_open([frame for frame in frames if frame.down <= limit])) or eyes_open


def _spread(frames: list[_Frame]) -> list[_Frame]:
    if not frames:
        return []
    chosen = np.unique(np.linspace(0, len(frames) - 1, KEPT_FRAMES).round().astype(int))
    return [frames[index] for index in chosen]


def _parts(bench: Fitter) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell the landmarks `[478]` that jaw and lips move most, those that brows and lids do, and of these the lids'."""
    size = np.linalg.norm(bench.landmarks.expression_basis, axis=-1)
    by_mouth = size[[name.startswith(("jaw", "mouth")) for name in FREE_NAMES]].max(0)
    by_brows, by_lids = (size[[name.startswith(part) for name in FREE_NAMES]].max(0) for part in ("brow", "eye"))
    by_eyes = np.maximum(by_brows, by_lids)
    is_of_eyes = by_eyes >= by_mouth
    return ~is_of_eyes, is_of_eyes, is_of_eyes & (by_lids >= by_brows)


def _mean_distance(landmarks: Landmarks, pairs: tuple[tuple[int, int], ...]) -> float:
    first, second = np.array(pairs).T
    return float(np.linalg.norm(landmarks.points_px[first] - landmarks.points_px[second], axis=1).mean())


def turned(angles: NDArray[np.float32]) -> float:
    """Tell how far a head is turned (yaw, pitch, roll; radians), 1 where it just still faces the camera."""
    return float(np.abs(angles / FACING_RAD).max())


def resting(poses: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Give yaw, pitch and roll `[3]` at rest, radians, of a face that nobody asked for it.

    `poses` are those of each while that it was watched, in order.
    """
    rest = np.clip(poses[0], -FACING_RAD, FACING_RAD).astype(np.float32)
    is_still = _watched(poses, STILL_S) and bool(np.ptp(poses, axis=0).max() < STILL_RAD)
    if not (is_still or _watched(poses, SURE_S)):
        return rest
    least = min(poses, key=turned)
    is_shifted = np.minimum(np.abs(poses[0] - rest), np.abs(least - rest)) > SHIFT_RAD
    return np.where(is_shifted, least, rest)


def _watched(poses: Sequence[NDArray[np.float32]], time_s: float) -> bool:
    return len(poses) > UNASKED_S.index(time_s)


def _at_rest(fit: Fit, angles: NDArray[np.float32], gaze: Array) -> Fit:
    """Give a rest that nobody asked for its rotation, and its gaze as far as eyes at rest look aside."""
    rotation = rotation_matrix(angles).astype(np.float64)
    return replace(fit, rotation=rotation, gaze=np.clip(gaze, -MAX_GAZE_RAD, MAX_GAZE_RAD))


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
