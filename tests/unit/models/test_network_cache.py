"""Networks in the cache: made once, one at a time."""

from __future__ import annotations

import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from models.network_cache import stored

pytestmark = pytest.mark.openvino


def traced() -> Any:
    """Convert a small network, which traces it."""
    import openvino
    import torch

    network = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(20)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return openvino.convert_model(network, example_input=torch.zeros(1, 8))


def test_threads_make_one_network_after_the_other(tmp_path: Path) -> None:
    running, most, made = 0, 0, []
    lock = threading.Lock()

    def make(name: str) -> Any:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        network = traced()
        with lock:
            running -= 1
            made.append(name)
        return network

    names = ["a", "b", "a", "c", "b", "a"]
    with ThreadPoolExecutor(len(names)) as pool:
        networks = list(pool.map(lambda name: stored(tmp_path / f"{name}.xml", lambda: make(name)), names))
    assert most == 1
    assert sorted(made) == ["a", "b", "c"]
    assert {len(network.inputs) for network in networks} == {1}
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{n}.{end}" for n in "abc" for end in ("bin", "xml")]


def test_one_may_be_made_of_another(tmp_path: Path) -> None:
    stored(tmp_path / "outer.xml", lambda: stored(tmp_path / "inner.xml", traced))
    assert (tmp_path / "inner.xml").exists()
    assert (tmp_path / "outer.bin").exists()
