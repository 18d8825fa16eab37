"""What every test may count on: skips with a reason for hardware that is not there, and a Chromium."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from collections.abc import Iterator

import pytest

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@functools.cache
def find_chromium() -> str | None:
    """Give the path of a Chromium: `$CHROMIUM`, else the first known name on the path."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


@functools.cache
def missing(marker: str) -> str | None:
    """Say why tests with `marker` cannot run here; None if they can."""
    if marker == "browser":
        if find_chromium() is None:
            return "no Chromium: install the package chromium, or name one with CHROMIUM=..."
        return None if importlib.util.find_spec("playwright") else "no playwright: pip install -e .[dev]"
    if marker == "openvino":
        return None if importlib.util.find_spec("openvino") else "no openvino: pip install openvino"
    if marker in ("gpu", "tensorrt"):
        import torch

        if not torch.cuda.is_available():
            return "no CUDA device that PyTorch can use"
        if marker == "tensorrt" and importlib.util.find_spec("torch_tensorrt") is None:
            return "no torch-tensorrt: pip install -e .[gpu]"
    return None


@pytest.fixture(scope="session", autouse=True)
def own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's own key and actors out of the tests, and the tests' out of the user's folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("REENACT_DATA", raising=False)
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests for two processes: first what has everything compiled, then browsers, at the end many small ones.

    A long file of few tests that comes last would have one process wait for the other.
    """
    items.sort(key=lambda item: _turn(item.nodeid))


def _turn(nodeid: str) -> int:
    if nodeid.startswith(("tests/unit/capture/", "tests/unit/models/", "tests/unit/reenact/")):
        return 0
    return 1 if nodeid.startswith("tests/e2e/") else 2


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers():
        if reason := missing(marker.name):
            pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """The browser for `playwright.chromium.launch(executable_path=...)`; skips where there is none."""
    if reason := missing("browser"):
        pytest.skip(reason)
    path = find_chromium()
    assert path is not None
    return path


@pytest.fixture(scope="session")
def headless_shell_path(chromium_path: str) -> str:
    """Chromium without the browser around its pages, at half of the work; Chromium itself where it is missing."""
    return shutil.which("chromium-headless-shell") or chromium_path
