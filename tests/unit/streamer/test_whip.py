"""WHIP over HTTP, with offers of real peers that never connect."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from aiortc import RTCConfiguration, RTCPeerConnection

from streamer import lobby
from streamer.app import create_app
from streamer.config import Config, EngineConfig, ServerConfig
from streamer.keys import LOBBY
from streamer.offer import MAX_SDP_BYTES
from tests.unit.streamer.fakes import FakeClock, FakeSettings, FakeTargets

SDP = {"Content-Type": "application/sdp"}
FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
Start = Callable[..., Awaitable[TestClient[Any, Any]]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    clients: list[TestClient[Any, Any]] = []

    async def make(**config: Any) -> TestClient[Any, Any]:
        clock = config.pop("clock", None)
        whole = Config(server=ServerConfig(**config), engine=EngineConfig(), settings=FakeSettings())
        app = create_app(whole, targets=FakeTargets(), clock=clock, is_preparing=False)
        client: TestClient[Any, Any] = TestClient(TestServer(app))
        await client.start_server()
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def offer() -> str:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTransceiver("video", direction="sendrecv")
    peer.createDataChannel("control")
    await peer.setLocalDescription(await peer.createOffer())
    text = str(peer.localDescription.sdp)
    await peer.close()
    return text


async def refused(response: ClientResponse) -> tuple[int, str, str]:
    error = (await response.json())["error"]
    assert set(error) == {"code", "message"}
    assert error["message"].endswith(".")
    return response.status, error["code"], error["message"]


async def test_publish_trickle_and_unpublish(start: Start, offer: str) -> None:
    client = await start()
    response = await client.post("/whip?actor=milo", data=offer, headers=SDP)
    assert response.status == 201
    assert response.content_type == "application/sdp"
    answer = await response.text()
    assert "a=sendrecv" in answer
    assert "webrtc-datachannel" in answer
    location, etag = response.headers["Location"], response.headers["ETag"]
    assert re.fullmatch(r"/whip/[\w-]{16}", location)

    sessions = await (await client.get("/api/sessions")).json()
    assert sessions["max_sessions"] == 1
    (session,) = sessions["sessions"]
    assert (session["actor"], session["state"]) == ("milo", "connecting")
    assert set(session) == {"id", "actor", "mark", "state", "age_s", "fps", "size", "viewers"}
    assert (await (await client.get("/healthz")).json())["sessions"] == 1

    candidate = "a=mid:0\r\na=candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host\r\n"
    response = await client.patch(location, data=candidate, headers=FRAGMENT | {"If-Match": etag})
    assert response.status == 204
    response = await client.patch(location, data=candidate, headers=FRAGMENT | {"If-Match": '"other"'})
    assert (await refused(response))[:2] == (412, "precondition_failed")
    response = await client.patch(location, data="a=ice-ufrag:new1\r\na=ice-pwd:x\r\n", headers=FRAGMENT)
    assert (await refused(response))[:2] == (422, "ice_restart")
    response = await client.patch(location, data=candidate, headers=SDP)
    assert (await refused(response))[:2] == (415, "unsupported_media_type")

    assert (await client.delete(location)).status == 200
    assert (await refused(await client.delete(location)))[:2] == (404, "not_found")
    assert (await refused(await client.patch(location, data=candidate, headers=FRAGMENT)))[0] == 404
    assert (await (await client.get("/api/sessions")).json())["sessions"] == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "words"),
    [
        (b"", SDP, 400, "bad_sdp", "The offer is empty."),
        (b"hello", SDP, 400, "bad_sdp", "The offer is not SDP: it does not start with v=0."),
        (b"v=0\r\n\xff\xfe", SDP, 400, "bad_sdp", "The body is not UTF-8 text."),
        (b"v=0\r\n" * 20_000, SDP, 413, "body_too_large", "The body is larger than 64 KiB."),
        (b"{}", {"Content-Type": "application/json"}, 415, "unsupported_media_type", "must be application/sdp"),
        (b"v=0", {}, 415, "unsupported_media_type", "must be application/sdp"),
    ],
)
async def test_bad_bodies(
    start: Start, body: bytes, headers: dict[str, str], status: int, code: str, words: str
) -> None:
    client = await start()
    got = await refused(await client.post("/whip", data=body, headers=headers))
    assert got[:2] == (status, code)
    assert words in got[2]


async def test_what_a_session_freed_goes_back_to_the_system(
    start: Start, offer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trims: list[int] = []
    monkeypatch.setattr(lobby, "trim_memory", lambda: trims.append(1))
    client = await start()
    location = (await client.post("/whip", data=offer, headers=SDP)).headers["Location"]
    await client.delete(location)
    assert client.app is not None
    await asyncio.wait(client.app[LOBBY]._closing)
    assert trims == [1]


async def test_a_huge_body_without_a_length_is_cut_off(start: Start) -> None:
    client = await start()
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(10_000):
            sent += 4096
            yield b"v=0\r\n" + b" " * 4091
            await asyncio.sleep(0)

    try:
        got = await refused(await client.post("/whip", data=chunks(), headers=SDP))
        assert got[:2] == (413, "body_too_large")
    except OSError:
        pass  # The server may cut the connection while the client still writes.
    assert sent < 40 * MAX_SDP_BYTES


async def test_an_offer_without_our_codecs(start: Start, offer: str) -> None:
    client = await start()
    got = await refused(await client.post("/whip", data=re.sub("(VP8|H264)/90000", "AV1/90000", offer), headers=SDP))
    assert got == (406, "no_common_codec", "The offer has none of our video codecs: VP8 or H.264 baseline.")
    assert client.app is not None
    assert client.app[LOBBY].sessions == []


async def test_sections_that_contradict_each_other_take_no_place(start: Start, offer: str) -> None:
    client = await start()
    broken = offer.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 7 0 1")
    assert broken != offer
    got = await refused(await client.post("/whip", data=broken, headers=SDP))
    assert got[:2] == (400, "bad_sdp")
    assert (await client.post("/whip", data=offer, headers=SDP)).status == 201


@pytest.mark.parametrize(
    ("actor", "status", "code", "words"),
    [
        ("ghost", 404, "unknown_actor", "There is no actor 'ghost'. There are: milo, nora."),
        ("../../etc", 404, "unknown_actor", "There is no actor '../../etc'."),
        ("x" * 500, 404, "unknown_actor", "too long"),
        ("broken", 409, "actor_refused", "The actor 'broken' is damaged: generator.safetensors has changed."),
    ],
)
async def test_actors_that_cannot_be_had(
    start: Start, offer: str, actor: str, status: int, code: str, words: str
) -> None:
    client = await start()
    got = await refused(await client.post("/whip", params={"actor": actor}, data=offer, headers=SDP))
    assert got[:2] == (status, code)
    assert words in got[2]


async def test_a_full_server_says_so_and_when_to_come_back(start: Start, offer: str) -> None:
    client = await start(clock=FakeClock(), max_sessions=1)
    assert (await client.post("/whip", data=offer, headers=SDP)).status == 201
    response = await client.post("/whip", data=offer, headers=SDP)
    assert response.headers["Retry-After"] == "3"
    assert await refused(response) == (503, "session_full", "Another source is using this server; try again later.")


async def test_as_many_sessions_as_allowed(start: Start, offer: str) -> None:
    client = await start(max_sessions=2)
    statuses = [(await client.post("/whip", data=offer, headers=SDP)).status for _ in range(3)]
    assert statuses == [201, 201, 503]


async def test_a_place_is_free_as_soon_as_it_is_given_up(start: Start, offer: str) -> None:
    client = await start()
    for _ in range(4):
        response = await client.post("/whip", data=offer, headers=SDP)
        assert response.status == 201
        assert (await client.delete(response.headers["Location"])).status == 200


async def test_a_reloaded_page_replaces_its_own_session(start: Start, offer: str) -> None:
    client = await start(clock=FakeClock())
    first = await client.post("/whip?client=tab-1", data=offer, headers=SDP)
    assert (await client.post("/whip?client=tab-2", data=offer, headers=SDP)).status == 503
    second = await client.post("/whip?client=tab-1", data=offer, headers=SDP)
    assert second.status == 201
    assert (await client.delete(first.headers["Location"])).status == 404
    assert (await client.delete(second.headers["Location"])).status == 200


async def test_a_silent_source_gives_way(start: Start, offer: str) -> None:
    clock = FakeClock()
    client = await start(clock=clock)
    first = await client.post("/whip", data=offer, headers=SDP)
    clock.advance_ms(4_000)  # It may still be connecting.
    assert (await client.post("/whip", data=offer, headers=SDP)).status == 503
    clock.advance_ms(2_000)
    assert (await client.post("/whip", data=offer, headers=SDP)).status == 201
    assert (await client.delete(first.headers["Location"])).status == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost:8080", "Origin": "http://localhost:8080"}, 201),
        ({"Host": "127.0.0.1:8080", "Origin": "http://127.0.0.1:8080"}, 201),
        ({"Host": "[::1]:8080"}, 201),
        ({}, 201),
    ],
)
async def test_other_sites_are_refused(start: Start, offer: str, headers: dict[str, str], status: int) -> None:
    client = await start()
    assert (await client.post("/whip", data=offer, headers=SDP | headers)).status == status


async def test_shutting_down_leaves_nothing_behind(start: Start, offer: str) -> None:
    client = await start(max_sessions=2)
    app = client.app
    assert app is not None
    for _ in range(2):
        await client.post("/whip", data=offer, headers=SDP)
    await app[LOBBY].shut()
    assert app[LOBBY].sessions == []
    assert app[LOBBY].is_clean
    response = await client.post("/whip", data=offer, headers=SDP)
    assert (await refused(response))[2] == "The server is shutting down."
