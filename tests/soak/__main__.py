"""Soak: hours of use in minutes. `make soak` runs it for 60 minutes, then as long with faults.

A real browser is live on a real server; its page is reloaded every minute, and a viewer comes and goes. Memory,
threads, file handles and latency must not grow. A table for people, one JSON line last; exit code 1 where a bound
is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Error, Page, sync_playwright

from tests.clips import camera_file, clip_path
from tests.conftest import find_chromium
from tests.e2e.live import ARGUMENTS, VIEWPORT, resident_mib, serving

SAMPLE_S = 2.0
SHORT_SAMPLE_S = 1.0
"""A short run has few samples, and none while its page is loaded anew."""
VIEWER_S = 20.0
"""A viewer is away for this long, and then there for as long."""
SHORT_AWAY_S = 4.0
"""For how long a viewer is away in a short run: each has handles of its own, and the few samples of its beginning and
its end must be of the same."""
WARM_UP = 0.3
"""Share of the run, and at least one reload of it, after which everything should be as it will be."""


@dataclass(frozen=True)
class Bound:
    """How much a quantity may grow from the first third after warm-up to the last."""

    factor: float
    short_factor: float
    """For runs shorter than `SHORT_MINUTES`: they end before an allocator has settled and every engine has run."""
    extra: float
    unit: str


SHORT_MINUTES = 20.0
SHORT_HURRY = 3.0
"""How much more often something fails in those."""
FLOOR = 0.1
"""Share of the samples that lie below what is judged of a long run with faults: each engine has threads and memory of
its own, and which one runs is chance. What leaks raises the floor, too. A short run has too few samples for one: there,
what was seen while warming up was no growth yet, either. Latency is judged by it there, too: a fault delays pictures
after it, and what must not grow is what they come back to."""

BOUNDS = {
    "memory": Bound(1.03, 1.1, 0.0, "MiB"),
    "threads": Bound(1.0, 1.25, 1.0, ""),
    "handles": Bound(1.0, 1.1, 2.0, ""),
    # Age of frames beside a fixed piece of work: the machine's own speed comes and goes.
    "latency": Bound(1.5, 3.0, 0.0, "times"),
}
REFERENCE_STEPS = 40_000
REFERENCE_TRIES = 5
REPORT_S = 300.0


@dataclass
class Soak:
    """What was seen."""

    samples: list[dict[str, float]] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def sample(pid: int, page: Page) -> dict[str, float]:
    """Look at the server from outside, and at its latency through the page."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    threads = next(line.split()[1] for line in status.splitlines() if line.startswith("Threads:"))
    seen = {
        "memory": resident_mib(pid),
        "threads": float(threads),
        "handles": float(len(os.listdir(f"/proc/{pid}/fd"))),
    }
    stats: dict[str, Any] = page.evaluate("window.reenact?.stats() ?? {}")
    is_live = page.evaluate("document.body.dataset.state") == "live"
    age = (stats.get("age_ms") or {}).get("p50") if is_live else None
    return seen | ({"age_ms": float(age), "latency": float(age) / reference_ms()} if age else {})


def reference_ms() -> float:
    """Time a fixed piece of work: how slow the machine is just now.

    The quickest of several: one alone, beside a server and a browser on two cores, is soon twenty times slower, which
    made of steady 250 ms now 2 and now 36 times the reference.
    """
    times_s = []
    for _ in range(REFERENCE_TRIES):
        began = time.perf_counter()
        for _ in range(REFERENCE_STEPS):
            pass
        times_s.append(time.perf_counter() - began)
    return 1000.0 * min(times_s)


def tell(soak: Soak, since_s: float) -> None:
    """Say on stderr how it goes, every five minutes."""
    if since_s // REPORT_S > (since_s - SAMPLE_S) // REPORT_S:
        newest = {name: round(value, 1) for name, value in soak.samples[-1].items()}
        print(f"{since_s / 60:.0f} min: {newest}, {dict(soak.counts)}", file=sys.stderr, flush=True)


def listen(page: Page, soak: Soak) -> None:
    """Note what the page complains of."""
    page.on("pageerror", lambda error: soak.console.append(str(error)))

    def note(message: ConsoleMessage) -> None:
        # A page that leaves takes its session back, which the page that came has replaced already.
        is_farewell = "status of 404" in message.text and "/whip/" in message.location.get("url", "")
        if message.type in ("error", "warning") and not is_farewell:
            soak.console.append(message.text)

    page.on("console", note)


def go_live(page: Page, address: str, soak: Soak) -> None:
    """Open or reload the page and wait until it is live; once more where a fault came in between."""
    for attempt in range(3):
        page.goto(f"{address}/?actor=milo&autostart=1")
        try:
            page.wait_for_selector("body[data-state=live]", timeout=60_000)
        except Error:
            soak.counts["not live at first"] += 1
            if attempt == 2:
                soak.problems.append("the page did not become live")
        else:
            soak.counts["reloads"] += 1
            return


def visit(
    browser: Browser, address: str, viewer: Page | None, since_s: float, soak: Soak, *, is_short: bool
) -> Page | None:
    """Let the viewer come, stay, or go."""
    away_s = SHORT_AWAY_S if is_short else VIEWER_S
    is_there = since_s % (away_s + VIEWER_S) >= away_s
    if is_there and viewer is None:
        viewer = browser.new_page(viewport={"width": 320, "height": 320})
        viewer.goto(f"{address}/view/live")
        soak.counts["viewers"] += 1
    elif not is_there and viewer is not None:
        viewer.close()
        viewer = None
    return viewer


def run(
    chromium: str, folder: Path, *, seconds: float, reload_s: float, is_faulty: bool, is_short: bool, fps: int
) -> Soak:
    """Use the server for `seconds`, with a camera of `fps` frames a second."""
    soak, log = Soak(), folder / "server.log"
    camera = camera_file(clip_path(), fps=fps, size=(640, 360))
    module = "tests.soak.faulty_server" if is_faulty else "streamer.cli"
    os.environ["SOAK_HURRY"] = str(SHORT_HURRY if is_short else 1.0)
    with serving(log, "--actor", "milo", module=module) as (address, process), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=[*ARGUMENTS, f"--use-file-for-fake-video-capture={camera}"]
        )
        page, viewer = browser.new_page(viewport=VIEWPORT), None
        listen(page, soak)
        go_live(page, address, soak)
        began = loaded = time.monotonic()
        while (now := time.monotonic()) - began < seconds and process.poll() is None:
            if now - loaded >= reload_s:
                go_live(page, address, soak)
                loaded = time.monotonic()
            viewer = visit(browser, address, viewer, now - began, soak, is_short=is_short)
            page.wait_for_timeout(1000 * (SHORT_SAMPLE_S if is_short else SAMPLE_S))
            soak.samples.append(sample(process.pid, page))
            tell(soak, now - began)
        if process.poll() is not None:
            soak.problems.append(f"the server ended with {process.returncode}")
        browser.close()
    if process.returncode != 0:
        soak.problems.append(f"the server's exit code was {process.returncode}")
    judge_log(log.read_text(errors="replace"), soak, is_faulty=is_faulty)
    return soak


def judge_log(log: str, soak: Soak, *, is_faulty: bool) -> None:
    """Count what was mended; without faults nothing may have to be."""
    soak.counts["engines replaced"] = log.count("the next one takes over")
    soak.counts["threads replaced"] = log.count("and is replaced")
    if is_faulty and not (soak.counts["engines replaced"] or soak.counts["threads replaced"]):
        soak.problems.append("nothing went wrong: the run tried nothing")
    errors = [line for line in log.splitlines() if " ERROR " in line or " CRITICAL " in line]
    if not is_faulty and (errors or "Traceback" in log):
        soak.problems.append(f"the server's log has errors: {errors[:3]}")
    if any(" CRITICAL " in line for line in errors):
        soak.problems.append("the server gave itself up")
    if not is_faulty and soak.console:
        soak.problems.append(f"the page complained: {soak.console[:3]}")


def typical(values: list[float], *, by_floor: bool) -> float:
    """Give the median, or the floor: see `FLOOR`."""
    return sorted(values)[int(FLOOR * len(values))] if by_floor else statistics.median(values)


def judge(soak: Soak, *, share: float, is_short: bool, is_faulty: bool) -> list[dict[str, Any]]:
    """Compare the first third after warm-up with the last, quantity by quantity."""
    # Between two sessions most threads and handles are gone: only what is live can be compared with what is live.
    num_warming = int(share * len(soak.samples))
    warming, settled = (
        [entry for entry in part if "latency" in entry]
        for part in (soak.samples[:num_warming], soak.samples[num_warming:])
    )
    rows = []
    for name, bound in BOUNDS.items():
        values = [entry[name] for entry in settled if name in entry]
        third = len(values) // 3
        if third == 0:
            soak.problems.append(f"{name} was never measured")
            continue
        parts = values[:third], values[-third:]
        by_floor = is_faulty and (not is_short or name == "latency")
        first, last = (typical(part, by_floor=by_floor) for part in parts)
        if is_faulty and is_short:
            first = max([first, *(entry[name] for entry in warming)])
        factor = bound.short_factor if is_short else bound.factor
        is_held = last <= factor * first + bound.extra
        if not is_held:
            soak.problems.append(f"{name} grew from {first:.1f} to {last:.1f} {bound.unit}".rstrip())
        rows.append(
            {
                "quantity": name, "first": first, "last": last, "medians": [statistics.median(part) for part in parts],
                "unit": bound.unit, "is_held": is_held,
            }
        )  # fmt: skip
    return rows


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="of each of the two runs (60)")
    parser.add_argument("--reload", type=float, default=60.0, help="seconds between reloads (60; less in a short run)")
    parser.add_argument("--fps", type=int, default=30, help="of the camera (30; fewer on a busy machine)")
    parser.add_argument("--log", type=Path, metavar="FOLDER", help="keep the servers' logs there")
    parser.add_argument("--only", choices=("plain", "faulty"), help="one of the two runs")
    args = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        print("soak: no Chromium: install the package chromium, or name one with CHROMIUM=...", file=sys.stderr)
        return 1
    seconds, is_short = 60 * args.minutes, args.minutes < SHORT_MINUTES
    reload_s = min(args.reload, max(10.0, seconds / 6))
    report, has_failed = {}, False
    for kind in ("plain", "faulty"):
        if args.only not in (None, kind):
            continue
        is_faulty = kind == "faulty"
        with tempfile.TemporaryDirectory() as scratch:
            folder = args.log / kind if args.log else Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            soak = run(
                chromium, folder, seconds=seconds, reload_s=reload_s, is_faulty=is_faulty, is_short=is_short,
                fps=args.fps,
            )  # fmt: skip
        share = max(WARM_UP, min(0.6, 1.5 * reload_s / seconds))
        rows = judge(soak, share=share, is_short=is_short, is_faulty=is_faulty)
        print(f"{kind}: {args.minutes:g} minutes, {dict(soak.counts)}")
        for row in rows:
            mark = "held" if row["is_held"] else "GREW"
            print(f"  {row['quantity']:10} {row['first']:10.1f} -> {row['last']:10.1f} {row['unit']:4} {mark}")
        for problem in soak.problems:
            print(f"  {problem}")
        has_failed |= bool(soak.problems)
        report[kind] = {"rows": rows, "counts": dict(soak.counts), "problems": soak.problems}
    print(json.dumps({"minutes": args.minutes, "is_held": not has_failed, **report}))
    return 1 if has_failed else 0


if __name__ == "__main__":
    sys.exit(main())
