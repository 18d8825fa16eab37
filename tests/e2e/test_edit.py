"""The editor in a real browser, over a real connection, with milo: no camera, numbers alone."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, sync_playwright
from pythonosc.osc_message_builder import OscMessageBuilder

from reenact.keyframes import Keyframes
from tests.e2e.chromium import CHROMIUM_ARGUMENTS
from tests.e2e.live import free_port, serving

pytestmark = pytest.mark.browser

LIVE_MS = 120_000
"""Loading takes seconds, and a minute where others use the machine."""
GRAB = """() => {
    const output = document.getElementById("output");
    const canvas = Object.assign(document.createElement("canvas"), {width: 256, height: 256});
    const pen = canvas.getContext("2d");
    pen.drawImage(output, 0, 0, 256, 256);
    return Array.from(pen.getImageData(0, 0, 256, 256).data);
}"""


def picture(page: Page) -> NDArray[Any]:
    return np.array(page.evaluate(GRAB), np.uint8).reshape(256, 256, 4)[..., :3].astype(int)


def until(page: Page, claim: str) -> None:
    """Ask until it is so: the page's policy forbids Playwright's own way of waiting."""
    deadline = time.monotonic() + LIVE_MS / 1000
    while not page.evaluate(claim):
        assert time.monotonic() < deadline, claim
        page.wait_for_timeout(50)


def settle(page: Page, frames: int = 12) -> None:
    wanted = page.evaluate("window.reenact.frames()") + frames
    until(page, f"window.reenact.frames() > {wanted}")


def still(page: Page) -> NDArray[Any]:
    """Give the picture once it stands still but for its coding: a stream begins with coarse ones."""
    now = picture(page)
    for _ in range(20):
        settle(page)
        before, now = now, picture(page)
        if np.abs(now - before).mean() < 2.0:
            break
    return now


def slide(page: Page, name: str, value: float) -> None:
    page.evaluate(
        "([id, value]) => { const input = document.getElementById(id); input.value = value;"
        " input.dispatchEvent(new Event('input')); }",
        [f"number-{name}", str(value)],
    )


class Editor:
    def __init__(self, page: Page, osc_port: int) -> None:
        self.page = page
        self.osc_port = osc_port


@pytest.fixture(scope="module")
def editor(chromium_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    port = free_port()
    log = tmp_path_factory.mktemp("edit") / "server.log"
    complaints: list[str] = []
    with (
        serving(log, "--actor", "milo", settings=[f"inputs.osc_port={port}"]) as (address, _),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium_path, args=list(CHROMIUM_ARGUMENTS))
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(f"{address}/edit")
        page.click("#start")
        page.wait_for_selector("body[data-state=live]", timeout=LIVE_MS)
        yield Editor(page, port)
        browser.close()
    assert complaints == []
    assert "Traceback" not in log.read_text()


def test_a_slider_moves_the_face_without_a_camera(editor: Editor) -> None:
    page = editor.page
    settle(page)
    rest = still(page)
    slide(page, "jawOpen", 0.9)
    settle(page)
    opened = np.abs(still(page) - rest).mean(-1)
    assert opened[140:].max() > 60  # the mouth
    assert opened[:70].mean() < 4  # not the hair
    page.click("#reset")
    assert page.evaluate("window.reenact.values()") == {}


def test_dragging_on_the_face_does_what_is_under_the_pointer(editor: Editor) -> None:
    page = editor.page
    box = page.locator("#output").bounding_box()
    assert box is not None

    def drag(u: float, v: float, du: float, dv: float) -> dict[str, float]:
        page.click("#reset")
        page.mouse.move(box["x"] + u * box["width"], box["y"] + v * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + (u + du) * box["width"], box["y"] + (v + dv) * box["height"], steps=3)
        page.mouse.up()
        values: dict[str, float] = page.evaluate("window.reenact.values()")
        return values

    handles = page.evaluate("fetch('/api/actors').then((r) => r.json()).then(({actors}) => actors[0].handles)")
    (eye_u, eye_v), (mouth_u, mouth_v) = handles["eyes"], handles["mouth"]
    assert drag(mouth_u, mouth_v, 0.0, 0.1)["jawOpen"] > 0.1
    assert drag(eye_u, eye_v, 0.1, 0.0)["gazeYaw"] > 3
    turned = drag(0.1, 0.9, 0.1, -0.05)
    assert turned["yaw"] > 3
    assert turned["pitch"] > 1
    page.click("#reset")


def test_keys_are_set_eased_between_and_saved(editor: Editor, tmp_path: Path) -> None:
    page = editor.page
    page.fill("#length", "1")
    page.locator("#length").dispatch_event("change")
    page.click("#key")
    page.evaluate(
        "document.getElementById('time').value = 1; document.getElementById('time').dispatchEvent(new Event('input'))"
    )
    slide(page, "yaw", 20)
    page.click("#key")
    assert page.evaluate("window.reenact.keys()") == [{"time_s": 0, "values": {}}, {"time_s": 1, "values": {"yaw": 20}}]
    page.evaluate(
        "document.getElementById('time').value = 0.5; document.getElementById('time').dispatchEvent(new Event('input'))"
    )
    assert page.evaluate("window.reenact.values().yaw") == pytest.approx(10, abs=0.6)
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "edits.json")
    assert Keyframes.read(tmp_path / "edits.json").at(0.5).values["yaw"] == pytest.approx(10)
    page.click("#reset")


def test_osc_moves_it_too(editor: Editor) -> None:
    page = editor.page
    settle(page)
    rest = picture(page)
    builder = OscMessageBuilder("/reenact/yaw")
    builder.add_arg(20.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(builder.build().dgram, ("127.0.0.1", editor.osc_port))
    settle(page)
    assert np.abs(picture(page) - rest).mean() > 3
