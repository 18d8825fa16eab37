"""The reference engine: PyTorch, eager, on the CPU."""

from __future__ import annotations

import numpy as np
import torch
from typing_extensions import override

from models.generator import SpaceTimeGenerator
from reenact.engines.engine import EngineError
from reenact.engines.live_step import LiveStep
from reenact.engines.streaming import StreamingEngine


class TorchEngine(StreamingEngine):
    """Runs the network as it is written; everything else is compared with it."""

    name = "torch"

    def __init__(self, generator: SpaceTimeGenerator, *, precision: str = "fp32", threads: int = 0) -> None:
        """Take a generator in evaluation mode, on the CPU. `threads` of 0 leaves PyTorch's number."""
        if precision not in ("fp32", "bf16"):
            raise EngineError(f"The torch engine computes in fp32 or bf16 on a CPU, not in {precision}.")
        if threads > 0:
            torch.set_num_threads(threads)
        self.precision: str = precision
        super().__init__(generator)
        self._network = LiveStep(generator).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._tensors = [torch.from_numpy(array) for array in self._inputs.arrays]

    @override
    def _run(self) -> None:
        past = [torch.from_numpy(self._ring.past)] if self._ring.past.size else []
        is_bf16 = self.precision == "bf16"
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            painted, stem = self._network(*self._tensors, *past)
        np.copyto(self._ring.current, stem.float().numpy())
        self._painted = painted.reshape(*self._inputs.surface.shape[1:3], -1).float().contiguous().numpy()

    def close(self) -> None:
        """Free the network."""
        del self._network
