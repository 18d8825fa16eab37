"""The regressor beside the landmarks: its reading of the same face, made while the detector looks.

It sees the whole head, where landmarks lie on what grimaces move, and both eyes through windows of their own, where the
detector's irises lie by a guess: what it says of rotation and gaze steadies the fit.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import numpy as np
from numpy.typing import NDArray

from capture.crop import Crop
from capture.crop_reader import CropReader
from capture.reading import Reading
from capture.regressor_engines import RegressorEngine
from models.camera import Camera
from models.framing import HEAD_M
from models.params import FaceParams
from models.regressor import FaceRegressor

logger = logging.getLogger(__name__)

Image = NDArray[np.uint8]

SURE = 0.5
"""Confidence of a reading from which it is believed."""
ASIDE_M = HEAD_M / 4.0
"""How far to the side of the followed head another one is read, and the reading is not of it."""


class FaceHint:
    """Read a face that others follow; a frame at a time, in a thread of its own."""

    def __init__(self, regressor: FaceRegressor | None = None, engine: RegressorEngine | None = None) -> None:
        """Begin to load what is not given: the weights that ship, on the fastest engine that works.

        Until it is loaded, and where it cannot be, it says nothing; why is in the log.
        """
        self._thread = ThreadPoolExecutor(1, "face-hint")
        self._crop: Crop | None = None
        self._reading: Future[Reading] | None = None
        self._has_failed = False
        self._loaded = self._thread.submit(CropReader, regressor, engine)
        self._loaded.add_done_callback(_report)

    def look(self, image: Image, camera: Camera) -> None:
        """Begin to read a frame `[H, W, 3]`, where the face is known to have been."""
        if self.is_ready and self._crop is not None and self._crop.frame == camera:
            self._reading = self._thread.submit(self._loaded.result().read, image, self._crop)

    def reading(self, head: FaceParams, camera: Camera) -> FaceParams | None:
        """Give what was read of the frame, None where it is not of the face that `head` was.

        `head` is the face as it was followed up to the frame before.
        """
        if not self.is_ready:
            return None
        reading, self._reading = self._reading, None
        try:
            seen = reading.result() if reading is not None else None
        except Exception:  # whatever an engine fails of: the landmarks do without
            logger.exception("the regressor beside the landmarks failed, and is not asked again")
            self._has_failed = True
            return None
        if seen is None or not seen.confidence >= SURE or not _is_near(seen.params, head):
            self._crop = self._loaded.result().around(head, camera)
            return None
        self._crop = self._loaded.result().around(seen.params, camera)
        return seen.params

    @property
    def is_ready(self) -> bool:
        """Whether it is loaded, and has not failed since."""
        return self._is_loaded and not self._has_failed

    @property
    def _is_loaded(self) -> bool:
        return self._loaded.done() and not self._loaded.cancelled() and self._loaded.exception() is None

    def wait(self) -> Self:
        """Wait until it is loaded. Raises as `CropReader` where it cannot be."""
        self._loaded.result()
        return self

    def forget(self) -> None:
        """Forget where the face was."""
        if self._reading is not None:
            self._reading.cancel()
        self._crop = self._reading = None

    def close(self) -> None:
        """Free the network."""
        self._thread.shutdown(cancel_futures=True)
        if self._is_loaded:
            self._loaded.result().close()


def _report(loaded: Future[CropReader]) -> None:
    if not loaded.cancelled() and (error := loaded.exception()) is not None:
        logger.warning("the regressor does not run beside the landmarks: %s", error)


def _is_near(seen: FaceParams, head: FaceParams) -> bool:
    """Say whether two heads lie in one place of the picture, however far off each is taken to be."""
    if not np.isfinite(seen.pack()).all() or not (seen.translation[2] < 0.0 and head.translation[2] < 0.0):
        return False
    aside = seen.translation[:2] / seen.translation[2] - head.translation[:2] / head.translation[2]
    return bool(np.linalg.norm(aside) * -head.translation[2] < ASIDE_M)
