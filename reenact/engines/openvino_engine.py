"""OpenVINO on the CPU: the same network, compiled."""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from models import full_generator, lean_generator
from models import generator as generator_module
from models.cache import cache_folder
from models.generator import SpaceTimeGenerator
from reenact.engines import live_step
from reenact.engines.engine import Array, EngineError, Image
from reenact.engines.live_step import LiveInputs, LiveStep, blend, plate_of
from reenact.window import StemRing, Step

logger = logging.getLogger(__name__)

HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoEngine:
    """Runs the network as OpenVINO compiles it. Reads and writes our own arrays: nothing is allocated per frame."""

    name = "openvino"

    def __init__(
        self, generator: SpaceTimeGenerator, *, precision: Literal["fp32", "bf16"] = "fp32", threads: int = 0
    ) -> None:
        """Take a generator in evaluation mode. `threads` of 0 lets OpenVINO choose. Raises `EngineError`."""
        if precision not in HINTS:
            raise EngineError(f"The openvino engine computes in fp32 or bf16 on a CPU, not in {precision}.")
        core = _core()
        if precision == "bf16" and not has_bf16():
            raise EngineError("This processor has no bfloat16 arithmetic (AVX-512 BF16 or AMX).")
        self.precision: str = precision
        config, size = generator.config, generator.config.resolution
        self._ring = StemRing(config.window, generator.stem_shape)
        self._inputs = LiveInputs(generator)
        self._plate = plate_of(generator)
        self._block = block = generator.block
        self._painted = np.zeros((1, size // block, size // block, 4 * block * block), np.float32)
        self._image = np.zeros((size, size, 3), np.uint8)
        properties: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "CACHE_DIR": str(_engine_cache()),
        }
        if threads > 0:
            properties["INFERENCE_NUM_THREADS"] = threads
        self._request = core.compile_model(_converted(core, generator), "CPU", properties).create_infer_request()
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

    def _run(self) -> None:
        if self._ring.past.size:
            self._bind(len(self._inputs.arrays), self._ring.past)
        self._request.set_output_tensor(1, _shared(self._ring.current))
        self._request.infer()

    def _bind(self, index: int, array: Array) -> None:
        self._request.set_input_tensor(index, _shared(array))

    def close(self) -> None:
        """Free the compiled network."""
        del self._request


def has_bf16() -> bool:
    """Say whether this processor computes in bfloat16. Raises `EngineError` where OpenVINO is not installed."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _core() -> Any:  # noqa: ANN401 - untyped package
    try:
        import openvino
    except ImportError as error:
        raise EngineError(f"OpenVINO is not installed ({error}).") from None
    return openvino.Core()


def _shared(array: np.ndarray[Any, Any]) -> Any:  # noqa: ANN401
    import openvino

    return openvino.Tensor(array, shared_memory=True)


def _engine_cache() -> Path:
    folder = cache_folder() / "openvino"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _converted(core: Any, generator: SpaceTimeGenerator) -> Any:  # noqa: ANN401
    """Give OpenVINO's form of the network: kept in the cache, for tracing takes seconds."""
    path = _engine_cache() / f"{_fingerprint(generator)}.xml"
    if path.exists() and path.with_suffix(".bin").exists():
        try:
            return core.read_model(path)
        except RuntimeError as error:
            logger.warning("%s cannot be read (%s): converting again", path, error)
    model = _convert(generator)
    import openvino

    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        made = Path(scratch) / path.name
        openvino.save_model(model, made, compress_to_fp16=False)
        # The weights first: whoever sees the .xml finds them.
        os.replace(made.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(made, path)
    return core.read_model(path)


def _convert(generator: SpaceTimeGenerator) -> Any:  # noqa: ANN401
    import openvino

    config = generator.config
    shapes: list[tuple[int, ...]] = [array.shape for array in LiveInputs(generator).arrays]
    if config.window > 1:
        shapes.append((1, config.window - 1, *generator.stem_shape))
    example = tuple(torch.zeros(shape) for shape in shapes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every Python number it freezes; shapes are fixed here
        return openvino.convert_model(LiveStep(generator), example_input=example, input=shapes)


def _fingerprint(generator: SpaceTimeGenerator) -> str:
    """Hash everything that the converted network depends on."""
    import openvino

    digest = hashlib.sha256(f"{openvino.__version__} {torch.__version__} {generator.config.to_json()}".encode())
    for module in (generator_module, full_generator, lean_generator, live_step):
        digest.update(inspect.getsource(module).encode())
    for name, value in generator.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:32]
