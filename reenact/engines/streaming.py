"""What every engine on the CPU does around its network: lay out the inputs, keep the window, blend the picture."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from models.generator import SpaceTimeGenerator
from reenact.engines.engine import Array, Image
from reenact.engines.live_kernels import blender, softener
from reenact.engines.live_step import LiveInputs, live_block, plate_of
from reenact.window import StemRing, Step


class StreamingEngine(ABC):
    """Runs a form of `LiveStep`, frame after frame, on arrays of its own."""

    _painted: Array
    """`[H / b, W / b, b * b * 4]`: paint and mask of the last run."""

    def __init__(self, generator: SpaceTimeGenerator, *, is_half: bool = False) -> None:
        """Make the arrays for `generator`, in evaluation mode; the largest in bfloat16 if `is_half`."""
        size = generator.config.resolution
        self._ring = StemRing(generator.config.window, generator.stem_shape)
        self._inputs = LiveInputs(generator, is_half=is_half)
        self._plate = plate_of(generator)
        self._block = live_block(generator)
        self._blend = blender(generator.block, generator.config.magnification)
        self._soften = softener() if generator.is_softened else None
        self._image = np.zeros((size, size, 3), np.uint8)

    def generate(self, conditioning: Array, step: Step, face: Array | None = None) -> Image:
        """Turn conditioning `[9, S, S]` float32, of a face of these numbers, into a picture `[S, S, 3]` uint8 RGB."""
        self._inputs.set(conditioning, face)
        if step is Step.APPEND:
            self._ring.append()
        self._run()
        if step is Step.RESTART and self._ring.past.size:
            self._ring.fill()
            self._run()
        self._blend(self._painted, self._plate, self._image)
        if self._soften is not None:
            self._soften(conditioning, self._image)
        return self._image

    @abstractmethod
    def _run(self) -> None:
        """Run the network on the inputs and the ring's past: into `_painted`, and the ring's current place."""
