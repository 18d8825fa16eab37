"""A session that only watches: the source is tracked, and how much of their face was seen is told, for enrolment."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capture.coverage import Coverage
from capture.face_tracker import FaceTracker
from capture.personal import Personal
from capture.tracker import Tracker
from models.camera import Camera
from reenact.credentials import Origin
from reenact.face_change import FaceChange
from reenact.mark.message import Message
from reenact.reenactor import Reenacted

NAME = "@observer"
"""No actor can have this name."""
SIDE = 128
NOTHING = "0" * 64


class Observer:
    """Stands where a reenactor does, and generates nothing: every picture is black."""

    engine_name = "none"
    engine_reason = "nothing is generated during enrolment"
    tracker_name = "landmarks"
    tracker_reason = "enrolment measures by landmarks"
    resolution = SIDE
    may_improve = False
    """Whether to open it anew could bring a better engine back: it has none."""

    def __init__(self) -> None:
        self._tracker: FaceTracker | None = None
        self._coverage = Coverage()
        self._black = np.zeros((SIDE, SIDE, 3), np.uint8)
        self._seen_px = (1, 1)
        self.origin = Origin(
            actor=NAME, actor_title="Nobody", actor_sha256=NOTHING, consent={}, mark="", label="", label_reason=""
        )

    @property
    def coverage(self) -> dict[str, float]:
        """How much of each of `capture.coverage.AIMS` was seen since the session began, 0 to 1."""
        return self._coverage.shares()

    def warm_up(self) -> None:
        """Load the tracker."""
        self._tracker = self._tracker or Tracker()

    def begin(self, session: str) -> Message:
        """Say what a mark would: nothing here bears one."""
        return Message.of(session, NOTHING)

    def show(self, looked: Reenacted) -> Reenacted:
        """Add nothing to what `look` gave."""
        return looked

    def look(self, image: NDArray[np.uint8], time_s: float) -> Reenacted:
        """Track one frame `[H, W, 3]` uint8 RGB."""
        self.warm_up()
        assert self._tracker is not None
        height, width = image.shape[:2]
        self._seen_px = (width, height)
        began = time.perf_counter()
        track = self._tracker.process(image, time_s, Camera.webcam(width, height))
        self._coverage.add(track, time_s)
        tracked_ms = 1000.0 * (time.perf_counter() - began)
        return Reenacted(
            image=self._black,
            state=track.state,
            confidence=track.confidence,
            num_faces=track.num_faces,
            is_calibrating=self._tracker.is_calibrating,
            stages_ms={"track": tracked_ms},
        )

    def puppet(self, numbers: FaceChange) -> None:
        """Nothing here is moved."""

    def edit(self, change: FaceChange) -> None:
        """Nothing here is moved."""

    def learn(self) -> None:
        """Learn of the source from the last frame."""
        if self._tracker is not None:
            self._tracker.learn()

    def apply(self, settings: Any) -> None:  # noqa: ANN401
        """Nothing here can be set."""

    def mesh(self) -> NDArray[np.float32] | None:
        """Give the tracked landmarks `[478, 2]` as shares of the last frame's width and height, or None."""
        points_px = self._tracker.mesh_px() if self._tracker is not None else None
        return None if points_px is None else (points_px / np.array(self._seen_px)).astype(np.float32)

    def calibrate(self) -> None:
        """Measure the face at rest anew."""
        if self._tracker is not None:
            self._tracker.calibrate()

    def personal(self) -> Personal | None:
        """Nothing of it is kept."""
        return None

    def restore(self, personal: Personal) -> None:
        """Nothing of another session is of use."""

    def fall_back(self) -> None:
        """No engine runs."""

    def reset(self) -> None:
        """Forget the source, and what was seen of them."""
        if self._tracker is not None:
            self._tracker.reset()
        self._coverage.reset()

    def close(self) -> None:
        """Free the tracker."""
        if self._tracker is not None:
            self._tracker.close()
            self._tracker = None
