"""The whole chain as a person uses it: `reenact serve` in a process of its own, Chromium with a clip for a camera.

`run_live` plays a clip through and gives back what the page said and what it showed, frame by frame.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import ViewportSize, sync_playwright

from capture.follow import Following, follow_correlation, measure
from capture.landmarks import LandmarkDetector
from tests.e2e.chromium import CHROMIUM_ARGUMENTS

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 10.0
RESAMPLED_FPS = 120.0
ARGUMENTS = ("--use-fake-device-for-media-stream", *CHROMIUM_ARGUMENTS)
VIEWPORT: ViewportSize = {"width": 800, "height": 600}
"""Small: without a GPU the browser's drawing takes the cores that the server is measured on."""

RECORD = """
async ({seconds, stride}) => {
    const end = performance.now() + 1000 * seconds;
    const record = (video) => new Promise((done) => {
        const shots = [];
        let seen = 0;
        const step = (now, {expectedDisplayTime}) => {
            if (now > end) return done(Promise.all(shots));
            if (seen++ % stride === 0) {
                shots.push(createImageBitmap(video).then((bitmap) => ({time: expectedDisplayTime, bitmap})));
            }
            video.requestVideoFrameCallback(step);
        };
        video.requestVideoFrameCallback(step);
    });
    const kept = await Promise.all(["camera", "output"].map((id) => record(document.getElementById(id))));
    const encode = async ({time, bitmap}) => {
        const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
        canvas.getContext("bitmaprenderer").transferFromImageBitmap(bitmap);
        const file = await canvas.convertToBlob({type: "image/jpeg", quality: 0.92});
        const bytes = new Uint8Array(await file.arrayBuffer());
        let text = "";
        for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
        return {time, picture: btoa(text)};
    };
    const [camera, output] = [[], []];
    for (const shot of kept[0]) camera.push(await encode(shot));
    for (const shot of kept[1]) output.push(await encode(shot));
    return {camera, output};
}
"""
"""Keeps what each of both videos shows, and when it comes on the screen: pictures are only copied meanwhile, and made
files of afterwards, for the two cores are the server's and the browser's."""


@dataclass
class Shown:
    """What one video of the page showed."""

    times_s: list[float] = field(default_factory=list)
    """When each picture came on the screen, on the page's clock."""
    pictures: list[NDArray[np.uint8]] = field(default_factory=list)
    """Each `[H, W, 3]` RGB."""

    @classmethod
    def from_page(cls, shots: list[dict[str, Any]]) -> Shown:
        """Take over what `RECORD` gives of one video."""
        return cls([shot["time"] / 1000 for shot in shots], [_decode(shot["picture"]) for shot in shots])


@dataclass
class LiveRun:
    """What came of one run."""

    stats: list[dict[str, Any]] = field(default_factory=list)
    """`window.reenact.stats()` twice a second while live."""
    camera: Shown = field(default_factory=Shown)
    output: Shown = field(default_factory=Shown)
    console: list[str] = field(default_factory=list)
    """Warnings and errors in the page's console."""
    server_log: str = ""
    metrics: str = ""
    """`/metrics` at the end."""
    memory_mib: list[float] = field(default_factory=list)
    """Resident memory of the server, twice a second."""
    screenshot: bytes = b""
    """The page while live, PNG."""
    exit_code: int | None = None
    """Of the server, after SIGTERM."""

    def median(self, *path: str) -> float:
        """Give the median over time of one number in `stats`, by its path of keys."""
        return float(np.median(self._series(path)))

    def worst(self, *path: str) -> float:
        """Give the 95th percentile over time of one number in `stats`."""
        return float(np.percentile(self._series(path), 95))

    def _series(self, path: tuple[str, ...]) -> list[float]:
        values = []
        for snapshot in self.stats:
            value: Any = snapshot
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                values.append(float(value))
        return values


def free_port() -> int:
    """Ask the system for a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    log: Path, *options: str, settings: Iterable[str] = (), module: str = "streamer.cli"
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run `reenact serve`, or another `module` in its place, until it answers; end it with SIGTERM.

    `settings` are as `a.b=c`. Gives its address and its process.
    """
    port = free_port()
    command = [sys.executable, "-m", module, "serve", "--port", str(port), *options]
    command += [word for setting in settings for word in ("--set", setting)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, env=os.environ.copy())
    address = f"http://127.0.0.1:{port}"
    try:
        _await_health(address, process, log)
        yield address, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_health(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{address}/healthz", timeout=2) as answer:
                if json.load(answer)["status"] == "ok":
                    return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the server does not answer:\n{log.read_text(errors='replace')}")


def run_live(
    camera_file: Path, folder: Path, chromium: str, *, seconds: float, record_s: float = 0.0, stride: int = 2
) -> LiveRun:
    """Serve milo to a browser whose camera is `camera_file` (Y4M) for `seconds`, then record for `record_s`.

    Of both videos, one frame of `stride` is kept.

    Recording itself takes time of the two cores, so that figures of speed are those from before it.
    """
    run = LiveRun()
    log = folder / "server.log"
    with serving(log, "--actor", "milo", settings=["governor.is_on=false"]) as (address, process):
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=[*ARGUMENTS, f"--use-file-for-fake-video-capture={camera_file}"]
            )
            try:
                _drive(browser.new_page(viewport=VIEWPORT), address, process.pid, run, seconds, record_s, stride)
            finally:
                browser.close()
        process.send_signal(signal.SIGTERM)
        run.exit_code = process.wait(STOP_TIMEOUT_S)
    run.server_log = log.read_text(errors="replace")
    return run


def _drive(page: Any, address: str, pid: int, run: LiveRun, seconds: float, record_s: float, stride: int) -> None:
    page.on(
        "console", lambda message: run.console.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: run.console.append(str(error)))
    page.goto(f"{address}/?actor=milo&autostart=1")
    page.wait_for_selector("body[data-state=live]", timeout=60_000)
    page.wait_for_timeout(3000)  # the encoders' rates settle
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        page.wait_for_timeout(500)
        run.stats.append(
            {**page.evaluate("window.reenact.stats()"), "page_state": page.evaluate("document.body.dataset.state")}
        )
        run.memory_mib.append(resident_mib(pid))
    if record_s > 0:
        recorded = page.evaluate(RECORD, {"seconds": record_s, "stride": stride})
        run.camera, run.output = Shown.from_page(recorded["camera"]), Shown.from_page(recorded["output"])
    run.screenshot = page.screenshot()
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as answer:
        run.metrics = answer.read().decode()


def _decode(text: str) -> NDArray[np.uint8]:
    with Image.open(BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image.convert("RGB"))


def resident_mib(pid: int) -> float:
    """Read the resident memory of a process, MiB."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def landmarks_of(images: list[NDArray[np.uint8]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Detect landmarks `[T, 478, 2]` and depths `[T, 478]` in each image; NaN where no face is found."""
    points = np.full((len(images), 478, 2), np.nan, np.float32)
    depths = np.full((len(images), 478), np.nan, np.float32)
    detector = LandmarkDetector()
    try:
        for index, image in enumerate(images):
            found = detector.detect(image)
            if found is not None:
                points[index], depths[index] = found.points_px, found.depth_px
    finally:
        detector.close()
    return points, depths


def following(run: LiveRun) -> tuple[dict[str, Following], float]:
    """Correlate what the output shows with what the camera showed; gives also the share of outputs with a face."""
    source, output = (measure(*landmarks_of(shown.pictures)) for shown in (run.camera, run.output))
    share = float(np.isfinite(output["yaw"]).mean())
    ticks = np.arange(
        max(run.camera.times_s[0], run.output.times_s[0]),
        min(run.camera.times_s[-1], run.output.times_s[-1]),
        1 / RESAMPLED_FPS,
    )

    def resampled(shown: Shown, series: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        return {name: np.interp(ticks, shown.times_s, values) for name, values in series.items()}

    return follow_correlation(resampled(run.camera, source), resampled(run.output, output), RESAMPLED_FPS), share
