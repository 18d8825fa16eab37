"""Viewers made of aiortc on a session in the same process: real codecs, real SRTP, real sockets."""

from __future__ import annotations

import asyncio
import io
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import av
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from aioice.mdns import MDnsProtocol
from aiortc import RTCPeerConnection

from streamer.app import create_app
from streamer.config import Config, ServerConfig
from streamer.keys import LOBBY
from streamer.session import Session
from tests.e2e.peers import NumberedCamera, connected, read_number, viewing
from tests.unit.streamer.fakes import FakeSettings, FakeTargets

pytestmark = pytest.mark.alone

Serve = Callable[..., Awaitable[TestServer]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[TestServer] = []

    async def start(*, max_viewers: int = 50, max_sessions: int = 1) -> TestServer:
        limits = ServerConfig(max_viewers=max_viewers, max_sessions=max_sessions)
        config = Config(server=limits, settings=FakeSettings())
        server = TestServer(create_app(config, targets=FakeTargets()))
        await server.start_server()
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.close()


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - a test looks from outside
            await asyncio.sleep(0.02)


def session_of(server: TestServer) -> Session:
    (session,) = server.app[LOBBY].sessions
    return session


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
async def test_viewers_see_the_output_in_order_and_share_one_encode(serve: Serve, codec: str) -> None:
    server = await serve()
    async with connected(server, NumberedCamera()) as page, AsyncExitStack() as stack:
        viewers = [await stack.enter_async_context(viewing(server, codec=codec)) for _ in range(3)]
        for viewer in viewers:
            await viewer.until(lambda viewer=viewer: len(viewer.seen) >= 40)
            numbers = [seen.number for seen in viewer.seen]
            assert numbers == sorted(set(numbers))
            # Beside the source's own page: on a busy machine frames are dropped before they are anybody's.
            own = [seen.number for seen in page.seen if numbers[0] <= seen.number <= numbers[-1]]
            assert len(numbers) >= 0.8 * len(own)
        session = session_of(server)
        assert session.renditions.num_encoders == 1
        assert session.describe()["viewers"] == 3
        await page.until(lambda: len(page.seen) >= 40)
        # The last one who leaves ends the encode.
    assert session.renditions.num_encoders == 0


async def test_a_viewer_is_fresh(serve: Serve) -> None:
    server = await serve()
    async with connected(server, NumberedCamera()) as page, viewing(server) as viewer:
        await viewer.until(lambda: len(viewer.seen) >= 40)
        # Beside the source's own page, in the same moments of the same machine: hardly a frame time later.
        delays = [
            statistics.median(seen.at_s - page.camera.sent_s[seen.number] for seen in whoever.seen[10:])
            for whoever in (viewer, page)
        ]
        assert delays[0] < delays[1] + 0.05


async def test_a_viewer_whose_address_nobody_finds_out_sees_it_at_once(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(*_: object, **__: object) -> str | None:
        await asyncio.sleep(60)
        return None

    monkeypatch.setattr(MDnsProtocol, "resolve", resolve)
    server = await serve()
    async with (
        connected(server, NumberedCamera()),
        asyncio.timeout(10),
        viewing(server, hides_addresses=True) as viewer,
    ):
        await viewer.until(lambda: len(viewer.seen) >= 10)


async def test_a_viewer_who_sends_nothing_back_harms_nobody(serve: Serve) -> None:
    """One viewer loses every packet, so it asks for key frames as often as it can; the others do not notice."""
    server = await serve()
    async with connected(server, NumberedCamera()) as page, viewing(server) as good, viewing(server) as bad:
        await good.until(lambda: len(good.seen) >= 10)
        (receiver,) = bad.peer.getReceivers()

        async def storm() -> None:
            while True:
                for remote in receiver.getSynchronizationSources():
                    await receiver._send_rtcp_pli(remote.source)
                await asyncio.sleep(0.02)

        task = asyncio.create_task(storm())
        try:
            keys = []
            rendition = session_of(server).renditions.get("VP8 0", lambda: pytest.fail("it runs"))
            hand_out = rendition._hand_out
            rendition._hand_out = lambda frame: (keys.append(frame.is_key), hand_out(frame))[1]  # type: ignore[method-assign,assignment,func-returns-value]
            pipeline = session_of(server).pipeline
            start, before = time.monotonic(), (pipeline.num_published, len(good.seen), len(page.seen))
            await asyncio.sleep(2.0)
            span = time.monotonic() - start
            made, *shown = (pipeline.num_published - before[0], len(good.seen) - before[1], len(page.seen) - before[2])
            assert 1 <= sum(keys) <= span / 0.5 + 1
            assert min(shown) >= 0.8 * made - 3
        finally:
            task.cancel()


async def test_viewers_may_come_first_by_name_and_stay_over_a_switch_of_size(serve: Serve) -> None:
    server = await serve()
    async with connected(server, NumberedCamera(size=(320, 240)), query="?actor=milo") as page:
        async with viewing(server, session_of(server).id) as viewer:
            await viewer.until(lambda: len(viewer.seen) >= 10)
            assert viewer.seen[-1].shape == (256, 256, 3)
            page.send(type="actor", name="nora")
            await viewer.until(lambda: viewer.seen[-1].shape == (128, 128, 3))
            count = len(viewer.seen)
            await viewer.until(lambda: len(viewer.seen) >= count + 20)


async def test_what_cannot_be_watched_is_refused(serve: Serve) -> None:
    server = await serve(max_viewers=1, max_sessions=2)
    async with ClientSession() as http:

        async def post(path: str, body: str, kind: str = "application/sdp") -> tuple[int, str]:
            async with http.post(server.make_url(path), data=body, headers={"Content-Type": kind}) as response:
                return response.status, (await response.json())["error"]["code"]

        assert await post("/whep/live", "v=0") == (404, "not_live")
        assert await post("/whep/nobody", "v=0") == (404, "not_found")
        async with connected(server, NumberedCamera()):
            assert await post("/whep/live", "v=0", "text/plain") == (415, "unsupported_media_type")
            assert await post("/whep/live", "hello") == (400, "bad_sdp")
            sender = RTCPeerConnection()
            sender.addTransceiver("video", direction="sendonly")
            await sender.setLocalDescription(await sender.createOffer())
            assert await post("/whep/live", sender.localDescription.sdp) == (400, "bad_sdp")
            await sender.close()
            async with viewing(server) as viewer:
                peer = RTCPeerConnection()
                peer.addTransceiver("video", direction="recvonly")
                await peer.setLocalDescription(await peer.createOffer())
                assert await post("/whep/live", peer.localDescription.sdp) == (503, "viewers_full")
                await peer.close()
                headers = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": '"other"'}
                async with http.patch(server.make_url(viewer.location), data="", headers=headers) as response:
                    assert response.status == 412
                headers["If-Match"] = "*"
                async with http.patch(server.make_url(viewer.location), data="", headers=headers) as response:
                    assert response.status == 204
            async with http.delete(server.make_url(viewer.location)) as response:
                assert response.status == 404  # It left already.
            async with connected(server, NumberedCamera()):
                assert await post("/whep/live", "v=0") == (409, "several_live")


async def test_the_end_of_the_session_is_the_viewers_end(serve: Serve) -> None:
    server = await serve()
    async with connected(server, NumberedCamera()) as page, viewing(server) as viewer:
        await viewer.until(lambda: len(viewer.seen) >= 5)
        async with ClientSession() as http:
            await http.delete(server.make_url(page.location))
        await until(lambda: viewer.peer.connectionState in ("closed", "failed"))


async def test_a_player_reads_the_stream_from_a_key_frame_on(serve: Serve) -> None:
    server = await serve()
    async with connected(server, NumberedCamera(), has_output=False) as page, ClientSession() as http:
        del page
        await until(lambda: session_of(server).describe()["state"] == "live")
        for _ in range(2):  # The second one enters a stream that runs.
            data = b""
            async with http.get(server.make_url("/stream/live.ts")) as response:
                assert response.headers["Content-Type"] == "video/mp2t"
                async with asyncio.timeout(10):
                    while len(data) < 24_000:
                        data += await response.content.readany()
            with av.open(io.BytesIO(data[: len(data) // 188 * 188]), "r", format="mpegts") as container:
                numbers = [read_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
            assert len(numbers) >= 10
            assert numbers == sorted(set(numbers))
        await until(lambda: session_of(server).renditions.num_encoders == 0)


async def test_a_player_that_does_not_read_stops_nobody(serve: Serve) -> None:
    server = await serve()
    async with (
        connected(server, NumberedCamera(size=(256, 256))) as page,
        ClientSession() as http,
        viewing(server) as good,
    ):
        async with http.get(server.make_url("/stream/live.ts")) as stalled:
            assert stalled.status == 200  # And nothing of it is read.
            await good.until(lambda: len(good.seen) >= 60)
            await page.until(lambda: len(page.seen) >= 60)
