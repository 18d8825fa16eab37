"""A page made of aiortc against the server in the same process: real codecs, real SRTP, real sockets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp.test_utils import TestServer

from streamer.app import create_app
from streamer.config import Config, MediaConfig, ServerConfig
from tests.e2e.peers import NumberedCamera, connected
from tests.unit.streamer.fakes import FakeSettings, FakeTargets

Serve = Callable[..., Any]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    servers: list[TestServer] = []

    async def start(targets: FakeTargets, *, max_sessions: int = 1, media: MediaConfig | None = None) -> TestServer:
        config = Config(
            server=ServerConfig(max_sessions=max_sessions), media=media or MediaConfig(), settings=FakeSettings()
        )
        server = TestServer(create_app(config, targets=targets))
        await server.start_server()
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.close()


@pytest.mark.parametrize("codec", ["video/VP8", "video/H264"])
async def test_frames_come_back_in_order_and_fresh(serve: Serve, codec: str) -> None:
    server = await serve(FakeTargets())
    async with connected(server, NumberedCamera(), codec=codec) as page:
        await page.until(lambda: len(page.seen) >= 45)
        numbers = [seen.number for seen in page.seen]
        print(numbers, page.messages[-1])
        assert numbers == sorted(set(numbers))
