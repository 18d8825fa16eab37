"""One live frame as OpenVINO compiled it, with the arrays that it reads and writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from models.generator import SpaceTimeGenerator
from reenact.engines.engine import Array, EngineError, Image
from reenact.engines.live_step import LiveInputs, blend, plate_of
from reenact.window import StemRing, Step


class CompiledStep:
    """Runs a form of `LiveStep`. Reads and writes our own arrays: nothing is allocated per frame."""

    def __init__(
        self,
        generator: SpaceTimeGenerator,
        network: Any,  # noqa: ANN401 - untyped package
        *,
        hint: str,
        threads: int = 0,
        cache: Path | None = None,
    ) -> None:
        """Compile `network`, a form of `generator`, to compute in `hint`; `threads` of 0 lets OpenVINO choose.

        What was compiled is kept in the folder `cache`.
        """
        config, size = generator.config, generator.config.resolution
        self._ring = StemRing(config.window, generator.stem_shape)
        self._inputs = LiveInputs(generator)
        self._plate = plate_of(generator)
        self._block = block = generator.block
        self._painted = np.zeros((1, size // block, size // block, 4 * block * block), np.float32)
        self._image = np.zeros((size, size, 3), np.uint8)
        properties: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        if cache is not None:
            properties["CACHE_DIR"] = str(cache)
        if threads > 0:
            properties["INFERENCE_NUM_THREADS"] = threads
        compiled = core().compile_model(network, "CPU", properties)
        self._num_outputs = len(compiled.outputs)
        self._request = compiled.create_infer_request()
        for index, array in enumerate(self._inputs.arrays):
            self._bind(index, array)
        self._request.set_output_tensor(0, _shared(self._painted))

    def generate(self, conditioning: Array, step: Step) -> Image:
        """Turn conditioning `[9, S, S]` float32 into a picture `[S, S, 3]` uint8 RGB."""
        self._inputs.set(conditioning)
        if step is Step.APPEND:
            self._ring.append()
        self._run()
        if step is Step.RESTART and self._ring.past.size:
            self._ring.fill()
            self._run()
        blend(self._painted[0], self._plate, self._block, self._image)
        return self._image

    def further_outputs(self) -> list[Array]:
        """Give what the network says of the last frame behind its picture and its stem."""
        return [self._request.get_output_tensor(index).data for index in range(2, self._num_outputs)]

    def close(self) -> None:
        """Free the compiled network."""
        del self._request

    def _run(self) -> None:
        if self._ring.past.size:
            self._bind(len(self._inputs.arrays), self._ring.past)
        self._request.set_output_tensor(1, _shared(self._ring.current))
        self._request.infer()

    def _bind(self, index: int, array: Array) -> None:
        self._request.set_input_tensor(index, _shared(array))


def core() -> Any:  # noqa: ANN401 - untyped package
    """Give OpenVINO's entry. Raises `EngineError` where it is not installed."""
    try:
        import openvino
    except ImportError as error:
        raise EngineError(f"OpenVINO is not installed ({error}).") from None
    return openvino.Core()


def _shared(array: np.ndarray[Any, Any]) -> Any:  # noqa: ANN401
    import openvino

    return openvino.Tensor(array, shared_memory=True)
