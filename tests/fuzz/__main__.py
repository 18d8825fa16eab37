"""`make fuzz`: 10,000 damaged inputs for each fuzz test, each in a process of its own. A table, one JSON line last.

`python -m tests.fuzz [--count N] [WORD]`: with WORD only tests that have it in their names. Exit code 1 if one fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
ROUND = 500
"""As in `tests.fuzz.conftest`."""
SECONDS = 3600.0
"""A test that takes longer hangs."""


@dataclass(frozen=True)
class Outcome:
    """What came of one test."""

    test: str
    inputs: int
    seconds: float
    first_mib: float
    last_mib: float
    handles: tuple[int, int]
    is_held: bool


def tests(word: str) -> list[tuple[Path, str]]:
    """Find the tests that draw inputs: each stands under `@given`."""
    found = []
    for path in sorted(FOLDER.glob("test_*.py")):
        names = re.findall(r"^@given\((?:.|\n)*?^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
        found += [(path, name) for name in names if word in name or word in path.name]
    return found


def run(path: Path, name: str, count: int) -> Outcome:
    """Run one test in a process of its own: the memory that it sees is its own."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "rounds.jsonl"
        report.touch()
        environment = {**os.environ, "FUZZ_COUNT": str(count), "FUZZ_REPORT": str(report)}
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "--durations=0", "-x", f"{path}::{name}"]
        try:
            ended = subprocess.run(
                command, cwd=ROOT, env=environment, timeout=SECONDS, capture_output=True, text=True, check=False
            )
            output, code = ended.stdout + ended.stderr, ended.returncode
        except subprocess.TimeoutExpired as error:
            output, code = f"it hangs: {error}", 1
        rounds = [json.loads(line) for line in report.read_text().splitlines()]
    if code:
        print(output, file=sys.stderr)
    warm = rounds[1] if len(rounds) > 1 else (rounds or [{"kib": 0, "handles": 0}])[0]
    last = rounds[-1] if rounds else warm
    return Outcome(
        name, min(count, ROUND * len(rounds)), round(sum(entry["seconds"] for entry in rounds), 1),
        round(warm["kib"] / 1024, 1), round(last["kib"] / 1024, 1), (warm["handles"], last["handles"]), code == 0,
    )  # fmt: skip


def row(outcome: Outcome) -> str:
    """Lay out one line of the table: memory and handles after the second round and after the last."""
    verdict = "held" if outcome.is_held else "FAILED"
    memory = f"{outcome.first_mib:6.1f} -> {outcome.last_mib:6.1f} MiB"
    handles = f"{outcome.handles[0]} -> {outcome.handles[1]} handles"
    return f"{outcome.test:72} {outcome.inputs:6} inputs {outcome.seconds:7.1f} s {memory}  {handles}  {verdict}"


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("word", nargs="?", default="", metavar="WORD", help="only tests with this in their names")
    parser.add_argument("--count", type=int, default=10_000, metavar="N", help="inputs of each test (10,000)")
    args = parser.parse_args()
    outcomes = []
    for path, name in tests(args.word):
        outcome = run(path, name, args.count)
        outcomes.append(outcome)
        print(row(outcome), flush=True)
    is_held = bool(outcomes) and all(outcome.is_held for outcome in outcomes)
    print(json.dumps({"is_held": is_held, "tests": [asdict(outcome) for outcome in outcomes]}))
    return 0 if is_held else 1


if __name__ == "__main__":
    sys.exit(main())
