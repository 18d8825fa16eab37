"""Choose the engine: the one that was asked for, or the fastest that works on this machine."""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.generator import CONDITIONING_CHANNELS, GeneratorConfig, SpaceTimeGenerator
from reenact.engines.engine import Engine, EngineError
from reenact.engines.int8_form import Frames
from reenact.window import Step

logger = logging.getLogger(__name__)

ENGINES = ("openvino", "torch", "tensorrt")
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
AUTO = (("openvino", "int8"), ("openvino", "bf16"), ("openvino", "fp32"), ("torch", "fp32"))
"""What `auto` tries. Engine and precision."""
TRIAL_STEPS = 12
TRIAL_S = 0.4
"""Candidates are timed for this many steps, or this many seconds each, whichever ends first."""


@dataclass(frozen=True, slots=True)
class Selection:
    """An engine, ready to run, and why it is this one."""

    engine: Engine
    reason: str


_fastest: dict[tuple[GeneratorConfig, str, int], tuple[str, str, str]] = {}
"""Engine, precision and reason chosen before in this process: every session would choose the same."""


def make_engine(
    generator: SpaceTimeGenerator,
    name: str = "auto",
    precision: str = "auto",
    threads: int = 0,
    *,
    frames: Frames | None = None,
) -> Selection:
    """Make the named engine, or with `auto` time those that work here and keep the fastest.

    `threads` of 0 leaves the number to the engine. int8 needs `frames` of the target. Raises `EngineError` with the
    reason where the named one does not work, and `ValueError` for a name that there is not.
    """
    if name not in ("auto", *ENGINES):
        raise ValueError(f"engine: expected one of auto, {', '.join(ENGINES)}, got {name!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "fp16":
        raise EngineError("fp16 needs an engine on a GPU; on a CPU there are fp32, bf16 and int8.")
    if name == "auto":
        return _make_fastest(generator, precision, threads, frames)
    if precision == "auto":
        return _make_preferred(generator, name, threads)
    return Selection(_make(generator, name, precision, threads, frames), f"{name} in {precision}: asked for")


def make_fallback(
    generator: SpaceTimeGenerator,
    failed: Collection[tuple[str, str]],
    threads: int = 0,
    *,
    frames: Frames | None = None,
) -> Selection:
    """Make the first engine, from the fastest to the plainest, that is not among those that `failed` while running.

    `failed` are engines and precisions. Raises `EngineError` where none is left.
    """
    notes = [f"{name} {precision} failed while running" for name, precision in failed]
    for name, precision in AUTO:
        if (name, precision) not in failed:
            try:
                return Selection(_make(generator, name, precision, threads, frames), "; ".join(notes))
            except EngineError as error:
                notes.append(f"{name} {precision} not: {error}")
    raise EngineError("No engine is left: " + "; ".join(notes))


def refusal(name: str) -> str | None:
    """Say why an engine cannot run on this machine at all; None if it can."""
    if name == "torch":
        return None
    if name == "openvino":
        return None if importlib.util.find_spec("openvino") else "OpenVINO is not installed: pip install openvino."
    import torch

    if not torch.cuda.is_available():
        return "TensorRT needs an NVIDIA GPU, and PyTorch finds none here."
    return "TensorRT is not supported yet; use openvino or torch."


def _make(
    generator: SpaceTimeGenerator, name: str, precision: str, threads: int, frames: Frames | None = None
) -> Engine:
    if reason := refusal(name):
        raise EngineError(reason)
    try:
        return _build(generator, name, precision, threads, frames)
    except (RuntimeError, OSError) as error:  # a compiler's own words, a cache that cannot be written
        raise EngineError(f"The engine {name} in {precision} cannot be made: {error}") from error


def _build(generator: SpaceTimeGenerator, name: str, precision: str, threads: int, frames: Frames | None) -> Engine:
    if name == "openvino":
        from reenact.engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(generator, precision=precision, threads=threads, frames=frames)
    from reenact.engines.torch_engine import TorchEngine

    return TorchEngine(generator, precision=precision, threads=threads)


def _make_preferred(generator: SpaceTimeGenerator, name: str, threads: int) -> Selection:
    """Make a named engine in its fastest precision: bf16 where the processor has it; the reference stays in fp32."""
    if name == "openvino" and refusal(name) is None:
        from reenact.engines.openvino_engine import has_bf16

        if has_bf16():
            return Selection(_make(generator, name, "bf16", threads), f"{name}: asked for; bf16: this CPU has it")
        return Selection(_make(generator, name, "fp32", threads), f"{name}: asked for; fp32: this CPU has no bf16")
    return Selection(_make(generator, name, "fp32", threads), f"{name} in fp32: asked for")


def _make_fastest(generator: SpaceTimeGenerator, precision: str, threads: int, frames: Frames | None) -> Selection:
    key = (generator.config, precision, threads)
    if key in _fastest:
        name, chosen, reason = _fastest[key]
        return Selection(_make(generator, name, chosen, threads, frames), reason)
    engines: list[Engine] = []
    notes = []
    for name, candidate in AUTO if precision == "auto" else [(n, precision) for n in ("openvino", "torch")]:
        try:
            engines.append(_make(generator, name, candidate, threads, frames))
        except EngineError as error:
            notes.append(f"{name} {candidate} not: {error}")
    if not engines:
        raise EngineError("No engine works here: " + "; ".join(notes))
    steps_ms = time_engines(engines, generator.config)
    notes = [f"{e.name} {e.precision} {ms:.1f} ms" for e, ms in zip(engines, steps_ms, strict=True)] + notes
    if min(steps_ms) == float("inf"):
        raise EngineError("No engine works here: every one failed at its trial.")
    engine = engines[int(np.argmin(steps_ms))]
    for other in engines:
        if other is not engine:
            other.close()
    reason = f"fastest here: {', '.join(notes)}"
    logger.info("engine %s %s (%s)", engine.name, engine.precision, reason)
    _fastest[key] = engine.name, engine.precision, reason
    return Selection(engine, reason)


def time_engines(engines: Sequence[Engine], config: GeneratorConfig) -> list[float]:
    """Give the shortest of a few steps of each warm engine, milliseconds.

    They take turns, so that a busy moment of the machine falls on all of them; and the shortest step is the one that
    other work disturbed least. Infinity for one that fails.
    """
    conditioning = np.zeros((CONDITIONING_CHANNELS, config.resolution, config.resolution), np.float32)
    shortest_s = [float("inf")] * len(engines)
    failed = {index for index, engine in enumerate(engines) if _step_s(engine, conditioning, Step.RESTART) is None}
    spent_s = 0.0
    for turn in range(TRIAL_STEPS):
        if turn >= 2 and spent_s > TRIAL_S * len(engines):
            break
        for index, engine in enumerate(engines):
            elapsed_s = None if index in failed else _step_s(engine, conditioning, Step.APPEND)
            if elapsed_s is None:
                failed.add(index)
                continue
            spent_s += elapsed_s
            shortest_s[index] = min(shortest_s[index], elapsed_s)
    return [float("inf") if index in failed else 1000.0 * seconds for index, seconds in enumerate(shortest_s)]


def _step_s(engine: Engine, conditioning: NDArray[np.float32], step: Step) -> float | None:
    """Give the time of one step, seconds; None where the engine fails at it."""
    began = time.perf_counter()
    try:
        engine.generate(conditioning, step)
    except Exception:  # The edge of an engine: each fails in words of its own.
        logger.exception("engine %s %s failed at its trial", engine.name, engine.precision)
        return None
    return time.perf_counter() - began
