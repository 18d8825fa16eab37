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
