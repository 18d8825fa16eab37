"""A target's network in int8: measured on its own moving pictures, made, and compared with float32.

The convolutions wider than a pixel read 8 bits: they are nine tenths of the work. What is left, the texture's way in,
the mixing of channels, the paint, costs little and would lose the most (47 against 38 dB on `milo`).
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models import quantization
from models.generator import SpaceTimeGenerator
from models.network_cache import stored
from models.quantization import RangeProbe, Ranges, quantized
from reenact.engines.compiled_step import CompiledStep
from reenact.engines.engine import Array, EngineError, Image
from reenact.window import Step

Frames = Callable[[], Sequence[Array]]
"""Gives conditioning `[9, S, S]` of the target as it moves, a frame after the other."""

LEAST_DB = 42.0
"""PSNR that the pictures must have beside float32's: as invisible as the mark."""
KEEP_EVERY = 7
"""Values of a layer are many and alike: one of so many is looked at."""


def int8_form(
    network: Any,  # noqa: ANN401 - untyped package
    generator: SpaceTimeGenerator,
    frames: Sequence[Array],
    path: Path,
    *,
    hint: str,
) -> Any:  # noqa: ANN401
    """Give `network`, a form of `generator`, reading 8 bits, with ranges measured on `frames`.

    What is left over is computed in `hint`. It is kept beside `path`, with what came of the comparison. Raises
    `EngineError` where its pictures are not those of float32.
    """
    digest = hashlib.sha256(inspect.getsource(quantization).encode())
    for frame in frames:
        digest.update(np.ascontiguousarray(frame[:, ::8, ::8]).tobytes())
    path = path.with_name(f"{path.stem}-int8-{digest.hexdigest()[:16]}.xml")
    verdict = path.with_suffix(".json")
    form = stored(path, lambda: quantized(network, _ranges(network, generator, frames), is_wide=True))
    try:
        likeness_db = float(json.loads(verdict.read_text(encoding="utf-8"))["psnr_db"])
    except (OSError, ValueError, KeyError, TypeError):
        plain = CompiledStep(generator, network, hint="f32")
        likeness_db = _likeness_db(plain, CompiledStep(generator, form, hint=hint), frames)
        verdict.write_text(json.dumps({"psnr_db": round(likeness_db, 2)}), encoding="utf-8")
    if likeness_db < LEAST_DB:
        raise EngineError(f"Its pictures differ from float32's (PSNR {likeness_db:.1f} dB, wanted {LEAST_DB:g}).")
    return form


def _ranges(network: Any, generator: SpaceTimeGenerator, frames: Sequence[Array]) -> Ranges:  # noqa: ANN401
    """Show `frames` in float32, and see what the wide layers are fed."""
    probe = RangeProbe(network, is_wide=True, keep_every=KEEP_EVERY)
    step = CompiledStep(generator, probe.network, hint="f32")
    for _ in _shown(step, frames):
        probe.see(step.further_outputs())
    return probe.ranges


def _likeness_db(one: CompiledStep, other: CompiledStep, frames: Sequence[Array]) -> float:
    """Give the PSNR of what one shows of `frames` beside what the other does."""
    both = zip(_shown(one, frames), _shown(other, frames), strict=True)
    error = float(np.mean([np.square(a.astype(np.float32) - b).mean() for a, b in both]))
    return float(10 * np.log10(255.0**2 / max(error, 1e-6)))


def _shown(step: CompiledStep, frames: Sequence[Array]) -> Iterator[Image]:
    """Show `frames` as one clip; each picture is valid until the next."""
    for index, frame in enumerate(frames):
        yield step.generate(frame, Step.APPEND if index else Step.RESTART)
