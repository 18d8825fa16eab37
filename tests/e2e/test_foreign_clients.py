"""WHIP and WHEP by clients that nobody here wrote: the `whip-whep` package of npm, in Chromium."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer
from playwright.async_api import Route, async_playwright

from streamer.app import create_app
from streamer.config import Config, MediaConfig
from tests.e2e.chromium import CHROMIUM_ARGUMENTS
from tests.unit.streamer.fakes import FakeSettings, FakeTargets

pytestmark = pytest.mark.browser

PACKAGE = "whip-whep@1.2.0"
PAGE = """<!doctype html><video id="output" autoplay muted playsinline></video>
<script type="module" src="/foreign/test.js"></script>"""
SCRIPT = """
import { WHIPClient } from "/foreign/whip.js";
import { WHEPClient } from "/foreign/whep.js";
const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240 }, audio: true });
const source = new RTCPeerConnection();
for (const track of stream.getTracks()) source.addTransceiver(track, { direction: "sendonly", streams: [stream] });
const whip = new WHIPClient();
await whip.publish(source, new URL("/whip", location).href);
const viewer = new RTCPeerConnection();
viewer.addTransceiver("audio", { direction: "recvonly" });
viewer.addTransceiver("video", { direction: "recvonly" });
const output = document.getElementById("output");
viewer.ontrack = ({ track }) => track.kind === "video" && (output.srcObject = new MediaStream([track]));
const whep = new WHEPClient();
await whep.view(viewer, new URL("/whep/live", location).href);
let shown = 0;
const count = () => {
  document.body.dataset.shown = String(++shown);
  if (shown === 30) void Promise.all([whep.stop(), whip.stop()]).then(() => (document.body.dataset.state = "done"));
  else output.requestVideoFrameCallback(count);
};
output.requestVideoFrameCallback(count);
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("npm") is None:
        pytest.skip("no npm, to get a WHIP and WHEP client with")
    folder = tmp_path_factory.mktemp("npm")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"npm could not get {PACKAGE}: {done.stderr.strip().splitlines()[-1:]}")
    return folder / "node_modules" / "whip-whep"


@pytest.fixture(params=["auto", "h264"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[TestServer]:
    # `ice_servers`: the clients must understand the Link headers that come with them.
    media = MediaConfig(codec=request.param, ice_servers=("stun:127.0.0.1:9",))
    server = TestServer(create_app(Config(media=media, settings=FakeSettings()), targets=FakeTargets()))
    await server.start_server()
    yield server
    await server.close()


async def test_they_publish_and_watch_and_leave(server: TestServer, package: Path, chromium_path: str) -> None:
    async def give(route: Route) -> None:
        name = route.request.url.rsplit("/", 1)[1]
        if name == "test.html":
            await route.fulfill(body=PAGE, content_type="text/html")
        elif name == "test.js":
            await route.fulfill(body=SCRIPT, content_type="text/javascript")
        else:
            await route.fulfill(path=package / name, content_type="text/javascript")

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium_path, args=[*CHROMIUM_ARGUMENTS, "--use-fake-device-for-media-stream"]
        )
        try:
            page = await browser.new_page()
            problems: list[str] = []
            page.on("pageerror", lambda error: problems.append(str(error)))
            await page.route("**/foreign/*", give)
            await page.goto(str(server.make_url("/foreign/test.html")))
            await page.wait_for_selector("body[data-state=done]", timeout=45_000, state="attached")
            assert problems == []
            size = await page.evaluate("[output.videoWidth, output.videoHeight]")
            assert size == [256, 256]
            sessions = await page.evaluate("fetch('/api/sessions').then((response) => response.json())")
            assert sessions["sessions"] == []
        finally:
            await browser.close()
