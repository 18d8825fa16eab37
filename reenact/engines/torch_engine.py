"""The reference engine: PyTorch, eager, on the CPU."""

from __future__ import annotations

import numpy as np
import torch

from models.generator import SpaceTimeGenerator
from reenact.engines.engine import Array, EngineError, Image
from reenact.engines.live_step import LiveInputs, LiveStep, blend, plate_of
from reenact.window import StemRing, Step


class TorchEngine:
    """Runs the network as it is written; everything else is compared with it."""

    name = "torch"

    def __init__(self, generator: SpaceTimeGenerator, *, precision: str = "fp32", threads: int = 0) -> None:
        """Take a generator in evaluation mode, on the CPU. `threads` of 0 leaves PyTorch's number."""
        if precision not in ("fp32", "bf16"):
            raise EngineError(f"The torch engine computes in fp32 or bf16 on a CPU, not in {precision}.")
        if threads > 0:
            torch.set_num_threads(threads)
        self.precision: str = precision
        config = generator.config
        self._network = LiveStep(generator).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._ring = StemRing(config.window, generator.stem_shape)
        self._inputs = LiveInputs(generator)
        self._plate = plate_of(generator)
        self._block = generator.block
        self._image = np.zeros((config.resolution, config.resolution, 3), np.uint8)
        self._tensors = [torch.from_numpy(array) for array in self._inputs.arrays]

    def generate(self, conditioning: Array, step: Step) -> Image:
        """Turn conditioning `[9, S, S]` float32 into a picture `[S, S, 3]` uint8 RGB."""
        self._inputs.set(conditioning)
        if step is Step.APPEND:
            self._ring.append()
        self._run()
        if step is Step.RESTART and self._ring.past.size:
            self._ring.fill()
            self._run()
        blend(self._painted, self._plate, self._block, self._image)
        return self._image

    def _run(self) -> None:
        past = [torch.from_numpy(self._ring.past)] if self._ring.past.size else []
        is_bf16 = self.precision == "bf16"
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            painted, stem = self._network(*self._tensors, *past)
        np.copyto(self._ring.current, stem.float().numpy())
        self._painted = painted[0].float().contiguous().numpy()

    def close(self) -> None:
        """Free the network."""
        del self._network
