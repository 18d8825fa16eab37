"""Where the output goes, as a person sees it: a file in the downloads, a view beside the page, addresses to hand on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import av
import pytest
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page, async_playwright

from streamer.app import create_app
from streamer.config import Config
from tests.e2e.chromium import CHROMIUM_ARGUMENTS
from tests.unit.streamer.fakes import FakeSettings, FakeTargets

pytestmark = pytest.mark.browser


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    server = TestServer(create_app(Config(settings=FakeSettings()), targets=FakeTargets()))
    await server.start_server()
    yield server
    await server.close()


@pytest.fixture
async def browser(chromium_path: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium_path, args=[*CHROMIUM_ARGUMENTS, "--use-fake-device-for-media-stream"]
        )
        yield browser
        await browser.close()


async def live(browser: Browser, server: TestServer) -> Page:
    page = await browser.new_page(viewport={"width": 1300, "height": 900})
    page.set_default_timeout(60_000)
    await page.goto(str(server.make_url("/?autostart=1")))
    await page.wait_for_selector("body[data-state=live]")
    return page


async def test_a_recording_lands_in_the_downloads(browser: Browser, server: TestServer, tmp_path: Path) -> None:
    page = await live(browser, server)
    async with page.expect_download() as download:
        await page.click("#record")
        await page.wait_for_selector("#record[aria-pressed=true]")
        await page.wait_for_timeout(1500)
        await page.click("#record")
    file = tmp_path / "recording.mp4"
    await (await download.value).save_as(file)
    assert (await download.value).suggested_filename.endswith(".mp4")
    with av.open(str(file), "r") as container:
        count = sum(1 for _ in container.decode(video=0))
    assert f", {count} frames," in await page.inner_text("#record-text")
    assert count >= 10
    assert await page.is_visible("#record-link")


async def test_the_view_shows_the_session_and_the_next_one(browser: Browser, server: TestServer) -> None:
    view = await browser.new_page()
    view.set_default_timeout(60_000)
    await view.goto(str(server.make_url("/view/live")))
    await view.wait_for_selector("body[data-state=connecting]")
    page = await live(browser, server)
    await view.wait_for_selector("body[data-state=live]")
    await page.click("#start")
    await view.wait_for_selector("body[data-state=connecting]")
    await page.click("#start")
    await view.wait_for_selector("body[data-state=live]")
    assert await view.evaluate("output.videoWidth") == 256


async def test_addresses_and_the_way_to_a_phone_are_on_the_page(browser: Browser, server: TestServer) -> None:
    page = await live(browser, server)
    await page.click("#watch summary")
    assert await page.inner_text("#address-view") == str(server.make_url("/view/live"))
    assert await page.inner_text("#address-stream") == str(server.make_url("/stream/live.ts"))
    await page.click("#phone summary")
    await page.wait_for_selector("#phone-text:not(:empty)")
    assert "--https" in await page.inner_text("#phone-text")


LISTEN = """
async (peer) => {
  const energy = async () => {
    const entries = [...(await peer.getStats()).values()];
    return entries.find(({type, kind}) => type === "inbound-rtp" && kind === "audio")?.totalAudioEnergy ?? 0;
  };
  const before = await energy();
  for (let i = 0; i < 100; i++) {
    await new Promise((done) => setTimeout(done, 50));
    if (await energy() > before) return true;
  }
  return false;
}
"""
KEEP_PEERS = """
window.peers = [];
const Peer = window.RTCPeerConnection;
window.RTCPeerConnection = class extends Peer { constructor(...all) { super(...all); window.peers.push(this); } };
"""


async def test_a_microphone_is_heard_when_chosen_and_the_page_stays_mute_until_asked(
    browser: Browser, server: TestServer
) -> None:
    context = await browser.new_context(viewport={"width": 1300, "height": 900})
    await context.add_init_script(KEEP_PEERS)
    page, view = await context.new_page(), await context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    await page.goto(str(server.make_url("/?autostart=1")))
    await page.wait_for_selector("body[data-state=live]")
    assert await page.input_value("#microphones") == "off"
    assert await page.is_disabled("#listen")
    await view.goto(str(server.make_url("/view/live")))
    await view.wait_for_selector("body[data-state=live]")
    await page.select_option("#microphones", "default")  # Chromium's own beeps
    await page.wait_for_selector("#listen:enabled")
    assert await view.evaluate(f"({LISTEN})(window.peers.at(-1))")
    assert not await view.evaluate("output.muted")
    assert await page.evaluate("output.muted")
    await page.click("#listen")
    assert not await page.evaluate("output.muted")
    assert await page.evaluate(f"({LISTEN})(window.peers.at(-1))")
    await page.select_option("#microphones", "off")
    assert await page.is_disabled("#listen")
    assert await page.evaluate("output.muted")
    assert problems == []
