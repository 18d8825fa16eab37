"""A target's network in int8: measured on its own moving pictures, made, and compared with float32.

The convolutions wider than a pixel read 8 bits: they are nine tenths of the work. What is left, the texture's way in,
the mixing of channels, the paint, costs little and would lose the most (47 against 38 dB on `milo`).
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models import quantization
from models.generator import SpaceTimeGenerator
from models.quantization import RangeProbe, quantized
from reenact.engines.compiled_step import CompiledStep
from reenact.engines.engine import Array, EngineError
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
    keep: Callable[[Any, Path], Any],
    path: Path,
    *,
    hint: str,
) -> Any:  # noqa: ANN401
    """Give `network`, a form of `generator`, reading 8 bits, with ranges measured on `frames`.

    What is left over is computed in `hint`. `keep` saves a network and reads it again: at a place made from `path`,
    where the next call finds it. Raises `EngineError` where its pictures are not those of float32.
    """
    digest = hashlib.sha256(inspect.getsource(quantization).encode())
    for frame in frames:
        digest.update(np.ascontiguousarray(frame[:, ::8, ::8]).tobytes())
    path = path.with_name(f"{path.stem}-int8-{digest.hexdigest()[:16]}.xml")
    verdict = path.with_suffix(".json")
    try:
        likeness_db = float(json.loads(verdict.read_text(encoding="utf-8"))["psnr_db"])
    except (OSError, ValueError, KeyError, TypeError):
        probe = RangeProbe(network, is_wide=True, keep_every=KEEP_EVERY)
        plain = CompiledStep(generator, probe.network, hint="f32")
        wanted = []
        for index, frame in enumerate(frames):
            wanted.append(plain.generate(frame, Step.APPEND if index else Step.RESTART).copy())
            probe.see(plain.further_outputs())
        plain.close()
        made = keep(quantized(network, probe.ranges, is_wide=True), path)
        eight = CompiledStep(generator, made, hint=hint)
        squares = []
        for index, frame in enumerate(frames):
            given = eight.generate(frame, Step.APPEND if index else Step.RESTART)
            squares.append(np.square(given.astype(np.float32) - wanted[index]).mean())
        eight.close()
        error = np.mean(squares)
        likeness_db = float(10 * np.log10(255.0**2 / max(float(error), 1e-6)))
        verdict.write_text(json.dumps({"psnr_db": round(likeness_db, 2)}), encoding="utf-8")
    if likeness_db < LEAST_DB:
        raise EngineError(f"Its pictures differ from float32's (PSNR {likeness_db:.1f} dB, wanted {LEAST_DB:g}).")
    return keep(None, path)
