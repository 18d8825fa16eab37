"""Whatever comes over HTTP: SDP of sources and viewers, late candidates, whole requests. An answer or a clear error."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from aiohttp import web
from aiortc import RTCConfiguration, RTCPeerConnection
from hypothesis import given
from hypothesis import strategies as st

from streamer import doorkeeper, guard, whip
from streamer.app import create_app
from streamer.config import Config, ServerConfig
from streamer.doorkeeper import GuardedRunner
from streamer.errors import ServiceError
from streamer.keys import LOBBY
from streamer.offer import Offer, parse_offer, parse_trickle, parse_viewer_offer
from tests.fuzz.inputs import NASTY_TEXT, damaged_bytes, damaged_lines, inputs, nothing_leaks
from tests.unit.streamer.fakes import FakeSettings, FakeTargets


@cache
def good_offer(direction: str = "sendrecv") -> str:
    async def make() -> str:
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peer.addTransceiver("video", direction=direction)
        peer.createDataChannel("control")
        await peer.setLocalDescription(await peer.createOffer())
        text = str(peer.localDescription.sdp)
        await peer.close()
        return text

    return asyncio.run(make())


TRICKLE = (
    "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n"
    "a=candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host\r\n"
    "a=candidate:2 1 udp 1694498815 198.51.100.7 50001 typ srflx raddr 192.0.2.1 rport 50000\r\na=end-of-candidates\r\n"
)


@pytest.fixture
def no_leaks() -> Iterator[None]:
    good_offer()
    with nothing_leaks():
        yield


@pytest.mark.usefixtures("no_leaks")
@inputs(120)
@given(data=st.data())
def test_an_offer_is_understood_or_refused_with_a_sentence(data: st.DataObject) -> None:
    text = data.draw(damaged_lines(good_offer()))
    for parse in (parse_offer, parse_viewer_offer):
        try:
            offer = parse(text)
        except ServiceError as error:
            assert error.status in (400, 406)
            assert error.message.endswith(".")
        else:
            assert offer.video_mids


@pytest.mark.usefixtures("no_leaks")
@inputs(150)
@given(text=damaged_lines(TRICKLE) | st.text(max_size=200))
def test_late_candidates_are_understood_or_refused(text: str) -> None:
    try:
        trickle = parse_trickle(text)
    except ServiceError as error:
        assert error.status == 400
    else:
        assert len(trickle.candidates) <= 100


class Server:
    """The whole server in a loop of its own, and one raw connection after the other to it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.loop = asyncio.new_event_loop()
        patch.setattr(doorkeeper, "FIRST_REQUEST_S", 0.15)  # how long half a request holds the test up
        patch.setattr(whip, "BODY_S", 0.15)
        for limits in (guard.REQUESTS, guard.OFFERS):
            patch.setitem(limits, "burst", 1e9)
        config = Config(server=ServerConfig(max_sessions=2), settings=FakeSettings())
        self.app = create_app(config, targets=FakeTargets(), is_preparing=False)
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self.runner = GuardedRunner(self.app, shutdown_timeout=1)
        self.port = self.loop.run_until_complete(self._start())

    async def _start(self) -> int:
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        return int(self.runner.addresses[0][1])

    def ask(self, request: bytes) -> bytes:
        return self.loop.run_until_complete(asyncio.wait_for(self._ask(request), 60))

    async def _ask(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            return await reader.read(1 << 20)
        except OSError:
            return b""  # cut off while it still spoke
        finally:
            writer.close()

    def end_sessions(self) -> None:
        async def end() -> None:
            lobby = self.app[LOBBY]
            for session in lobby.sessions:
                lobby.end(session, "closed")
            while lobby._closing:
                await asyncio.wait(lobby._closing)

        self.loop.run_until_complete(end())

    def close(self) -> None:
        self.loop.run_until_complete(self.runner.cleanup())
        self.loop.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server(monkeypatch)
    # What is made once, at the first request of its kind, is no leak.
    offer = good_offer().encode()
    head = "POST /whip HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/sdp\r\n"
    head += f"Content-Length: {len(offer)}\r\n"
    for _ in range(3):
        for path in ("healthz", "api/actors", "api/settings", "api/mesh", "metrics", "web/main.js", "nowhere"):
            made.ask(f"GET /{path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        assert check_answer(made.ask(head.encode() + b"\r\n" + offer)) == 201
        made.end_sessions()
    try:
        with nothing_leaks():
            yield made
    finally:
        made.close()


def check_answer(answer: bytes) -> int:
    """Look whether an answer is one: a status, and for a refusal its sentence; gives the status."""
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
    assert found, answer[:200]
    status = int(found[1])
    assert status != 500, body
    if status >= 400 and b"application/json" in head and body:  # a HEAD has none
        error = json.loads(body)["error"]
        assert error["code"]
        assert error["message"]
    return status


@inputs(12)
@given(data=st.data())
def test_a_posted_offer_makes_a_session_or_a_refusal_and_nothing_else(server: Server, data: st.DataObject) -> None:
    direction = data.draw(st.sampled_from(("sendrecv", "recvonly")))
    path = "/whip" if direction == "sendrecv" else "/whep/live"
    body = data.draw(damaged_lines(good_offer(direction))).encode("utf-8", "surrogatepass")
    head = f"POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/sdp\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    status = check_answer(server.ask(head.encode() + body))
    assert status in (201, 400, 404, 406, 409, 413, 503)
    if status == 201:
        assert len(server.app[LOBBY].sessions) == 1
        server.end_sessions()
    assert server.app[LOBBY].sessions == []


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Make a whole request: a good one, damaged somewhere."""
    method = draw(st.sampled_from(("GET", "POST", "PATCH", "DELETE", "PUT", "OPTIONS", "HEAD", "TRACE", "G\0T", "")))
    path = draw(
        st.sampled_from((
            "/", "/whip", "/whip/x", "/whep/live", "/whep/live/x", "/stream/live.ts", "/view/live", "/recordings/x",
            "/api/actors", "/api/actors/milo/preview.webp", "/api/sessions", "/api/settings", "/api/tokens",
            "/api/tokens/x", "/api/mesh", "/metrics", "/web/main.js", "/web/", "//", "*", "http://evil.example/",
        ))
        | st.sampled_from(NASTY_TEXT).map(lambda text: "/" + text)
    )  # fmt: skip
    query = draw(st.sampled_from(("", "?token=x", "?actor=../../x", "?client=" + "x" * 300, "?%00", "?a=%ff&token=")))
    kind = draw(st.sampled_from(("application/sdp", "application/json", "application/trickle-ice-sdpfrag", "x", "\0")))
    length = draw(st.sampled_from(("", "-1", "0", "5", "99999999999", "x", "chunked")))
    body = draw(st.sampled_from((b"", b"v=0\r\n", b'{"right": "viewer"}', b"5\r\nhello\r\n0\r\n\r\n", b"[" * 1000)))
    lines = [f"{method} {path}{query} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}"]
    if length == "chunked":
        lines.append("Transfer-Encoding: chunked")
    elif length:
        lines.append(f"Content-Length: {length}")
    lines += draw(
        st.lists(st.sampled_from((
            "Cookie: reenact-0=x; ;;=", "Authorization: Bearer \x80", "Expect: 100-continue", "Upgrade: websocket",
            "If-Match: *", "Range: bytes=-1-", "Origin: http://[", "Host: evil", "Accept: text/html",
            "Content-Encoding: gzip",
        )), max_size=4)
    )  # fmt: skip
    whole = "\r\n".join([*lines, "Connection: close", "", ""]).encode("utf-8", "surrogatepass") + body
    return draw(damaged_bytes(whole)) if draw(st.booleans()) else whole


@inputs(60)
@given(request=requests())
def test_a_request_is_answered_and_the_server_lives(server: Server, request: bytes) -> None:
    answer = server.ask(request)
    if answer:  # a head that never ends, or that is no HTTP at all, may find the connection closed
        check_answer(answer)
    server.end_sessions()
    assert check_answer(server.ask(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")) == 200
    assert server.errors == []


def test_a_good_offer_is_still_understood() -> None:
    assert isinstance(parse_offer(good_offer()), Offer)
    assert parse_viewer_offer(good_offer("recvonly")).video_mids
