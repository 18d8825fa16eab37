"""A recording made over a real connection: what the page asks for, and what it can download."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import av
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from reenact.credentials import read_credentials
from streamer.app import create_app
from streamer.config import Config
from tests.e2e.peers import NumberedCamera, Page, connected, read_number
from tests.unit.streamer.fakes import FakeSettings, FakeTargets

pytestmark = pytest.mark.alone

FINISH_TIMES, FINISH_PAUSE_S = 400, 0.05


async def record(server: TestServer, page: Page, kind: str, num_frames: int) -> str:
    """Record `num_frames` frames or a few more; gives the address of the file."""
    page.send(type="record", is_on=True, format=kind)
    await page.until(lambda: any(told["frames"] >= num_frames for told in page.told("recording")))
    page.send(type="record", is_on=False)
    await page.until(lambda: page.told("recording")[-1]["state"] == "ready")
    return str(page.told("recording")[-1]["url"])


@pytest.mark.parametrize("kind", ["mp4", "webm"])
async def test_a_recording_has_every_frame_and_is_downloaded_once_it_is_complete(kind: str, tmp_path: Path) -> None:
    server = TestServer(create_app(Config(settings=FakeSettings()), targets=FakeTargets()))
    await server.start_server()
    try:
        async with connected(server, NumberedCamera()) as page, ClientSession() as http:
            await page.until(lambda: len(page.seen) >= 10 and bool(page.told("hello")))
            url = await record(server, page, kind, 45)
            last = page.told("recording")[-1]
            assert last["lost"] == 0
            async with http.get(server.make_url(url)) as response:
                assert response.status == 200
                assert response.headers["Content-Disposition"].startswith('attachment; filename="reenact-milo-')
                assert response.content_type == f"video/{kind}"
                data = await response.read()
            assert len(data) == last["bytes"]
            path = tmp_path / f"downloaded.{kind}"
            path.write_bytes(data)
            credentials = read_credentials(path)
            if kind == "webm":
                assert credentials is None  # the format holds none
            else:
                assert credentials is not None
                assert (credentials.state, credentials.is_generated) == ("trusted", True)
                assert [origin["actor"] for origin in credentials.origins] == ["milo"]
            with av.open(io.BytesIO(data), "r") as container:
                numbers = [read_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
            assert len(numbers) == last["frames"]
            # Every frame that was made is in it; the session itself may have dropped one on a busy machine.
            seen = [frame.number for frame in page.seen if numbers[0] <= frame.number <= numbers[-1]]
            assert set(seen) <= set(numbers)
            assert numbers == sorted(set(numbers))
            # Bad wishes are refused with a sentence, and the page can make another recording.
            page.send(type="record", is_on=True, format="avi")
            await page.until(lambda: page.told("error"))
            assert page.told("error")[-1]["code"] == "bad_value"
            await record(server, page, kind, 5)
            async with http.delete(server.make_url(url)) as response:
                assert response.status == 200
            async with http.get(server.make_url(url)) as response:
                assert response.status == 404
    finally:
        await server.close()


async def test_the_end_of_a_session_completes_its_recording() -> None:
    server = TestServer(create_app(Config(settings=FakeSettings()), targets=FakeTargets()))
    await server.start_server()
    try:
        async with ClientSession() as http:
            async with connected(server, NumberedCamera()) as page:
                await page.until(lambda: bool(page.told("hello")))
                page.send(type="record", is_on=True, format="mp4")
                await page.until(lambda: any(told["frames"] >= 10 for told in page.told("recording")))
                url = page.told("recording")[-1]["url"]
                async with http.get(server.make_url(url)) as response:
                    assert response.status == 409
                await http.delete(server.make_url(page.location))
            for _ in range(FINISH_TIMES):
                async with http.head(server.make_url(url)) as response:
                    if response.status != 409:
                        break
                await asyncio.sleep(FINISH_PAUSE_S)
            async with http.get(server.make_url(url)) as response:
                assert response.status == 200
                assert len(await response.read()) > 1000
    finally:
        await server.close()
