"""The main job in a real browser, for a minute: rate, age, delay, memory, and whether the output follows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.clips import camera_file
from tests.e2e.live import following, run_live

CAMERA_SIZE = (640, 360)
MIN_CLIP_S = 20.0


def measure_browser(clip: Path, chromium: str, *, seconds: float, record_s: float) -> dict[str, Any]:
    """Serve milo to Chromium with `clip` as its camera; server and browser share this machine's cores."""
    camera = camera_file(clip, size=CAMERA_SIZE, min_seconds=MIN_CLIP_S)
    with tempfile.TemporaryDirectory() as folder:
        run = run_live(camera, Path(folder), chromium, seconds=seconds, record_s=record_s, stride=1)
    found, face_share = following(run)
    return {
        "clip": clip.name,
        "seconds": seconds,
        "states": sorted({snapshot["page_state"] for snapshot in run.stats}),
        "fps_sent": run.median("fps_out"),
        "fps_shown": run.median("fps_output"),
        "age_p50_ms": run.median("age_ms", "p50"),
        "age_p95_ms": run.median("age_ms", "p95"),
        "delay_ms": run.median("delay_ms"),
        "stages_ms": {name: run.median("stages_ms", name) for name in run.stats[-1]["stages_ms"]},
        "memory_mib": [run.memory_mib[0], run.memory_mib[-1]],
        "complaints": run.console,
        "face_share": face_share,
        "follows": {name: {"r": one.correlation, "lag_s": one.lag_s} for name, one in found.items()},
    }


def describe(result: dict[str, Any]) -> str:
    """Put a result into lines for people."""
    stages = ", ".join(f"{name} {value:.1f}" for name, value in result["stages_ms"].items())
    follows = ", ".join(f"{name} {one['r']:.2f}" for name, one in result["follows"].items())
    first, last = result["memory_mib"]
    return (
        f"in a browser, {result['seconds']:.0f} s of {result['clip']}: {result['fps_sent']:.1f} fps sent, "
        f"{result['fps_shown']:.1f} shown; "
        f"age at egress {result['age_p50_ms']:.1f} ms, p95 {result['age_p95_ms']:.1f} ms; "
        f"delay {result['delay_ms']:.1f} ms; memory {first:.0f} to {last:.0f} MiB\n"
        f"  stages, ms: {stages}\n"
        f"  follows, r: {follows}; a face in {100 * result['face_share']:.1f} % of the output's frames"
    )
