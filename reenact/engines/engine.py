"""What every engine offers: one live frame in, one picture out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reenact.window import Step

Array = NDArray[np.float32]
Image = NDArray[np.uint8]


class EngineError(Exception):
    """An engine cannot run here; the message is one sentence for people."""


class Engine(Protocol):
    """A generator made ready to run. Keeps the window of stem outputs by itself, where its device is.

    Used from one thread. `generate` gives a view of its own memory, valid until the next call.
    """

    name: str
    """torch, openvino, ..."""
    precision: str
    """fp32, bf16 or int8."""

    def generate(self, conditioning: Array, step: Step, face: Array | None = None) -> Image:
        """Turn conditioning `[9, S, S]` float32, contiguous, into a picture `[S, S, 3]` uint8 RGB.

        `face [F]` is what `models.face_numbers` says of the frame: colours that change with it stay without as they
        were, at first as they are on average.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds; it cannot be used afterwards."""
        ...
