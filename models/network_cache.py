"""OpenVINO's forms of networks, kept on disk: tracing and measuring takes seconds, reading none. How they run live."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.cache import cache_folder

logger = logging.getLogger(__name__)

_making = threading.RLock()
"""PyTorch traces one network at a time: two at once, in two sessions or beside a tracker that loads, fail."""


def network_folder() -> Path:
    """Give the folder of the cache that they lie in."""
    folder = cache_folder() / "openvino"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def stored(path: Path, make: Callable[[], Any]) -> Any:  # noqa: ANN401 - untyped package
    """Read the network at `path`, an .xml with its .bin beside; where there is none that can be read, `make` it first.

    What is made is written whole or not at all, one network after the other.
    """
    with _making:
        return _stored(path, make)


def _stored(path: Path, make: Callable[[], Any]) -> Any:  # noqa: ANN401
    import openvino

    core = openvino.Core()
    if path.exists() and path.with_suffix(".bin").exists():
        try:
            return core.read_model(path)
        except RuntimeError as error:
            logger.warning("%s cannot be read (%s): making it again", path, error)
    network = make()
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        made = Path(scratch) / path.name
        openvino.save_model(network, made, compress_to_fp16=False)
        # The weights first: whoever sees the .xml finds them.
        os.replace(made.with_suffix(".bin"), path.with_suffix(".bin"))
        os.replace(made, path)
    return core.read_model(path)


def live_properties(hint: str, *, threads: int = 0) -> dict[str, Any]:
    """Say how OpenVINO runs a network for one frame at a time, computing in `hint`, f32 or bf16.

    `threads` of 0 lets it choose how many.
    """
    properties: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": hint,
        "PERFORMANCE_HINT": "LATENCY",
        # Pinned, the threads of all networks of a process lie on the same first cores.
        "ENABLE_CPU_PINNING": False,
    }
    return properties | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
