"""What the frames of a video say of the face before all of them are fitted: landmarks, and the regressor's reading."""

from __future__ import annotations

from contextlib import suppress
from typing import Self

import numpy as np
from numpy.typing import NDArray

from capture.face_hint import FaceHint
from capture.landmarks import Landmarks
from capture.regressor_engines import RegressorEngineError
from capture.select_tracker import choose_tracker
from capture.tracker import Tracker
from models.camera import Camera
from models.params import FaceParams


class FaceReader:
    """Read frame after frame, in order of time. Owns native resources: `close()` it."""

    def __init__(self) -> None:
        """Load the detector, and the regressor where a live tracker would be `both` too."""
        hint = FaceHint() if choose_tracker().name == "both" else None
        if hint is not None:
            with suppress(FileNotFoundError, ValueError, RegressorEngineError):  # the log says why
                hint.wait()
        self._tracker = Tracker(hint=hint)

    def read(
        self, image: NDArray[np.uint8], time_s: float, camera: Camera
    ) -> tuple[Landmarks | None, FaceParams | None]:
        """Give landmarks and reading of the face in `image [H, W, 3]`; None for what is not there."""
        self._tracker.process(image, time_s, camera)
        return self._tracker.seen

    def close(self) -> None:
        """Free the networks."""
        self._tracker.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
