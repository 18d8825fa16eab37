"""A little of `make soak`: 40 seconds of use and, at the same time, of faults, each in a browser of its own.

The hour of each is for a quiet machine; what leaks with every reload or every fault shows here, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clips import camera_file, clip_path

pytestmark = [pytest.mark.browser, pytest.mark.alone]

ROOT = Path(__file__).resolve().parents[2]
FPS = 6
"""Both servers and both browsers share two cores."""
KINDS = ("plain", "faulty")


@pytest.fixture(scope="module")
def runs(chromium_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.Popen[str]]]:
    camera_file(clip_path(), fps=FPS, size=(640, 360))  # once, and not by both at once
    folder = tmp_path_factory.mktemp("soak")
    started = {
        kind: subprocess.Popen(
            [sys.executable, "-m", "tests.soak", "--minutes=0.7", f"--only={kind}", f"--fps={FPS}", f"--log={folder}"],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for kind in KINDS
    }  # fmt: skip
    yield started
    for process in started.values():
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_grows(kind: str, runs: dict[str, subprocess.Popen[str]]) -> None:
    output, _ = runs[kind].communicate(timeout=240)
    assert runs[kind].returncode == 0, output
    report: dict[str, Any] = json.loads(output.splitlines()[-1])
    counts = report[kind]["counts"]
    assert counts["reloads"] >= 3
    assert counts["viewers"] >= 1
    if kind == "faulty":
        assert counts["engines replaced"]
        assert counts["threads replaced"]
