"""A real OBS under Xvfb: one click on the page, and OBS itself shows the live output."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse
from aiohttp.test_utils import TestServer
from numpy.typing import NDArray
from PIL import Image
from playwright.async_api import Page, async_playwright

from streamer.app import create_app
from streamer.config import Config
from tests.e2e.chromium import CHROMIUM_ARGUMENTS
from tests.e2e.live import free_port
from tests.unit.streamer.fakes import FakeSettings, FakeTargets

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PASSWORD = "not-a-secret"
SHOWN_WITHIN_S = 3.0
SIZE = (320, 180)
"""Of the screenshots: a quarter of OBS's canvas."""
SETTINGS = """[General]
FirstRun=true
Pre19Defaults=false
[OBSWebSocket]
FirstLoad=false
ServerEnabled=true
ServerPort={port}
AuthRequired=true
AlertsEnabled=false
ServerPassword={password}
"""


@pytest.fixture(scope="module")
def obs_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    for name, package in (("obs", "obs-studio"), ("xvfb-run", "xvfb"), ("xauth", "xauth")):
        if shutil.which(name) is None:
            pytest.skip(f"no {name}: install the package {package}")
    home = tmp_path_factory.mktemp("obs")
    folder = home / ".config" / "obs-studio"
    folder.mkdir(parents=True)
    port = free_port()
    (folder / "global.ini").write_text(SETTINGS.format(port=port, password=PASSWORD))
    # OpenCV, imported by others before, points every Qt at its own plugins, which OBS's Qt cannot load.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("QT_")}
    environment |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "LIBGL_ALWAYS_SOFTWARE": "1"}
    command = ["xvfb-run", "-a", "-s", "-screen 0 1280x720x24", "obs", "--minimize-to-tray", "--multi"]
    log = home / "obs.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True, cwd=home)
        try:
            deadline = time.monotonic() + 90
            while "Server started successfully" not in log.read_text(errors="replace"):
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.skip(f"OBS does not start here: {log.read_text(errors='replace')[-300:]}")
                time.sleep(0.2)
            yield port
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


class Obs:
    """obs-websocket 5 from the outside, to see what OBS sees."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket

    @classmethod
    async def connect(cls, http: ClientSession, port: int) -> Obs:
        socket = await http.ws_connect(f"ws://127.0.0.1:{port}", max_msg_size=0)
        told = (await socket.receive_json())["d"]["authentication"]

        def digest(text: str) -> str:
            return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

        answer = digest(digest(PASSWORD + told["salt"]) + told["challenge"])
        await socket.send_json({"op": 1, "d": {"rpcVersion": 1, "eventSubscriptions": 0, "authentication": answer}})
        assert (await socket.receive_json())["op"] == 2
        return cls(socket)

    async def call(self, kind: str, **data: Any) -> dict[str, Any]:
        await self._socket.send_json({"op": 6, "d": {"requestType": kind, "requestId": "1", "requestData": data}})
        answer = (await self._socket.receive_json())["d"]
        assert answer["requestStatus"]["result"], answer
        return dict(answer.get("responseData") or {})

    async def screenshot(self) -> NDArray[np.uint8]:
        """Take OBS's own picture of the scene, `[180, 320, 3]` RGB."""
        told = await self.call(
            "GetSourceScreenshot", sourceName="Reenact", imageFormat="png", imageWidth=SIZE[0], imageHeight=SIZE[1]
        )
        with Image.open(io.BytesIO(base64.b64decode(told["imageData"].split(",")[1]))) as image:
            return np.asarray(image.convert("RGB"), np.uint8)


@pytest.fixture
async def page(chromium_path: str) -> AsyncIterator[Page]:
    """The page, live, with Chromium's moving test picture as the camera and as the output."""
    server = TestServer(create_app(Config(settings=FakeSettings()), targets=FakeTargets()))
    await server.start_server()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium_path, args=[*CHROMIUM_ARGUMENTS, "--use-fake-device-for-media-stream"]
        )
        page = await browser.new_page(viewport={"width": 1300, "height": 900})
        page.set_default_timeout(60_000)
        await page.goto(str(server.make_url("/?autostart=1")))
        await page.wait_for_selector("body[data-state=live]")
        yield page
        await browser.close()
    await server.close()


async def show(page: Page, port: int, password: str) -> str:
    """Press the button; gives what the page says in the end."""
    await page.fill("#obs-address", f"localhost:{port}")
    await page.fill("#obs-password", password)
    await page.click("#obs-connect")
    await page.wait_for_selector("#obs-text:is([data-state=done], [data-state=partly], [data-state=failed])")
    return await page.inner_text("#obs-text")


async def test_one_click_brings_the_live_output_into_obs(page: Page, obs_port: int) -> None:
    async with ClientSession() as http:
        obs = await Obs.connect(http, obs_port)
        start = time.monotonic()
        text = await show(page, obs_port, PASSWORD)
        assert "in the scene “Reenact”" in text
        first = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        while not (first[:, 80:240].mean() > 20):
            assert time.monotonic() - start < SHOWN_WITHIN_S, "OBS shows nothing"
            first = await obs.screenshot()
        # 256 x 256 fitted into 1280 x 720: in the middle, as high as the canvas.
        filled = first.max(axis=(0, 2)) > 40
        assert not filled[:60].any()
        assert not filled[-60:].any()
        assert filled[80:240].mean() > 0.9
        await asyncio.sleep(0.5)
        assert np.abs(first.astype(int) - await obs.screenshot()).mean() > 0.2, "the picture stands still"
        assert (await obs.call("GetCurrentProgramScene"))["currentProgramSceneName"] == "Reenact"
        # A second click finds what the first one made.
        await show(page, obs_port, PASSWORD)
        scenes = [scene["sceneName"] for scene in (await obs.call("GetSceneList"))["scenes"]]
        assert scenes.count("Reenact") == 1
        assert len((await obs.call("GetSceneItemList", sceneName="Reenact"))["sceneItems"]) == 1
        assert len((await obs.call("GetInputList", inputKind="ffmpeg_source"))["inputs"]) == 1


async def test_what_goes_wrong_is_said_in_words(page: Page, obs_port: int) -> None:
    assert "refused the password" in await show(page, obs_port, "wrong")
    assert "No OBS answers" in await show(page, free_port(), PASSWORD)
    await page.select_option("#obs-way", "browser")  # Debian's OBS has none.
    assert "no browser source" in await show(page, obs_port, PASSWORD)
