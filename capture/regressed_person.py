"""What is learned of a person from the regressor's readings: who they are, their face at rest, how far lids close."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capture.calibration import (
    ASKED_S,
    MAX_GAZE_RAD,
    MIN_FRAMES,
    MIN_INTERVAL_S,
    OWN_WEIGHT,
    OWN_WEIGHT_OF_EYES,
    UNASKED_S,
    resting,
)
from capture.track import blend
from models.params import BLINKS, EXPRESSION_INDEX, EXPRESSION_NAMES, EXPRESSION_REACH, EXPRESSION_SIZE, FaceParams

Array = NDArray[np.float32]

EASE_S = 0.4
"""Time constant at which a new rest is taken over, so that learning makes no jump."""
MEMORY_S = 20.0
"""Identity and reflectance are averages over the session until it is this long, then over about as much of it."""
OUTLIER = 1.5
"""Coefficients of one frame that lie further than this from the average, in standard deviations, root mean square, pull
no harder (Huber)."""
REST_QUANTILE = 0.3
"""Unasked, a face is taken to be at rest, each shape for itself, in this share of the frames."""
SHUT = 0.45
"""A lid that closes further than this and opens again has blinked."""
OPENED = 0.7
"""Share of a blink's peak below which the blink is over."""
MIN_BLINKS = 3
MAX_GAIN = 1.6
"""A lid that never seems to close further than 1 / 1.6 is not known to be shut; no other shape is stretched further."""

RANGE_S = 3.0
"""After the neutral face someone who calibrates shows how far theirs moves, this long."""
RANGE = {
    "eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0, "jawOpen": 0.7, "mouthSmileLeft": 0.7, "mouthSmileRight": 0.7,
    "mouthPucker": 0.7, "browInnerUp": 0.7, "browOuterUpLeft": 0.7, "browOuterUpRight": 0.7, "browDownLeft": 0.7,
    "browDownRight": 0.7,
}  # fmt: skip
"""What someone who is asked to show it is taken to mean by their furthest, in shares of a shape's reach: shut lids, and
of the others what people usually show."""
RANGE_QUANTILE = 0.96
"""A face is at its furthest in the rest of the frames; single ones are noise."""
MIN_RANGE = 0.25
"""A shape that moves less than this was not shown."""
MIN_GAIN = 0.75

_OWN = np.array(
    [OWN_WEIGHT_OF_EYES if name.startswith(("brow", "eye")) else OWN_WEIGHT for name in EXPRESSION_NAMES], np.float32
)


@dataclass(frozen=True, slots=True)
class _Look:
    params: FaceParams
    time_s: float


class RegressedPerson:
    """Keep identity, reflectance, the face at rest and the gain of expressions up to date while someone is tracked."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the person."""
        nobody = FaceParams.neutral()
        self.identity: Array = nobody.identity.copy()
        """`[80]` average over the session."""
        self.reflectance: Array = nobody.reflectance.copy()
        """`[80]` the same."""
        self.gain: Array = np.ones(EXPRESSION_SIZE, np.float32)
        """`[52]` on each expression's distance from rest. Unasked, lids alone get one other than 1: all lids shut when
        they blink, while no jaw is known to be wide open."""
        self.neutral = nobody
        """The face at rest."""
        self._rest: FaceParams | None = None
        self._heard_s = 0.0
        self._dues = list(UNASKED_S)
        self._is_asked = self._is_settled = False
        self._looks: list[_Look] = []
        self._poses: list[FaceParams] = []
        self._seen = 0
        self._peaks: tuple[list[float], list[float]] = ([], [])
        self._rising = [0.0, 0.0]
        self._shown: list[Array] = []
        self._range_end_s: float | None = None

    def calibrate(self) -> None:
        """Take the next second of the face, whatever it shows, for its rest, and the three after it for its range."""
        self._looks, self._poses, self._seen, self._dues, self._is_asked = [], [], 0, [ASKED_S], True
        self._range_end_s = None

    def settle(self) -> None:
        """Take over all that is known at once, and learn no more until `reset` or `calibrate`."""
        if self._rest is not None:
            self.neutral = self._rest
        self._is_settled, self._is_asked, self._dues, self._range_end_s = True, False, [], None

    def restore(self, rest: FaceParams, gain: Array) -> None:
        """Take over what another session learned of the same person: identity and rest, and the gain `[52]`."""
        self.reset()
        self.identity, self.gain = rest.identity.copy(), gain.copy()
        self.neutral = self._rest = rest
        self._heard_s, self._dues = MEMORY_S, []

    @property
    def rest(self) -> FaceParams:
        """Newest estimate of the face at rest, towards which `neutral` eases."""
        return self.neutral if self._rest is None else self._rest

    @property
    def is_calibrating(self) -> bool:
        """Whether a rest, or a range, that was asked for is being watched."""
        return self._is_asked

    def stretched(self, expression: Array) -> Array:
        """Apply the gain around rest to weights `[52]`."""
        rest = self.neutral.expression
        return np.clip(rest + self.gain * (expression - rest), 0.0, EXPRESSION_REACH)

    def hear(self, params: FaceParams, time_s: float, elapsed_s: float) -> None:
        """Hear one reading, `elapsed_s` after the last one, expressions without gain."""
        if not self._is_settled:
            self._average(params, elapsed_s)
            self._watch_lids(params.expression)
        if self._range_end_s is not None:
            self._watch_range(params.expression, time_s, self._range_end_s)
        if self._dues:
            self._watch(params, time_s)
        if self._rest is not None:
            rest = self._rest.replace(identity=self.identity, reflectance=self.reflectance)
            self.neutral = blend(self.neutral, rest, 1.0 - float(np.exp(-elapsed_s / EASE_S)) if elapsed_s else 1.0)

    def _average(self, params: FaceParams, elapsed_s: float) -> None:
        first = self._heard_s == 0.0
        # The first frame counts as a tenth of a second: what follows outweighs it soon.
        self._heard_s = min(self._heard_s + (0.1 if first else elapsed_s), MEMORY_S)
        share = 1.0 if first else elapsed_s / self._heard_s
        for name in ("identity", "reflectance"):
            known = getattr(self, name)
            away = getattr(params, name) - known
            distance = float(np.sqrt(np.mean(away**2)))
            pull = 1.0 if first else min(OUTLIER / max(distance, 1e-6), 1.0)
            setattr(self, name, (known + share * pull * away).astype(np.float32))

    def _watch(self, params: FaceParams, time_s: float) -> None:
        if self._looks and time_s - self._looks[-1].time_s < MIN_INTERVAL_S:
            return
        self._looks.append(_Look(params, time_s))
        if self._rest is None:
            self._rest = _plausible(params, [params])
        seen_s = time_s - self._looks[0].time_s
        if seen_s < self._dues[0] or len(self._looks) < MIN_FRAMES:
            return
        self._dues = [due for due in self._dues if due > seen_s]
        self._poses.append(_median(self._looks[self._seen :]))
        self._seen = len(self._looks)
        if self._is_asked:
            self._rest, self._shown, self._range_end_s = self._poses[0], [], time_s + RANGE_S
        else:
            lowest = np.quantile([look.params.expression for look in self._looks], REST_QUANTILE, axis=0)
            gaze = np.median([look.params.gaze for look in self._looks], axis=0)
            # Pose as it was in the first second: a later one would shift everything shown since.
            rest = _plausible(self._poses[0].replace(gaze=gaze.astype(np.float32)), self._poses)
            self._rest = rest.replace(expression=np.minimum(lowest, _OWN).astype(np.float32))
        if not self._dues:
            self._looks = []

    def _watch_range(self, expression: Array, time_s: float, end_s: float) -> None:
        self._shown.append(expression)
        if time_s < end_s:
            return
        furthest = np.quantile(self._shown, RANGE_QUANTILE, axis=0)
        for name, full in RANGE.items():
            index = EXPRESSION_INDEX[name]
            rest = float(self.rest.expression[index])
            moved = float(furthest[index]) - rest
            if moved >= MIN_RANGE:
                self.gain[index] = np.clip((full * EXPRESSION_REACH[index] - rest) / moved, MIN_GAIN, MAX_GAIN)
        self._shown, self._range_end_s, self._is_asked = [], None, False

    def _watch_lids(self, expression: Array) -> None:
        for side, index in enumerate(BLINKS):
            weight = float(expression[index])
            self._rising[side] = max(self._rising[side], weight)
            peak = self._rising[side]
            if weight > OPENED * peak:
                continue
            self._rising[side] = weight
            if peak < SHUT:
                continue
            peaks = self._peaks[side]
            peaks.append(peak)
            del peaks[:-20]
            if len(peaks) >= MIN_BLINKS:
                rest = float(self.neutral.expression[index])
                gain = (1.0 - rest) / max(float(np.median(peaks)) - rest, 1e-3)
                self.gain[index] = np.clip(gain, 1.0, MAX_GAIN)


def _median(looks: list[_Look]) -> FaceParams:
    """Take the median of each parameter; rotation is that of the frame nearest to its angles' median."""
    frames = [look.params for look in looks]
    middle = np.median([frame.rotation for frame in frames], axis=0)
    nearest = min(frames, key=lambda frame: float(np.abs(frame.rotation - middle).sum()))
    medians = {
        name: np.median([getattr(frame, name) for frame in frames], axis=0).astype(np.float32)
        for name in ("expression", "translation", "gaze")
    }
    return nearest.replace(**medians)


def _plausible(rest: FaceParams, poses: list[FaceParams]) -> FaceParams:
    """Bring a rest that nobody asked for to what someone at a camera shows, who was seen in `poses`."""
    return rest.replace(
        expression=np.minimum(rest.expression, _OWN),
        rotation=resting([pose.rotation for pose in poses]),
        gaze=np.clip(rest.gaze, -MAX_GAZE_RAD, MAX_GAZE_RAD).astype(np.float32),
    )
