"""One live frame as OpenVINO compiled it, with the arrays that it reads and writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from models.generator import SpaceTimeGenerator
from models.network_cache import live_properties
from reenact.engines.engine import Array, EngineError
from reenact.engines.streaming import StreamingEngine

SURFACE = 1
"""Number of `LiveInputs.surface` among the inputs of `LiveStep`."""


class CompiledStep(StreamingEngine):
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
        is_half = hint == "bf16"
        super().__init__(generator, is_half=is_half)
        if is_half:
            network = _with_half(network, SURFACE)
        side, block = generator.config.resolution // self._block, self._block
        painted = np.zeros((1, side * side, 4 * block * block), np.float32)
        self._painted = painted.reshape(side, side, -1)
        properties = live_properties(hint, threads=threads)
        if cache is not None:
            properties["CACHE_DIR"] = str(cache)
        compiled = core().compile_model(network, "CPU", properties)
        self._num_outputs = len(compiled.outputs)
        self._request = compiled.create_infer_request()
        for index, array in enumerate(self._inputs.arrays):
            self._bind(index, array)
        self._request.set_output_tensor(0, _shared(painted))

    def further_outputs(self) -> list[Array]:
        """Give what the network says of the last frame behind its picture and its stem."""
        return [self._request.get_output_tensor(index).data for index in range(2, self._num_outputs)]

    def close(self) -> None:
        """Free the compiled network."""
        del self._request

    @override
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


def _with_half(network: Any, index: int) -> Any:  # noqa: ANN401
    """Let `network` read its input number `index` in bfloat16, which it computes with: else it is converted first."""
    import openvino
    from openvino.preprocess import PrePostProcessor

    processor = PrePostProcessor(network.clone())
    processor.input(index).tensor().set_element_type(openvino.Type.bf16)
    return processor.build()


def _shared(array: np.ndarray[Any, Any]) -> Any:  # noqa: ANN401
    import openvino

    if array.dtype == np.uint16:  # NumPy has no bfloat16
        return openvino.Tensor(array, openvino.Shape(array.shape), openvino.Type.bf16)
    return openvino.Tensor(array, shared_memory=True)
