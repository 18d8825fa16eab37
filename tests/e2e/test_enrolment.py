"""As a new user does it: consent, a recording with the webcam, its check, a training, and live with the new target.

The training itself is a stand-in; everything else is real.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from tests.clips import camera_file
from tests.e2e.live import ARGUMENTS, serving
from tests.enrolment import good

pytestmark = pytest.mark.browser

RECORD_MS = 7_000


@pytest.fixture
def page(chromium_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("REENACT_DATA", str(tmp_path / "data"))
    camera = camera_file(good(tmp_path / "camera.mp4", 6.0), size=(320, 320), min_seconds=12.0)
    try:
        with serving(tmp_path / "server.log", module="tests.e2e.enrolling_server") as (address, _):
            with sync_playwright() as playwright:
                arguments = [*ARGUMENTS, f"--use-file-for-fake-video-capture={camera}"]
                browser = playwright.chromium.launch(executable_path=chromium_path, args=arguments)
                page = browser.new_page(viewport={"width": 1100, "height": 800})
                page.goto(address)
                yield page
                browser.close()
    finally:
        camera.unlink()


def fill_in(page: Any) -> None:
    page.fill("#enrol [name=person]", "Nora Berg")
    page.fill("#enrol [name=title]", "Nora")
    page.fill("#enrol [name=purpose]", "the play")
    page.check("#enrol input[type=checkbox]")


def is_statement(response: Any) -> bool:
    return bool(response.url.endswith("/statement"))


def test_from_consent_to_live(page: Any, tmp_path: Path) -> None:
    page.click("#new-target")
    page.click("#enrol form button[type=submit]")
    assert page.is_visible("#enrol form")  # nothing goes on without a name, a purpose and a mark
    fill_in(page)
    page.check("#enrol [name=given][value=spoken]")
    page.click("#enrol form button[type=submit]")
    answers: list[int] = []
    page.on("response", lambda response: answers.append(response.status) if is_statement(response) else None)
    page.click("#enrol .shoot:not([disabled])")
    page.wait_for_selector("#enrol .booth .time:not([hidden])", timeout=30_000)
    page.wait_for_timeout(1_500)
    page.click("#enrol .shoot")
    page.click("#enrol .use:not([hidden])")

    # A file that is none is refused with what to do, and leaves nothing, what was spoken for it included.
    (tmp_path / "holiday.mp4").write_bytes(b"PK\x03\x04" + bytes(5000))
    page.set_input_files("#enrol .pick input", tmp_path / "holiday.mp4")
    page.wait_for_selector("#enrol .again:not([hidden])")
    assert "send an MP4" in page.inner_text("#enrol .verdict .text")
    assert [path.name for path in (tmp_path / "data" / "enrolment").iterdir()] == ["lock"]
    assert answers == [200]  # what was spoken had come, and is a video

    page.click("#enrol header button")
    page.click("#new-target")
    fill_in(page)
    page.check("#enrol [name=given][value=written]")
    assert page.input_value("#enrol [name=statement]").startswith("I, Nora Berg, agree")
    page.click("#enrol form button[type=submit]")

    page.click("#enrol .shoot:not([disabled])")
    page.wait_for_selector("#enrol .booth .time:not([hidden])", timeout=90_000)
    assert page.inner_text("#enrol .prompt")
    page.wait_for_timeout(RECORD_MS)
    assert "another session" not in page.inner_text("#enrol .booth-step .hint")  # the server watches
    page.click("#enrol .shoot")
    page.click("#enrol .use:not([hidden])")
    page.wait_for_selector("#enrol .finish:not([hidden])", timeout=90_000)
    assert page.inner_text("#enrol .verdict h3") == "This will do", page.inner_text("#enrol .verdict")
    page.click("#enrol .finish")

    page.wait_for_selector("#jobs .job[data-state=training] .figures-now:not([hidden])", timeout=20_000)
    assert "loss" in page.inner_text("#jobs .figures-now")
    page.wait_for_selector("#jobs .job[data-state=finished]", timeout=40_000)
    page.wait_for_selector("#cards input[value=nora]:checked", state="attached")
    assert "Nora Berg" in page.inner_text("#consent")
    page.click("#start")
    page.wait_for_selector("body[data-state=live]", timeout=60_000)
    assert page.evaluate("window.reenact.stats().actor") == "nora"
