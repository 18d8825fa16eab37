"""How fast it is here: `make bench`. A table for people, one JSON line last for machines.

Milliseconds on a shared machine are noise; the ratios to a reference that runs beside it are not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from reenact.actor import Actor, ActorError
from tests.benchmark.browser import describe, measure_browser
from tests.benchmark.door import measure_door
from tests.benchmark.glass import measure_side_by_side
from tests.benchmark.measurements import (
    Effort,
    bare_mediapipe,
    measure_codecs,
    measure_generation,
    measure_growth,
    measure_live,
    measure_tracking,
    read_clip,
)
from tests.benchmark.networks import measure_all_cases
from tests.benchmark.paired import Row, table
from tests.benchmark.provenance import measure_provenance, measure_trust
from tests.benchmark.regression import measure_regression
from tests.clips import clip_path
from tests.conftest import find_chromium


def machine() -> dict[str, object]:
    """Describe what the figures were taken on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "load_at_start": load}


def main() -> int:
    """Run the command; give its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark", description=__doc__)
    parser.add_argument("--actor", default="milo", help="name or folder of the target (default milo)")
    parser.add_argument("--engine", default="auto", help="engine to measure (default auto)")
    parser.add_argument("--clip", type=Path, help="video of a face (default: one out of a registry)")
    parser.add_argument("--rounds", type=int, default=12, help="rounds of each comparison (default 12)")
    parser.add_argument("--sizes", default="128,256,384,512", help="resolutions of generation, pixels")
    parser.add_argument(
        "--live-seconds", type=float, default=60.0, help="length of the run in a browser; 0 leaves it out"
    )
    parser.add_argument(
        "--glass-turns", type=int, default=3, help="turns of 20 s of ours and of a stock echo; 0 leaves them out"
    )
    parser.add_argument(
        "--networks", action=argparse.BooleanOptionalAction, default=True, help="also measure through bad networks"
    )
    args = parser.parse_args()
    effort = Effort(rounds=args.rounds, engine=args.engine, sizes=tuple(int(size) for size in args.sizes.split(",")))
    described = machine()
    try:
        actor = Actor.load(args.actor)
    except ActorError as error:
        print(error, file=sys.stderr)
        return 1
    skipped: list[str] = []
    rows: list[Row] = []

    def run(name: str, work: Callable[[], list[Row]]) -> None:
        print(f"measuring {name} ...", file=sys.stderr)
        rows.extend(work())

    clip: Path | None = None
    live: dict[str, object] | None = None
    try:
        clip = args.clip or clip_path()
        frames = read_clip(clip)
    except pytest.skip.Exception as skip:
        skipped.append(f"tracking, codecs and the live path: {skip}")
        frames = []
    chromium = find_chromium()
    if clip is not None and args.live_seconds > 0 and chromium is not None:
        print("measuring in a browser ...", file=sys.stderr)
        live = measure_browser(clip, chromium, seconds=args.live_seconds, record_s=20.0)
    elif args.live_seconds > 0:
        skipped.append("the run in a browser: no Chromium, or no clip")
    glass = measure_side_by_side(clip, chromium, turns=args.glass_turns, skipped=skipped)
    networks = measure_all_cases(chromium, skipped) if args.networks else []
    if frames:
        run("the live path", lambda: measure_live(actor, frames, effort))
        run(
            "trust",
            lambda: measure_trust(actor, frames, engine=effort.engine, rounds=effort.rounds, calls=effort.calls),
        )
        run("tracking", lambda: [measure_tracking(frames, effort)])
        run(
            "regression",
            lambda: measure_regression(frames, bare_mediapipe(frames), rounds=effort.rounds, calls=effort.calls),
        )
        run("codecs", lambda: measure_codecs(frames, actor.resolution, effort))
    run("the door", lambda: [measure_door(rounds=effort.rounds, calls=effort.calls)])
    for size in (256, 512):
        run(
            f"provenance at {size}",
            lambda size=size: measure_provenance(size, rounds=effort.rounds, calls=effort.calls),  # type: ignore[misc]
        )
    for size in effort.sizes:
        run(f"generation at {size}", lambda size=size: [measure_generation(actor, size, effort)])  # type: ignore[misc]
    for size in effort.sizes:
        if size != actor.resolution:
            run(f"growth to {size}", lambda size=size: measure_growth(actor, size, effort))  # type: ignore[misc]
    print(table(rows))
    for note in dict.fromkeys(row.note for row in rows if row.note):
        print(f"  {note}")
    if live is not None:
        print(describe(live))
    for reason in skipped:
        print(f"not measured: {reason}")
    measured = {"rows": [row.to_json() for row in rows], "browser": live, "glass": glass, "skipped": skipped}
    measured["networks"] = [asdict(outcome) for outcome in networks]
    print(json.dumps({"machine": described, **measured}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
