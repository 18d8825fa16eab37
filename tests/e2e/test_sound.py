"""Sound comes out in step with the picture: flashes and clicks through real Opus and VP8, over real sockets."""

from __future__ import annotations

import asyncio
import io
import itertools
import statistics
import time
from collections.abc import AsyncIterator

import av
import numpy as np
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from streamer.app import create_app
from streamer.config import Config
from streamer.keys import LOBBY
from tests.e2e.flashes import RATE, ClickingMicrophone, FlashingCamera, Receiver, marks_of, offsets_ms, report_honestly
from tests.e2e.peers import Page, connected, viewing
from tests.unit.streamer.fakes import FakeSettings, FakeTargets

pytestmark = pytest.mark.alone

IN_STEP_MS = 20.0
GENERATION_S = 0.04


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    """A server whose target takes its time: sound that did not wait would be early by it."""
    targets = FakeTargets()
    targets.on_process = lambda _: time.sleep(GENERATION_S)
    server = TestServer(create_app(Config(settings=FakeSettings()), targets=targets))
    await server.start_server()
    yield server
    await server.close()


@pytest.fixture(autouse=True)
def small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let RTP time begin near 0, as `report_honestly` wants it."""
    monkeypatch.setattr("aiortc.rtcrtpsender.random32", itertools.count(1).__next__)


async def hear_for(server: TestServer, seconds: float) -> list[Receiver]:
    """Listen at the page and at a viewer."""
    camera, drift = FlashingCamera(fps=20), 1e-4
    ears = [Receiver(), Receiver()]

    def prepare(page: Page) -> None:
        ears[0].attach(page.peer)
        report_honestly(page.peer, camera, drift)

    async with (
        connected(server, camera, microphone=ClickingMicrophone(camera, drift=drift), on_made=prepare),
        viewing(server, has_sound=True, on_made=lambda viewer: ears[1].attach(viewer.peer)),
    ):
        await asyncio.sleep(seconds)
        (session,) = server.app[LOBBY].sessions
        sound = session.pipeline.sound
        assert sound.is_present
        assert sound.is_exact
        assert sound.num_waiting <= 25  # The picture's delay, and nothing more.
    return ears


async def test_page_and_viewers_hear_the_click_with_the_flash(server: TestServer) -> None:
    for _ in range(
        3
    ):  # Source, server and receivers share one event loop: on a busy machine that says when things come.
        page_ears, viewer_ears = ears = await hear_for(server, 6.0)
        offsets = [
            statistics.median(both) for one in ears for both in (one.arrival_offsets_ms(), one.reported_offsets_ms())
        ]
        if max(map(abs, offsets)) <= IN_STEP_MS:
            break
    assert max(map(abs, offsets)) <= IN_STEP_MS, offsets
    # One encode for all: the source's own packets.
    common = min(len(page_ears.payload_bytes), len(viewer_ears.payload_bytes)) - 10
    assert common > 100
    assert set(viewer_ears.payload_bytes) <= set(page_ears.payload_bytes)


async def read_for(server: TestServer, seconds: float) -> bytes:
    """Read the transport stream for a while."""
    data = b""
    async with ClientSession() as http, http.get(server.make_url("/stream/live.ts")) as response:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            data += await response.content.readany()
    return data[: len(data) // 188 * 188]


async def record_and_stream(server: TestServer, kind: str) -> list[tuple[str, bytes]]:
    """Give a file of `kind` and a piece of the transport stream, with flashes and clicks."""
    camera = FlashingCamera(fps=20)
    async with (
        connected(
            server,
            camera,
            microphone=ClickingMicrophone(camera),
            on_made=lambda page: report_honestly(page.peer, camera),
        ) as page,
        ClientSession() as http,
    ):
        (session,) = server.app[LOBBY].sessions
        await asyncio.sleep(3.0)
        assert session.pipeline.sound.is_present
        page.send(type="record", is_on=True, format=kind)
        streamed = await read_for(server, 3.2)
        page.send(type="record", is_on=False)
        await page.until(lambda: page.told("recording")[-1]["state"] == "ready")
        async with http.get(server.make_url(page.told("recording")[-1]["url"])) as response:
            return [(kind, await response.read()), ("mpegts", streamed)]


@pytest.mark.parametrize("kind", ["mp4", "webm"])
async def test_recordings_and_the_stream_sound_with_their_pictures(server: TestServer, kind: str) -> None:
    codec_of = {"mp4": "aac", "webm": "opus", "mpegts": "opus"}
    for _ in range(3):  # As above: a flash whose first picture was dropped is late.
        offsets = {}
        for format_name, data in await record_and_stream(server, kind):
            flashes, clicks, name = marks_of(data, format_name)
            assert name == codec_of[format_name]
            offsets[format_name] = offsets_ms(flashes, clicks)
        if all(len(some) >= 3 and abs(statistics.median(some)) <= IN_STEP_MS for some in offsets.values()):
            break
    else:
        pytest.fail(f"{offsets}")


async def test_a_recording_without_a_microphone_is_silent_all_along(server: TestServer) -> None:
    camera = FlashingCamera(fps=20)
    async with connected(server, camera) as page, ClientSession() as http:
        await page.until(lambda: len(page.seen) > 5)
        page.send(type="record", is_on=True, format="mp4")
        await page.until(lambda: any(told["frames"] >= 20 for told in page.told("recording")))
        page.send(type="record", is_on=False)
        await page.until(lambda: page.told("recording")[-1]["state"] == "ready")
        async with http.get(server.make_url(page.told("recording")[-1]["url"])) as response:
            recorded = await response.read()
    with av.open(io.BytesIO(recorded), "r") as container:
        seconds = page.told("recording")[-1]["seconds"]
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    assert np.abs(samples).max() < 1e-3
    assert samples.shape[1] / RATE == pytest.approx(seconds, abs=0.1)
