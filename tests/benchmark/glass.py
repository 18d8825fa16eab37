"""Glass to glass in a real browser, ours and a stock aiortc echo in turn: `python -m tests.benchmark.glass`.

The camera cuts between two poses. When it does, and when the output follows, is read out of what both videos show. Both
servers, the browser and the camera file are the same throughout; what the page itself says of its delay is compared.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, ViewportSize, sync_playwright

from streamer.app import WEB_FOLDER
from tests.benchmark.jumps import Watched, changes, jumping_camera
from tests.clips import clip_path
from tests.conftest import find_chromium
from tests.e2e.live import ARGUMENTS, free_port, serving

SIZE = (640, 360)
SETTLE_MS = 4000
SAME_MS = 1.0
"""How far two accounts of when a frame was displayed may lie apart."""
VIEWPORT: ViewportSize = {"width": 800, "height": 600}

WATCH = """
async ({seconds}) => {
    const {whenDisplayed} = await import("./web/latency.js");
    const [width, height] = [32, 24];
    const end = performance.now() + 1000 * seconds;
    const watch = (video) => new Promise((done) => {
        const canvas = new OffscreenCanvas(width, height);
        const context = canvas.getContext("2d", {willReadFrequently: true});
        const seen = [];
        const step = (now, metadata) => {
            if (now > end) return done(seen);
            context.drawImage(video, 0, 0, width, height);
            const {data} = context.getImageData(0, 0, width, height);
            let text = "";
            for (let i = 0; i < data.length; i += 4) {
                text += String.fromCharCode((77 * data[i] + 150 * data[i + 1] + 29 * data[i + 2]) >> 8);
            }
            seen.push([metadata.captureTime ?? null, whenDisplayed(now, metadata), btoa(text)]);
            video.requestVideoFrameCallback(step);
        };
        video.requestVideoFrameCallback(step);
    });
    const said = [];
    const frames = new Map();
    const ask = () => {
        const glass = window.reenact?.stats().glass_ms.p50;
        if (glass != null) said.push(glass);
        for (const frame of window.reenact?.latency() ?? []) frames.set(frame.atMs, frame);
    };
    const timer = setInterval(ask, 500);
    const [camera, output] = await Promise.all(["camera", "output"].map((id) => watch(document.getElementById(id))));
    await new Promise((done) => setTimeout(done, 1000));
    clearInterval(timer);
    return {camera, output, said, frames: [...frames.values()], stats: window.reenact?.stats() ?? null};
}
"""
"""Small grey pictures of everything that both videos show. In: when the camera caught it. Out: when it is displayed."""


@dataclass
class Side:
    """What came of one of the two."""

    delays_ms: list[float] = field(default_factory=list)
    """Of every change of pose."""
    medians_ms: list[float] = field(default_factory=list)
    """Of every turn."""
    said_ms: list[float] = field(default_factory=list)
    """What the page said of all frames meanwhile."""
    off_ms: list[float] = field(default_factory=list)
    """By how much it said more, or less, of the very frames that showed the changes."""
    stats: dict[str, Any] | None = None

    def add(self, seen: dict[str, Any]) -> None:
        """Take one turn in."""
        found = changes(_watched(seen["camera"], 0), _watched(seen["output"], 1))
        delays = [change.delay_ms for change in found]
        self.delays_ms += delays
        if found:
            self.medians_ms.append(float(np.median(delays)))
        self.said_ms += seen["said"]
        for change in found:
            near = [frame for frame in seen["frames"] if abs(frame["atMs"] - change.followed_ms) < SAME_MS]
            self.off_ms += [frame["total"] - change.delay_ms for frame in near[:1]]
        self.stats = seen["stats"] or self.stats

    def to_json(self) -> dict[str, Any]:
        """Turn into plain JSON values."""
        return {
            "changes": len(self.delays_ms),
            "p50_ms": round(float(np.median(self.delays_ms)), 1),
            "p95_ms": round(float(np.percentile(self.delays_ms, 95)), 1),
            "turns_ms": [round(value, 1) for value in self.medians_ms],
        }


def _watched(rows: list[list[Any]], time: int) -> Watched:
    rows = [row for row in rows if row[time] is not None]
    pictures = [np.frombuffer(base64.b64decode(row[2]), np.uint8) for row in rows]
    return Watched(np.array(pictures, np.float64), np.array([row[time] for row in rows], np.float64))


@contextmanager
def stock() -> Iterator[str]:
    """Run the stock echo; gives its address."""
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmark.stock_echo", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait()


def _turn(browser: Browser, address: str, seconds: float) -> dict[str, Any]:
    page = browser.new_page(viewport=VIEWPORT)
    try:
        # The echo serves nothing of ours: what says when a picture is displayed comes to its page from here.
        page.route("**/web/latency.js", lambda route: route.fulfill(path=WEB_FOLDER / "latency.js"))
        page.goto(address)
        page.wait_for_selector("body[data-state=live]", timeout=60_000)
        page.wait_for_timeout(SETTLE_MS)
        seen: dict[str, Any] = page.evaluate(WATCH, {"seconds": seconds})
        return seen
    finally:
        page.close()


def measure_glass(
    camera: Path, chromium: str, *, seconds: float, turns: int, actor: str = "milo", settings: tuple[str, ...] = ()
) -> tuple[Side, Side]:
    """Let ours and the stock echo take `turns` turns of `seconds` each; `settings` are ours, as `a.b=c`."""
    ours, theirs = Side(), Side()
    with tempfile.TemporaryDirectory() as folder, stock() as echo, sync_playwright() as playwright:
        with serving(Path(folder) / "server.log", "--actor", actor, settings=settings) as (address, _):
            browser = playwright.chromium.launch(
                executable_path=chromium, args=[*ARGUMENTS, f"--use-file-for-fake-video-capture={camera}"]
            )
            try:
                _turn(browser, f"{address}/?autostart=1", 2.0)  # the network is compiled, the codecs are loaded
                for _ in range(turns):
                    theirs.add(_turn(browser, echo, seconds))
                    ours.add(_turn(browser, f"{address}/?autostart=1", seconds))
            finally:
                browser.close()
    return ours, theirs


def compare_glass(ours: Side, theirs: Side) -> dict[str, Any]:
    """Put both side by side."""
    if not ours.delays_ms or not theirs.delays_ms:
        raise ValueError("no change of pose was seen: is the machine too busy?")
    one, other = ours.to_json(), theirs.to_json()
    parts = (ours.stats or {}).get("latency_ms") or {}
    said = float(np.median(ours.said_ms)) if ours.said_ms else None
    return {
        "ours": one,
        "stock": other,
        "ratio_p50": round(one["p50_ms"] / other["p50_ms"], 3),
        "ratio_p95": round(one["p95_ms"] / other["p95_ms"], 3),
        "page_says_ms": said and round(said, 1),
        "page_is_off_ms": round(float(np.median(ours.off_ms)), 1) if ours.off_ms else None,
        "page_within_10_ms": round(float(np.mean(np.abs(ours.off_ms) <= 10)), 3) if ours.off_ms else None,
        "parts_ms": {name: part["p50"] and round(part["p50"], 1) for name, part in parts.items()},
    }


def describe(result: dict[str, Any]) -> str:
    """Put a result into lines for people."""
    lines = ["glass to glass, by changes of pose in the pixels of both videos:"]
    for name, side in (("ours", result["ours"]), ("stock aiortc echo", result["stock"])):
        lines.append(
            f"  {name:<18} median {side['p50_ms']:6.1f} ms   p95 {side['p95_ms']:6.1f} ms   {side['changes']} changes"
        )
    lines.append(f"  ratio              median {result['ratio_p50']:.2f}        p95 {result['ratio_p95']:.2f}")
    lines.append(
        f"  of the frames that showed a change, the page's number is off by {result['page_is_off_ms']} ms (median),"
        f" by at most 10 ms in {result['page_within_10_ms']:.0%}; of all frames it says {result['page_says_ms']} ms"
    )
    parts = ", ".join(f"{name} {value}" for name, value in result["parts_ms"].items())
    return "\n".join([*lines, f"  of which, ms: {parts}"])


def measure_side_by_side(
    clip: Path | None, chromium: str | None, *, turns: int, skipped: list[str]
) -> dict[str, Any] | None:
    """Measure as `make bench` does and print it; None, with its reason among `skipped`, where that cannot be."""
    if turns <= 0:
        return None
    if clip is None or chromium is None:
        skipped.append("glass to glass: no Chromium, or no clip")
        return None
    print("measuring glass to glass ...", file=sys.stderr)
    camera = jumping_camera(clip, size=SIZE, seconds=20.0)
    try:
        result = compare_glass(
            *measure_glass(camera, chromium, seconds=20.0, turns=turns, settings=("governor.is_on=false",))
        )
    except ValueError as error:
        skipped.append(f"glass to glass: {error}")
        return None
    print(describe(result))
    return result


def main() -> int:
    """Run the command; give its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.glass", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each turn (default 20)")
    parser.add_argument("--turns", type=int, default=3, help="turns of each (default 3)")
    parser.add_argument("--clip", type=Path, help="video of a face (default: one out of a registry)")
    parser.add_argument("--actor", default="milo", help="name or folder of the target (default milo)")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C", help="a setting of ours")
    args = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        print("no Chromium", file=sys.stderr)
        return 1
    camera = jumping_camera(args.clip or clip_path(), size=SIZE, seconds=20.0)
    settings = ("governor.is_on=false", *args.set)
    result = compare_glass(
        *measure_glass(camera, chromium, seconds=args.seconds, turns=args.turns, actor=args.actor, settings=settings)
    )
    print(describe(result))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
