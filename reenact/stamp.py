"""The last step of every generated picture, live or offline: the label for people, the mark for machines."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from reenact.actor import Actor
from reenact.credentials import Origin
from reenact.label import DisclosureSettings, Label
from reenact.mark.embed import Marker
from reenact.mark.message import Message


class Stamp:
    """Label and mark the pictures of one session with one actor."""

    def __init__(self, session: str, actor: Actor, settings: DisclosureSettings | None = None) -> None:
        """Remember who makes the pictures: `session` is the session's name, of which the mark carries a hash."""
        self.message = Message.of(session, actor.fingerprint)
        self._actor = actor
        self._settings = settings or DisclosureSettings()
        self.origin = Origin.of(actor, self.message, self._settings)
        """What content credentials say of the pictures; another object after a change."""
        self._marker: Marker | None = None
        self._label: Label | None = None
        self.stages_ms: dict[str, float] = {"mark": 0.0}
        """Time that the last picture took."""

    def change(self, settings: DisclosureSettings) -> None:
        """Label otherwise from the next picture on."""
        if settings != self._settings:
            self._settings, self._label = settings, None
            self.origin = Origin.of(self._actor, self.message, settings)

    def apply(self, image: NDArray[np.uint8], time_s: float) -> None:
        """Label and mark a picture `[H, W, 3]` uint8 RGB shown at `time_s`, in place."""
        began = time.perf_counter()
        height, width = image.shape[:2]
        if self._settings.is_shown:
            if self._label is None:
                self._label = Label(self._settings.words, self._settings.place, height, width)
            self._label.apply(image)
        if self._marker is None:
            self._marker = Marker(self.message, height, width)
        self._marker.apply(image, time_s)
        self.stages_ms = {"mark": 1000.0 * (time.perf_counter() - began)}
