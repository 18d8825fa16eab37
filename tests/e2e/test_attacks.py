"""Attacks that need real sockets: each is tried on a server that runs, and the one who uses it must notice nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, ClientTimeout, TCPConnector
from aiohttp.test_utils import TestServer
from aioice.ice import StunProtocol

from streamer import doorkeeper, stranger
from streamer.app import create_app
from streamer.config import Config, ServerConfig
from streamer.doorkeeper import MAX_OF_ONE_ADDRESS
from streamer.serve import serve
from streamer.stranger import Door
from tests.e2e.peers import NumberedCamera, connected
from tests.unit.streamer.fakes import FakeSettings, FakeTargets

pytestmark = pytest.mark.alone


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """Run the whole server in this process; gives its address."""
    config = Config(server=ServerConfig(port=0), settings=FakeSettings())
    stop = asyncio.Event()
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(
        serve(config, FakeTargets(), stop=stop, on_listening=lambda url, _: told.set_result(url))
    )
    try:
        yield await told
    finally:
        stop.set()
        await running


IN_TIME = ClientTimeout(total=5)


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_a_thousand_connections_leave_room_for_everybody_else() -> None:
    async with serving() as url:
        port = int(url.rstrip("/").rpartition(":")[2])
        held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        refused = 0
        before = open_fds()
        try:
            for number in range(1000):
                # All of loopback is this machine's: the attacker has an address of its own.
                opened = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.66", 0))
                opened[1].write(b"GET /healthz HTTP/1.1\r\n")
                if number % 100 == 99:
                    async with (
                        ClientSession(timeout=ClientTimeout(total=5)) as http,
                        http.get(url + "healthz") as answer,
                    ):
                        assert answer.status == 200
                held.append(opened)
            for reader, _ in held[MAX_OF_ONE_ADDRESS:]:
                async with asyncio.timeout(5):
                    refused += (await reader.read(12)) == b"HTTP/1.1 503"
            assert refused == 1000 - MAX_OF_ONE_ADDRESS
        finally:
            for _, writer in held:
                writer.close()
            await asyncio.gather(*(writer.wait_closed() for _, writer in held), return_exceptions=True)
        async with ClientSession() as http, http.get(url + "healthz") as answer:
            assert answer.status == 200
        assert open_fds() <= before + 5


async def test_slow_requests_are_cut_off_and_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorkeeper, "FIRST_REQUEST_S", 0.3)
    async with serving() as url:
        port = int(url.rstrip("/").rpartition(":")[2])
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for _, writer in slow:
            writer.write(b"POST /whip HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\nX")
        async with ClientSession() as http, http.get(url + "api/actors") as answer:
            assert answer.status == 200
        async with asyncio.timeout(5):
            for reader, writer in slow:
                assert await reader.read() == b""
                writer.close()


async def test_a_strangers_flood_of_media_goes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    doors: list[Door] = []
    watch = Door.watch

    def note(door: Door, protocol: StunProtocol) -> None:
        watch(door, protocol)
        if door not in doors:
            doors.append(door)

    monkeypatch.setattr(Door, "watch", note)
    server = TestServer(create_app(Config(settings=FakeSettings()), targets=FakeTargets()))
    await server.start_server()
    flooder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        async with connected(server, NumberedCamera()) as page:
            await page.until(lambda: len(page.seen) >= 30)
            (door,) = doors
            hosts = {
                (protocol.local_candidate.host, protocol.local_candidate.port)
                for protocol in door._connection._protocols
                if ":" not in protocol.local_candidate.host
            }
            rtp = struct.pack("!BBHII", 0x80, 97, 1, 2, 3) + bytes(1000)
            dtls = b"\x15\xfe\xfd" + bytes(8) + b"\x00\x02\x02\x00"  # an alert that says goodbye
            stun = struct.pack("!HHI12s", 1, 0, 0x2112A442, os.urandom(12))
            count, longest = len(page.seen), 0
            for _ in range(100):
                for host in hosts:
                    for packet in (rtp, dtls, stun, b"", b"\xff" * 1400):
                        for _ in range(10):
                            flooder.sendto(packet, host)
                await asyncio.sleep(0.01)
                longest = max(longest, door._connection._queue.qsize())
            assert door.num_refused > 1000
            assert longest < stranger.MAX_WAITING
            await page.until(lambda: len(page.seen) >= count + 45)
            numbers = [seen.number for seen in page.seen[count:]]
            assert len(numbers) >= 0.5 * (numbers[-1] - numbers[0] + 1)
            assert page.told("bye") == []
    finally:
        flooder.close()
        await server.close()


async def test_nothing_personal_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A session from its offer to its end, a refused offer and a failing request, with everything that can be said."""
    for package in ("aiohttp", "aioice", "aiortc"):
        caplog.set_level(logging.WARNING, package)
    caplog.set_level(logging.DEBUG, "streamer")  # last: it is the level of what is captured
    async with serving() as url:
        async with connected(url, NumberedCamera()) as page:
            await page.until(lambda: len(page.seen) >= 5)
            page.send(type="set", key="transfer.mouth_gain", value=1.5)
            page.send(type="calibrate")
            await page.until(lambda: page.told("settings"))
        headers = {"Content-Type": "application/sdp"}
        bad = (page.peer.localDescription.sdp or "").replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 1")
        async with ClientSession(connector=TCPConnector(force_close=True)) as http:
            await http.post(url + "whip", data=bad.replace("a=setup:actpass", "a=setup:x"), headers=headers)
            await http.get(url + "whip/none")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rstrip("/").rpartition(":")[2]))
        writer.write(b"my name is m=video a=candidate\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.0 400")
        writer.close()
    text = "\n".join(record.getMessage() + str(record.exc_text or "") for record in caplog.records)
    assert "accepted" in text
    for pattern in (
        r"\b\d{1,3}(\.\d{1,3}){3}\b",
        r"a=|m=video|ice-ufrag|fingerprint",
        r"candidate",
        r"[0-9a-f]{0,4}::",
    ):
        assert not re.search(pattern, text), re.search(pattern, text)
