"""OpenVINO on the CPU: the same network, compiled."""

from __future__ import annotations

import hashlib
import inspect
import warnings
from typing import Any

import torch

from models import full_generator, lean_generator, photo_generator
from models import generator as generator_module
from models.generator import SpaceTimeGenerator
from models.network_cache import network_folder, stored
from reenact.engines import live_step
from reenact.engines.compiled_step import CompiledStep, core
from reenact.engines.engine import EngineError
from reenact.engines.int8_form import Frames, int8_form
from reenact.engines.live_step import LiveInputs, LiveStep

PRECISIONS = ("fp32", "bf16", "int8")


class OpenVinoEngine(CompiledStep):
    """A target's network on the CPU."""

    name = "openvino"

    def __init__(
        self,
        generator: SpaceTimeGenerator,
        *,
        precision: str = "fp32",
        threads: int = 0,
        frames: Frames | None = None,
    ) -> None:
        """Take a generator in evaluation mode. `threads` of 0 lets OpenVINO choose. Raises `EngineError`.

        int8 is made for the target's moving pictures, which `frames` gives.
        """
        if precision not in PRECISIONS:
            raise EngineError(f"The openvino engine computes in int8, bf16 or fp32 on a CPU, not in {precision}.")
        if precision == "bf16" and not has_bf16():
            raise EngineError("This processor has no bfloat16 arithmetic (AVX-512 BF16 or AMX).")
        self.precision: str = precision
        path = network_folder() / f"{_fingerprint(generator)}.xml"
        network = stored(path, lambda: _convert(generator))
        # Of an int8 network, what does not read 8 bits is computed in this.
        hint = "bf16" if precision != "fp32" and has_bf16() else "f32"
        if precision == "int8":
            if frames is None:
                raise EngineError("There are no frames of the target to measure its layers on.")
            network = int8_form(network, generator, frames(), path, hint=hint)
        super().__init__(generator, network, hint=hint, threads=threads, cache=network_folder())


def has_bf16() -> bool:
    """Say whether this processor computes in bfloat16. Raises `EngineError` where OpenVINO is not installed."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _convert(generator: SpaceTimeGenerator) -> Any:  # noqa: ANN401 - untyped package
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
    for module in (generator_module, full_generator, lean_generator, photo_generator, live_step):
        digest.update(inspect.getsource(module).encode())
    for name, value in generator.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:32]
