"""What of a picture is the person in it: MediaPipe's selfie segmentation, for whole videos."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from capture.solutions import on_own_thread, silence, solution

Image = NDArray[np.uint8]
Array = NDArray[np.float32]


class PersonMask:
    """Tell a person, hair and clothes included, from what is behind.

    Owns native resources: `close()` it, or use it as a context manager.
    """

    def __init__(self) -> None:
        """Load the network out of the wheel of mediapipe; nothing is downloaded."""
        with silence():
            segmentation = on_own_thread(solution("selfie_segmentation").SelfieSegmentation)
            self._network: Any = segmentation(model_selection=0)
            self._network.process(np.zeros((64, 64, 3), np.uint8))  # the first run prints too

    def look(self, picture: Image) -> Array:
        """Give how far each pixel of `picture [H, W, 3]` RGB is the person, `[H, W]` 0 to 1."""
        return np.array(self._network.process(np.ascontiguousarray(picture)).segmentation_mask, np.float32)

    def close(self) -> None:
        """Free the network. The mask cannot be used afterwards."""
        self._network.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
