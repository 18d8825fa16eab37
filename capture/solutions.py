"""MediaPipe's ready solutions, loaded without what they print, and run by the thread that calls them."""

from __future__ import annotations

import functools
import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any


@functools.cache
def solution(name: str) -> Any:  # noqa: ANN401 - untyped package
    """Import one of MediaPipe's solutions in a thread of its own.

    Where a library is missing that it does not need (PortAudio), MediaPipe keeps the error, with it the stack of who
    was importing, and with that everything they held: an inference thread that ended years ago, its face model.
    """
    with ThreadPoolExecutor(1) as importer:
        return importer.submit(importlib.import_module, f"mediapipe.python.solutions.{name}").result()


def on_own_thread(base: type[Any]) -> type[Any]:
    """Give the solution `base`, but one whose graph runs in the thread that calls it.

    By default each step of a graph goes to a pool: on a busy machine every hop waits for its turn, 1 ms a frame.
    """

    class OnOwnThread(base):  # type: ignore[misc]
        def _initialize_graph_interface(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
            config = super()._initialize_graph_interface(*args, **options)
            del config.executor[:]
            config.executor.add().type = "ApplicationThreadExecutor"
            return config

    return OnOwnThread


@contextmanager
def silence() -> Iterator[None]:
    """Keep absl's and TensorFlow Lite's start-up lines, written by native code, and protobuf's warning off stderr."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
