"""What is learned of the person in front of the camera while they are tracked: their face, and how it looks at rest."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from capture.calibration import Calibration, Rest, Seen
from capture.fitting import Fitter
from capture.identity import IdentityEstimator
from capture.landmark_model import Fit

Array = NDArray[np.float64]

EASE_S = 0.4
"""Time constant at which a new estimate is taken over, so that learning makes no jump."""
FITS_PER_S = 60.0
"""Fits that a measurement of the rest may take beside the running one, at most one a frame: each takes as long as the
frame's own, and a person does not change."""


class Person:
    """Keep the fitter's face that of the person: identity and offsets in the fitter, the rest in `neutral`."""

    def __init__(self, fitter: Fitter, bench: Fitter) -> None:
        """`fitter` fits the frames; `bench` is a second one, to measure beside it."""
        self._fitter = fitter
        self._bench = bench
        self._identity = IdentityEstimator(fitter)
        self.reset()

    def reset(self) -> None:
        """Forget the person: back to the average face, and watch for its rest."""
        self._identity.reset()
        self._fitter.forget_person()
        self._bench.forget_person()
        self._watched: Calibration | None = Calibration(is_asked=False)
        self._measured: Calibration | None = None
        self._measuring: Generator[None, None, Rest] | None = None
        self._measuring_identity = self._identity.target
        self._has_news = self._is_asked = self._is_settled = False
        self._credit = 0.0
        self._target = (self._identity.target, np.zeros_like(self._fitter.offsets))
        self._familiarity = 0.0
        self.neutral: Fit | None = None
        """Newest estimate of the person at rest; None before the first frame."""

    def calibrate(self) -> None:
        """Take the next second of the face, whatever it shows, for its rest."""
        self._watched = Calibration(is_asked=True)
        self._is_asked = True

    def settle(self) -> None:
        """Finish what is being measured and take all of it over at once; nothing more is learned until `reset`."""
        self._watched = None
        while self._measured is not None and (self._measuring is not None or self._has_news):
            self._measure(self._measured, 1000)
        self._fitter.set_identity(*self._target, familiarity=self._familiarity)
        self._is_settled = True

    def restore(self, identity: Array, offsets: Array, rest: Fit) -> None:
        """Take over what another session measured of the same person; nothing more is learned until `reset`."""
        self.reset()
        self._watched = None
        self._target, self._familiarity = (identity, offsets), 1.0
        self._fitter.set_identity(identity, offsets)
        self.neutral = rest
        self._is_settled = True

    @property
    def is_calibrating(self) -> bool:
        """Whether a rest that was asked for is being watched or measured."""
        return self._is_asked

    @property
    def target(self) -> tuple[Array, Array]:
        """Newest estimate of identity `[80]` and offsets `[478, 3]`, towards which the fitter's ease."""
        return self._target

    @property
    def identity(self) -> Array:
        """`[80]` alpha as used in fitting."""
        return self._fitter.identity

    def learn(self, seen: Seen, time_s: float, elapsed_s: float) -> None:
        """Hear one fitted frame, `elapsed_s` after the last one."""
        if self._is_settled and not self._is_asked:
            return
        self._has_news |= self._identity.update(seen.landmarks.points_px, seen.camera, seen.fit, time_s)
        self._watch(seen, time_s)
        if self._measured is None:
            self._target = (self._identity.target, self._target[1])
        else:
            self._credit = min(self._credit + FITS_PER_S * elapsed_s, 1.0)
            if self._credit >= 1.0:
                self._credit -= 1.0
                self._measure(self._measured, 1)
        self._ease(float(1.0 - np.exp(-elapsed_s / EASE_S)))

    def _watch(self, seen: Seen, time_s: float) -> None:
        watched = self._watched
        if watched is None:
            return
        if watched.add(seen, time_s):
            self._measured, self._has_news = watched, True
            self._measuring = None if watched.is_asked else self._measuring  # the former rest is of no more interest
        elif self._measured is None:
            self.neutral = watched.usual()
        if watched.is_complete:
            self._watched = None

    def _measure(self, calibration: Calibration, steps: int) -> None:
        """Take some steps of a measurement; identity and the offsets from it are taken over together."""
        if self._measuring is None:
            if not self._has_news:
                return
            self._has_news = False
            self._measuring_identity = self._identity.target
            self._measuring = calibration.measure(self._bench, self._measuring_identity)
        try:
            for _ in range(steps):
                next(self._measuring)
        except StopIteration as finished:
            rest: Rest = finished.value
            self._target, self._familiarity = (self._measuring_identity, rest.offsets), 1.0
            self.neutral = rest.fit
            self._measuring = None
            self._is_asked = self._is_asked and not calibration.is_asked

    def _ease(self, share: float) -> None:
        fitter = self._fitter
        identity, offsets = self._target[0] - fitter.identity, self._target[1] - fitter.offsets
        familiarity = self._familiarity - fitter.familiarity
        if max(np.abs(identity).max(), 1e3 * np.abs(offsets).max(), abs(familiarity)) > 1e-3:
            fitter.set_identity(
                fitter.identity + share * identity,
                fitter.offsets + share * offsets,
                familiarity=fitter.familiarity + share * familiarity,
            )
