"""What executes the regressor: PyTorch, the reference, on CPU or CUDA, and OpenVINO on the CPU.

Every engine takes the bytes of one crop and gives the network's answer in its units; `auto` takes the fastest one that
agrees with PyTorch's float32.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import inspect
import logging
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from capture.quantization import load_ranges, weights_hash
from models import quantization
from models import regressor as regressor_module
from models.network_cache import live_properties, network_folder, stored
from models.quantization import Ranges, quantized
from models.regressor import FaceRegressor

logger = logging.getLogger(__name__)

Image = NDArray[np.uint8]
Array = NDArray[np.float32]
Precision = Literal["fp32", "bf16", "int8"]

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")
ENGINES = ("openvino", "torch", "cuda")
AUTO: tuple[tuple[str, Precision], ...] = (
    ("openvino", "int8"),
    ("openvino", "bf16"),
    ("openvino", "fp32"),
    ("torch", "fp32"),
)
"""What `auto` tries: a CUDA device answers a single crop no sooner than a core does, and has the generator to run."""
TOLERANCE = 0.05
"""Root mean square difference from PyTorch's float32, in the standard deviations of `FaceRegressor`'s raw outputs, that
an engine of `auto` may show on each of a few pictures: 0.9 degrees of a rotation, 0.01 of a blendshape."""
INT8_HANDICAP = 1.15
"""int8 is taken where it is faster by more than this: its answers lie ten times as far from float32 as bf16's."""
TRIALS = 24


class RegressorEngineError(Exception):
    """An engine cannot run here; the message is one sentence for people."""


class RegressorEngine(Protocol):
    """A regressor made ready to run, for one crop at a time, from one thread."""

    name: str
    """openvino, torch or cuda."""
    precision: str
    """fp32, bf16 or int8."""

    def run(self, crop: Image) -> Array:
        """Turn a crop `[S, S, 3]` uint8 RGB into `[D]` float32, ordered as `RegressorConfig.fields`, in their units.

        The result is a view of the engine's own memory, valid until the next call.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds; it cannot be used afterwards."""
        ...


class _FromBytes(nn.Module):
    """The network as engines execute it: bytes of a picture in, values in their units out."""

    def __init__(self, regressor: FaceRegressor) -> None:
        super().__init__()
        self.regressor = regressor

    def forward(self, crop: Tensor) -> Tensor:
        """Map `[1, S, S, 3]` bytes to `[1, D]`."""
        crop = crop.permute(0, 3, 1, 2).to(self.regressor.out.weight.dtype) * (1.0 / 255.0)
        return self.regressor.values(self.regressor(crop).float())


class TorchRegressor:
    """Runs the network as it is written; everything else is compared with it."""

    def __init__(self, regressor: FaceRegressor, *, precision: Precision = "fp32", device: str = "cpu") -> None:
        """Share the weights of `regressor`, in evaluation mode, or copy them to another device."""
        if precision == "int8":
            raise RegressorEngineError("PyTorch computes the regressor in fp32 or bf16, not in int8.")
        if device != "cpu" and not torch.cuda.is_available():
            raise RegressorEngineError("The cuda engine needs an NVIDIA GPU, and PyTorch finds none here.")
        self.name = "torch" if device == "cpu" else "cuda"
        self.precision: str = precision
        self._device = torch.device(device)
        regressor = regressor if device == "cpu" else copy.deepcopy(regressor).to(self._device)
        self._network = _FromBytes(regressor).eval()
        size = regressor.config.size
        self._crop = torch.zeros(1, size, size, 3, dtype=torch.uint8)

    def run(self, crop: Image) -> Array:
        """Turn a crop `[S, S, 3]` uint8 RGB into `[D]` float32."""
        is_bf16 = self.precision == "bf16"
        np.copyto(self._crop[0].numpy(), crop)
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=is_bf16):
            values = self._network(self._crop.to(self._device))
        return np.asarray(values[0].float().cpu().numpy())

    def close(self) -> None:
        """Free the network."""
        del self._network


class OpenVinoRegressor:
    """Runs the network as OpenVINO compiles it, on one core unless told otherwise. Allocates nothing per frame."""

    name = "openvino"

    def __init__(self, regressor: FaceRegressor, *, precision: Precision = "fp32", threads: int = 1) -> None:
        """Convert and compile a regressor in evaluation mode. Raises `RegressorEngineError`."""
        try:
            import openvino
        except ImportError as error:
            raise RegressorEngineError(f"OpenVINO is not installed ({error}).") from None
        core = openvino.Core()
        has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and not has_bf16:
            raise RegressorEngineError("This processor has no bfloat16 arithmetic (AVX-512 BF16 or AMX).")
        self.precision: str = precision
        size = regressor.config.size
        self._crop = np.zeros((1, size, size, 3), np.uint8)
        self._values = np.zeros((1, regressor.config.outputs), np.float32)
        # What int8 leaves over, sums and the like, is computed in the hint.
        hint = "bf16" if precision != "fp32" and has_bf16 else "f32"
        properties = live_properties(hint, threads=threads)
        try:
            network = _kept(regressor, load_ranges(regressor) if precision == "int8" else None)
        except ValueError as error:
            raise RegressorEngineError(f"The regressor has no int8 form here: {error}.") from error
        compiled = core.compile_model(network, "CPU", properties)
        self._request = compiled.create_infer_request()
        self._request.set_input_tensor(openvino.Tensor(self._crop, shared_memory=True))
        self._request.set_output_tensor(openvino.Tensor(self._values, shared_memory=True))

    def run(self, crop: Image) -> Array:
        """Turn a crop `[S, S, 3]` uint8 RGB into `[D]` float32."""
        np.copyto(self._crop[0], crop)
        self._request.infer()
        return self._values[0]

    def close(self) -> None:
        """Free the compiled network."""
        del self._request


def converted(regressor: FaceRegressor) -> Any:  # noqa: ANN401 - untyped package
    """Give OpenVINO's form of the network: bytes `[1, S, S, 3]` in, values `[1, D]` out."""
    import openvino

    size = regressor.config.size
    example = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every Python number it freezes; shapes are fixed here
        return openvino.convert_model(_FromBytes(regressor), example_input=example, input=[tuple(example.shape)])


def _kept(regressor: FaceRegressor, ranges: Ranges | None) -> Any:  # noqa: ANN401
    """Convert, and quantise where there are ranges, or read what that gave another time: tracing takes two seconds."""
    import openvino

    digest = hashlib.sha256(f"{openvino.__version__} {torch.__version__} {regressor.config.to_json()}".encode())
    digest.update(f"{weights_hash(regressor)} {ranges}".encode())
    for source in (regressor_module, quantization, sys.modules[__name__]):
        digest.update(inspect.getsource(source).encode())

    def make() -> Any:  # noqa: ANN401
        network = converted(regressor)
        return network if ranges is None else quantized(network, ranges)

    return stored(network_folder() / f"regressor-{digest.hexdigest()[:32]}.xml", make)


@dataclass(frozen=True, slots=True)
class RegressorSelection:
    """An engine, ready to run, and why it is this one."""

    engine: RegressorEngine
    reason: str


_fastest: dict[tuple[str, tuple[tuple[str, Precision], ...], int], tuple[str, Precision, str]] = {}
"""Engine, precision and reason chosen before in this process: every session would choose the same."""


def make_regressor_engine(
    regressor: FaceRegressor, name: str = "auto", precision: str = "auto", threads: int = 1
) -> RegressorSelection:
    """Make the named engine, or with `auto` the fastest that agrees with PyTorch's float32.

    Raises `RegressorEngineError` where the named one does not work, and `ValueError` for a name that there is not.
    """
    if name not in ("auto", *ENGINES):
        raise ValueError(f"engine: expected one of auto, {', '.join(ENGINES)}, got {name!r}")
    if precision not in ("auto", *PRECISIONS):
        raise ValueError(f"precision: expected one of auto, {', '.join(PRECISIONS)}, got {precision!r}")
    regressor = regressor.eval()
    if name != "auto":
        chosen: Precision = next((known for known in PRECISIONS if known == precision), "fp32")
        return RegressorSelection(_make(regressor, name, chosen, threads), f"{name} in {chosen}: asked for")
    wanted = [(engine, kind) for engine, kind in AUTO if precision in ("auto", kind)]
    return _make_fastest(regressor, wanted, threads)


def _make(regressor: FaceRegressor, name: str, precision: Precision, threads: int) -> RegressorEngine:
    if name == "openvino":
        if importlib.util.find_spec("openvino") is None:
            raise RegressorEngineError("OpenVINO is not installed: pip install openvino.")
        return OpenVinoRegressor(regressor, precision=precision, threads=threads)
    return TorchRegressor(regressor, precision=precision, device="cuda" if name == "cuda" else "cpu")


def _make_fastest(
    regressor: FaceRegressor, wanted: Sequence[tuple[str, Precision]], threads: int
) -> RegressorSelection:
    key = (weights_hash(regressor), tuple(wanted), threads)
    if key in _fastest:
        name, precision, reason = _fastest[key]
        return RegressorSelection(_make(regressor, name, precision, threads), reason)
    engines: list[RegressorEngine] = []
    notes = []
    for name, precision in wanted:
        try:
            engine = _make(regressor, name, precision, threads)
        except RegressorEngineError as error:
            notes.append(f"{name} {precision} not: {error}")
            continue
        difference = disagreement(engine, regressor)
        if difference <= TOLERANCE:
            engines.append(engine)
        else:
            notes.append(f"{name} {precision} not: differs from float32 by {difference:.3f} standard deviations")
            engine.close()
    if not engines:
        raise RegressorEngineError("No engine runs the regressor here: " + "; ".join(notes))
    times_ms = time_regressors(engines, regressor.config.size)
    notes = [f"{e.name} {e.precision} {ms:.2f} ms" for e, ms in zip(engines, times_ms, strict=True)] + notes
    handicaps = [INT8_HANDICAP if engine.precision == "int8" else 1.0 for engine in engines]
    engine = engines[int(np.argmin(np.multiply(times_ms, handicaps)))]
    for other in engines:
        if other is not engine:
            other.close()
    reason = f"fastest here for its accuracy: {', '.join(notes)}"
    logger.info("regressor on %s %s (%s)", engine.name, engine.precision, reason)
    chosen = next(pair for pair in wanted if pair == (engine.name, engine.precision))
    _fastest[key] = (*chosen, reason)
    return RegressorSelection(engine, reason)


def disagreement(engine: RegressorEngine, regressor: FaceRegressor) -> float:
    """Give the greatest root mean square difference of `engine` from float32, in standard deviations, over pictures."""
    reference = TorchRegressor(regressor)
    scale = regressor.scale.cpu().numpy()
    differences = [(engine.run(crop) - reference.run(crop)) / scale for crop in _pictures(regressor.config.size)]
    return max(float(np.sqrt(np.mean(difference**2))) for difference in differences)


def time_regressors(engines: Sequence[RegressorEngine], size: int) -> list[float]:
    """Give the shortest of a few runs of each engine, milliseconds; they take turns to share busy moments."""
    crop = _pictures(size)[0]
    shortest_s = [float("inf")] * len(engines)
    for turn in range(TRIALS + 2):
        for index, engine in enumerate(engines):
            began = time.perf_counter()
            engine.run(crop)
            if turn >= 2:
                shortest_s[index] = min(shortest_s[index], time.perf_counter() - began)
    return [1000.0 * seconds for seconds in shortest_s]


def _pictures(size: int) -> list[Image]:
    """Make a few smooth pictures with edges and noise: what a network finds in one, an engine must find too."""
    rng = np.random.default_rng(0)
    v, u = np.mgrid[:size, :size] / size
    pictures = []
    for _ in range(4):
        layers = np.full((size, size, 3), rng.uniform(40, 200, 3))
        for _ in range(8):
            center, radius = rng.uniform(0.2, 0.8, 2), rng.uniform(0.05, 0.3)
            inside = np.hypot(u - center[0], v - center[1]) < radius
            layers[inside] = rng.uniform(0, 255, 3)
        layers += rng.normal(0, 6, layers.shape)
        pictures.append(np.clip(layers, 0, 255).astype(np.uint8))
    return pictures
