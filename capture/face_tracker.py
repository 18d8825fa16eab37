"""What all trackers are: followers of one face through a video, with what they know of the person kept apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from capture.personal import Personal
from capture.smoothing import FaceSmoother, SmoothingSettings
from capture.track import Track
from models.camera import Camera


class KnownPerson(Protocol):
    """What a tracker learned of the person."""

    def reset(self) -> None:
        """Forget the person."""
        ...

    def settle(self) -> None:
        """Take over all that was learned at once; nothing more is learned until `reset`."""
        ...


class FaceTracker(ABC):
    """Follow one face through a video. Frames must come in order of time. Owns native resources: `close()` it."""

    name: ClassVar[str]
    _person: KnownPerson
    _smoother: FaceSmoother

    @abstractmethod
    def process(self, image: NDArray[np.uint8], time_s: float, camera: Camera | None = None) -> Track:
        """Track the face in `image [H, W, 3]` uint8 RGB seen at `time_s`; a common webcam is assumed without `camera`.

        No face is a value. Raises `ValueError` for an array that is no image.
        """

    @abstractmethod
    def learn(self) -> None:
        """Learn of the person from the last frame, which costs several milliseconds now and then.

        Whoever is in a hurry calls it once the frame is shown; otherwise the next frame begins with it.
        """

    @abstractmethod
    def mesh_px(self) -> NDArray[np.float32] | None:
        """Give the tracked face as its landmarks `[478, 2]` (u, v) in pixels of the last frame; None without one."""

    @property
    @abstractmethod
    def is_calibrating(self) -> bool:
        """Whether a neutral pose that was asked for is being watched."""

    @abstractmethod
    def calibrate(self) -> None:
        """Take the next second of the face, whatever it shows, for its neutral pose and expression."""

    @abstractmethod
    def personal(self) -> Personal | None:
        """Give what is known of the person, for `restore`; None before it was measured."""

    @abstractmethod
    def restore(self, personal: Personal) -> None:
        """Take over what `personal` gave in another session. Raises `ValueError` for another tracker's."""

    @abstractmethod
    def close(self) -> None:
        """Free what the tracker holds."""

    @abstractmethod
    def _forget_past(self) -> None:
        """Begin as before the first frame, but for what is known of the person."""

    def apply(self, settings: SmoothingSettings) -> None:
        """Smooth with other settings from the next frame on."""
        self._smoother.settings = settings

    def reset(self) -> None:
        """Forget the person: identity, neutral pose and the past."""
        self._forget_past()
        self._person.reset()

    def restart(self) -> None:
        """Begin another pass over a video: what was learned of the person stays, the past is forgotten."""
        self.learn()
        self._forget_past()
        self._person.settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_own(self, personal: Personal) -> None:
        if personal.tracker != self.name:
            raise ValueError(f"The calibration is of the tracker {personal.tracker!r}, and {self.name!r} runs.")
