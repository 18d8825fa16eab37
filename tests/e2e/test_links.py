"""Tokens as people meet them: links that are opened in a browser, and one that is taken back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from aiohttp import web
from playwright.sync_api import BrowserContext, Page, sync_playwright

from streamer.access import Right, Token
from streamer.app import create_app
from streamer.config import Config, ServerConfig
from streamer.doorkeeper import GuardedRunner
from streamer.keys import LOBBY, TOKENS
from tests.e2e.chromium import CHROMIUM_ARGUMENTS
from tests.unit.streamer.fakes import FakeSettings, FakeTargets

pytestmark = pytest.mark.browser

PICTURE = """async () => {
    while (!document.querySelector("video")?.videoWidth) await new Promise((wake) => setTimeout(wake, 50));
}"""
"""Wait for a picture. The page's policy forbids what Playwright's own waiting is made of."""


class Server:
    """The whole server with a target that echoes, in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        config = Config(server=ServerConfig(access="token"), settings=FakeSettings())
        self.app = create_app(config, targets=FakeTargets())
        self.runner = GuardedRunner(self.app, shutdown_timeout=0.5)
        self.port = asyncio.run_coroutine_threadsafe(self._start(), self.loop).result(20)

    async def _start(self) -> int:
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        return int(self.runner.addresses[0][1])

    def link(self, right: Right, path: str = "/") -> tuple[Token, str]:
        token, secret = self.app[TOKENS].make(right)
        return token, f"http://127.0.0.1:{self.port}{path}?token={secret}"

    def revoke(self, token: Token) -> None:
        async def revoke() -> None:
            self.app[TOKENS].revoke(token.id)
            for session in self.app[LOBBY].sessions:
                self.app[LOBBY].end(session, "revoked")

        asyncio.run_coroutine_threadsafe(revoke(), self.loop).result(20)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self.runner.cleanup(), self.loop).result(20)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def people(chromium_path: str) -> Iterator[list[BrowserContext]]:
    """Two people, each with a browser of their own."""
    with sync_playwright() as playwright:
        arguments = ["--use-fake-device-for-media-stream", *CHROMIUM_ARGUMENTS]
        browser = playwright.chromium.launch(executable_path=chromium_path, args=arguments)
        yield [browser.new_context(viewport={"width": 640, "height": 480}) for _ in range(2)]
        browser.close()


def complaints_of(page: Page) -> list[str]:
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: told.append(str(error)))
    return told


def test_a_source_and_a_viewer_follow_their_links_and_one_is_taken_back(
    server: Server, people: list[BrowserContext]
) -> None:
    # A page of its own: the console tells of its 401 whenever it likes.
    stranger = people[0].new_page()
    stranger.goto(f"http://127.0.0.1:{server.port}/")
    assert "This server asks for a token: open the link that it printed." in stranger.inner_text("main")
    stranger.close()

    source, viewer = (person.new_page() for person in people)

    complaints = complaints_of(source)
    token, link = server.link(Right.SOURCE)
    source.goto(link + "&autostart=1")
    source.wait_for_selector("body[data-state=live]", timeout=30_000)
    assert source.url == f"http://127.0.0.1:{server.port}/?autostart=1"
    assert source.evaluate("document.cookie") == ""
    source.reload()
    source.wait_for_selector("body[data-state=live]", timeout=30_000)
    assert complaints == []

    seen = complaints_of(viewer)
    viewer.goto(server.link(Right.VIEWER, "/view/live")[1])
    viewer.evaluate(PICTURE)
    assert seen == []
    viewer.goto(f"http://127.0.0.1:{server.port}/")
    assert "The token has the right of a viewer; this takes that of a source." in viewer.inner_text("main")

    server.revoke(token)
    source.wait_for_selector("#notice:not([hidden])", timeout=10_000)
    assert source.inner_text("#notice h2") == "Your link is no longer valid"
