"""What each setting does to delay and picture: `python -m tests.benchmark.settings_effect --write docs/latency.md`.

One session in a real browser; each setting is changed on the page, given time to act, measured and put back. Before and
after every change stands what holds without it, so that a machine that grows slow meanwhile shows.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.clips import camera_file, clip_path
from tests.conftest import find_chromium
from tests.e2e.live import ARGUMENTS, serving

CHANGES: tuple[tuple[str, Any], ...] = (
    ("media.source_px", 320),
    ("media.frame_rate", 15),
    ("media.output_px", 128),
    ("media.bitrate_kbps", 500),
    ("media.bitrate_kbps", 6000),
    ("media.jitter_ms", 50),
    ("window.stride", 2),
    ("engine.threads", 1),
    ("engine.name", "torch"),
    ("smoothing.min_cutoff_hz", 10.0),
    ("media.codec", "h264"),
)
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
ACT_MS = 6500
"""A change acts at once, or after a second or two; then the page's figures are of five seconds after that."""

SET = """
([key, value]) => {
    const input = document.querySelector(`[data-key="${key}"] :is(input, select)`);
    if (input.type === "checkbox") input.checked = value; else input.value = String(value);
    input.dispatchEvent(new Event("input"));
}
"""
VALUE = "(key) => document.querySelector(`[data-key='${key}'] :is(input, select)`).value"


def figures(page: Page) -> dict[str, Any]:
    """Read the page's figures of the last five seconds."""
    page.wait_for_timeout(ACT_MS)
    stats: dict[str, Any] = page.evaluate("window.reenact.stats()")
    return stats


def row(name: str, stats: dict[str, Any]) -> str:
    """Lay one line of the table out."""
    glass, parts = stats["glass_ms"], stats["latency_ms"]

    def ms(value: float | None) -> str:
        return "–" if value is None else f"{value:.0f}"

    picture = (stats["resolution"]["output"] or "–").replace("x", "×")
    sent = (stats["resolution"]["sent"] or "–").replace("x", "×")
    return (
        f"| {name} | {ms(glass['p50'])} | {ms(glass['p95'])} | {ms(parts['generate']['p50'])} | "
        f"{ms(parts['display']['p50'])} | {stats['fps_output'] or 0} | {sent} | {picture} | "
        f"{stats['bitrate_kbps']['received'] or 0:.0f} |"
    )


def measure(chromium: str, camera: Path) -> list[str]:
    """Give the table's lines."""
    head = "| setting | median, ms | p95, ms | generate | display | shown, fps | camera sent | target | kb/s |"
    lines = [head, "| --- |" + " --- |" * 8]
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "log", "--actor", "milo", settings=["governor.is_on=false"]) as (address, _),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(
            executable_path=chromium, args=[*ARGUMENTS, f"--use-file-for-fake-video-capture={camera}"]
        )
        page = browser.new_page(viewport={"width": 800, "height": 600})
        page.goto(f"{address}/?autostart=1")
        page.wait_for_selector("body[data-state=live]", timeout=60_000)
        page.wait_for_timeout(2000)
        lines.append(row("as it begins", figures(page)))
        for key, value in CHANGES:
            before = page.evaluate(VALUE, key)
            page.evaluate(SET, [key, value])
            lines.append(row(f"`{key}` = {value}", figures(page)))
            page.evaluate(SET, [key, before])
            page.wait_for_timeout(1000)
        lines.append(row("as it ends", figures(page)))
        browser.close()
    return lines


def main() -> int:
    """Run the command; give its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.settings_effect", description=__doc__)
    parser.add_argument("--clip", type=Path, help="video of a face (default: one out of a registry)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the marks of this file")
    args = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        print("no Chromium", file=sys.stderr)
        return 1
    camera = camera_file(args.clip or clip_path(), size=(640, 360), min_seconds=20.0)
    text = "\n".join(measure(chromium, camera))
    print(text)
    if args.write is not None:
        page = args.write.read_text(encoding="utf-8")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        args.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
