"""A study in a real browser, from the first page to the table."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from playwright.async_api import async_playwright

from reenact.study import Study
from reenact.study_results import results
from streamer.app import create_app
from streamer.config import Config
from tests.e2e.chromium import CHROMIUM_ARGUMENTS
from tests.unit.reenact.test_video import write_clip
from tests.unit.streamer.fakes import FakeSettings, FakeTargets


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("REENACT_DATA", str(tmp_path / "data"))
    for name in ("real", "made"):
        (tmp_path / name).mkdir()
        for index in range(2):
            write_clip(tmp_path / name / f"{index}.mp4", times_s=[i / 30 for i in range(6)])
    return Study.create("looks", tmp_path / "real", tmp_path / "made")


@pytest.fixture
async def server(study: Study) -> AsyncIterator[TestServer]:
    made = TestServer(create_app(Config(settings=FakeSettings()), targets=FakeTargets(), is_preparing=False))
    await made.start_server()
    yield made
    await made.close()


@pytest.mark.browser
async def test_a_person_answers_everything_once(study: Study, server: TestServer, headless_shell_path: str) -> None:
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=headless_shell_path, args=list(CHROMIUM_ARGUMENTS))
        page = await browser.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        await page.goto(str(server.make_url("/study/looks")))
        await page.click("#begin")
        for number in range(4):
            button = page.get_by_role("button", name="Strongly agree")
            await button.click(timeout=60_000)  # once the clip has played
            if number == 1:
                await page.get_by_text("3 of 4").wait_for()
                await page.reload()
                await page.click("#begin")
        await page.wait_for_selector("body[data-state=done]")
        await browser.close()
    assert complaints == []
    assert len(study.answers()) == 4
    assert {row.what: row.value for row in results(study)}["real: mean rating"] == 5.0


async def test_what_nobody_asked_for_is_refused(study: Study, server: TestServer) -> None:
    person = "0" * 16
    async with ClientSession() as http:

        async def status(method: str, path: str, **more: object) -> int:
            async with http.request(method, server.make_url(path), **more) as response:  # type: ignore[arg-type]
                return response.status

        assert await status("GET", "/api/studies/none?person=1") == 404
        assert await status("GET", f"/api/studies/looks?person={person}") == 200
        assert await status("GET", "/api/studies/looks") == 400
        assert await status("GET", f"/api/studies/looks/clips/{study.real[0]}") == 200
        assert await status("GET", "/api/studies/looks/clips/study.json") == 404
        answers = "/api/studies/looks/answers"
        assert await status("POST", answers, data=b"x" * 5000) == 400
        assert await status("POST", answers, data=b"[" * 3000) == 400
        good = {"person": person, "trial": study.real[0], "value": 3}
        assert await status("POST", answers, json=good) == 204
        assert await status("POST", answers, json=good) == 409
    assert len(study.answers()) == 1
