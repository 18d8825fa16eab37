"""The live path from image to face parameters: detect, fit, calibrate, smooth, and bridge the gaps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from capture.binding import LandmarkBinding
from capture.calibration import Seen
from capture.face_hint import FaceHint
from capture.face_tracker import FaceTracker
from capture.fitting import Fitter
from capture.landmark_model import FREE, FREE_NAMES, Fit
from capture.landmarks import LandmarkDetector, Landmarks
from capture.lids import lid_weights
from capture.own_shape import measure_own_shape
from capture.person import EASE_S, Person
from capture.personal import Personal
from capture.smoothing import FaceSmoother, SmoothingSettings
from capture.track import Bridge, Track, blend
from models.camera import Camera
from models.face import FaceModel
from models.params import FaceParams

__all__ = ["Track", "Tracker"]

SETTLED_S = 10 * EASE_S
"""Time after which an estimate counts as taken over."""
HEARD_S = 0.025
"""Least time from one frame that is learned from to the next: a person does not change, and 60 frames a second say no
more of them than 30."""
GOOD_ERROR_M, BAD_ERROR_M = 0.002, 0.008
"""Fitting errors of full and of no confidence."""


class Tracker(FaceTracker):
    """Follow a face by its landmarks."""

    name = "landmarks"
    _person: Person

    def __init__(
        self,
        settings: SmoothingSettings | None = None,
        *,
        model: FaceModel | None = None,
        detects: bool = True,
        hint: FaceHint | None = None,
    ) -> None:
        """Load the detector, the binding and, unless given, the face model; compile what must be compiled.

        Without `detects` only `process_landmarks` can be called. A `hint` is asked for each frame, and closed with the
        tracker.
        """
        model = model or FaceModel.load()
        binding = LandmarkBinding.load()
        self._detector = LandmarkDetector() if detects else None
        self._hint = hint
        self._fitter = Fitter(model, binding)
        self._fitter.warm_up()
        self._person = Person(self._fitter, Fitter(model, binding))
        self._smoother = FaceSmoother(settings or SmoothingSettings())
        self._bridge = Bridge()
        self._forget_past()

    @override
    def _forget_past(self) -> None:
        if self._detector is not None:
            self._detector.reset()
        if self._hint is not None:
            self._hint.forget()
        self._fitter.reset()
        self._smoother.reset()
        rest = FaceParams.neutral()
        self._rest = rest
        self._neutral = rest
        self._neutral_fit: Fit | None = None
        self._neutral_age_s = 0.0
        self._bridge.reset()
        self._points_px: NDArray[np.float32] | None = None
        self.seen: tuple[Landmarks | None, FaceParams | None] = None, None
        """What detector and hint said of the last frame, as it is."""
        self._unheard: tuple[Seen, float, float] | None = None
        self._since_heard_s = 0.0

    @override
    def process(self, image: NDArray[np.uint8], time_s: float, camera: Camera | None = None) -> Track:
        if self._detector is None:
            raise ValueError("tracker: made without a detector, it takes landmarks only")
        camera = camera or Camera.webcam(image.shape[1], image.shape[0])
        if self._hint is not None:
            self._hint.look(image, camera)
        found = self._detector.detect(image)
        hint = self._read_hint(found, camera)
        track = self.process_landmarks(found, time_s, camera, hint)
        self.seen = found, hint
        return track

    def _read_hint(self, found: Landmarks | None, camera: Camera) -> FaceParams | None:
        """Give what the hint says of this frame, where a face is followed that it may be about."""
        if self._hint is None:
            return None
        if found is None or self._fitter.last is None:
            self._hint.forget()
            return None
        return self._hint.reading(self._params(self._fitter.last), camera)

    def process_landmarks(
        self, found: Landmarks | None, time_s: float, camera: Camera, hint: FaceParams | None = None
    ) -> Track:
        """Track from landmarks that were detected elsewhere; None is no face. `hint` is that of `Fitter.fit`."""
        self.learn()
        elapsed_s = self._bridge.advance(time_s)
        self._points_px = found.points_px if found is not None else None
        if found is None:
            shown, state = self._bridge.without_face(time_s, self._neutral)
            return Track(shown, state, 0.0, 0, self._neutral, None)
        first = self._bridge.is_first
        if self._bridge.meet(time_s):
            self._fitter.reset()
            self._smoother.reset()
        fit = self._fitter.fit(found.points_px, camera, found.depth_px, hint=hint)
        self._since_heard_s += 0.0 if first else elapsed_s
        if first or self._since_heard_s >= HEARD_S:
            self._unheard = (Seen(found, camera, fit, hint), time_s, self._since_heard_s)
            self._since_heard_s = 0.0
        if first:
            self.learn()
        params = self._bridge.show(self._smoother(self._params(fit), time_s), time_s, elapsed_s)
        confidence = float(np.clip((BAD_ERROR_M - fit.error_m) / (BAD_ERROR_M - GOOD_ERROR_M), 0.0, 1.0))
        return Track(params, "tracked", confidence, found.num_faces, self._neutral, found.points_px)

    def fit_expression(
        self, found: Landmarks, params: FaceParams, camera: Camera, hint: FaceParams | None = None
    ) -> FaceParams:
        """Fit gaze and expression anew to a frame whose pose is that of `params`; `hint` is that of the fitter."""
        return self._params(self._fitter.fit_expression(found.points_px, camera, _fit_of(params), hint))

    def learn_shape(
        self,
        found: Sequence[Landmarks],
        frames: Sequence[FaceParams],
        camera: Camera,
        hints: Sequence[FaceParams | None],
    ) -> NDArray[np.float64]:
        """Find where the person's landmarks lie off the model's in frames whose pose is known, for `fit_expression`.

        Gives offsets `[478, 3]`, metres, head frame: see `capture.own_shape`.
        """
        points_px = [landmarks.points_px for landmarks in found]
        return measure_own_shape(self._fitter, points_px, camera, [_fit_of(frame) for frame in frames], hints)

    @override
    def learn(self) -> None:
        if self._unheard is None:
            return
        (seen, time_s, elapsed_s), self._unheard = self._unheard, None
        self._person.learn(seen, time_s, elapsed_s)
        self._ease_neutral(elapsed_s)

    @override
    def mesh_px(self) -> NDArray[np.float32] | None:
        return self._points_px

    @property
    def error_m(self) -> float:
        """Root mean square distance of the last frame's landmarks from the fitted face, metres; NaN before any."""
        return self._fitter.last.error_m if self._fitter.last is not None else float("nan")

    @property
    @override
    def is_calibrating(self) -> bool:
        return self._person.is_calibrating

    @override
    def calibrate(self) -> None:
        self._person.calibrate()

    @override
    def personal(self) -> Personal | None:
        rest = self._person.neutral
        if rest is None:
            return None
        neutral, (identity, offsets) = self._params(rest), self._person.target
        return Personal(
            tracker=self.name,
            identity=identity.astype(np.float32),
            expression=neutral.expression,
            rotation=neutral.rotation,
            translation=neutral.translation,
            gaze=neutral.gaze,
            gain=np.ones_like(neutral.expression),
            offsets=offsets.astype(np.float32),
        )

    @override
    def restore(self, personal: Personal) -> None:
        self._check_own(personal)
        if personal.offsets is None:
            raise ValueError("The calibration lacks where this person's landmarks lie.")
        self.reset()
        rest = Fit.posed(personal, np.zeros(len(FREE_NAMES)))
        self._person.restore(personal.identity.astype(np.float64), personal.offsets.astype(np.float64), rest)

    @override
    def close(self) -> None:
        """Free the detector and the hint."""
        if self._detector is not None:
            self._detector.close()
        if self._hint is not None:
            self._hint.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _params(self, fit: Fit) -> FaceParams:
        return self._rest.replace(
            identity=self._person.identity.astype(np.float32),
            expression=lid_weights(fit.expression, self._fitter.lid_scale),
            rotation=fit.angles,
            translation=fit.translation.astype(np.float32),
            gaze=fit.gaze.astype(np.float32),
        )

    def _ease_neutral(self, elapsed_s: float) -> None:
        assert self._person.neutral is not None  # learning precedes
        if self._person.neutral is self._neutral_fit and self._neutral_age_s > SETTLED_S:
            return
        self._neutral_age_s = self._neutral_age_s + elapsed_s if self._person.neutral is self._neutral_fit else 0.0
        self._neutral_fit = self._person.neutral
        target = self._params(self._person.neutral)
        share = 1.0 - float(np.exp(-elapsed_s / EASE_S)) if elapsed_s > 0.0 else 1.0
        self._neutral = blend(self._neutral, target, share)


def _fit_of(params: FaceParams) -> Fit:
    """Turn `params` of one frame back into what is fitted."""
    return Fit.posed(params, params.expression[FREE].astype(np.float64))
