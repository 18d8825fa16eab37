"""How many connections there may be at a time: the rest hear so and are closed, before anything is read from them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import cast

from aiohttp import web

from streamer.limits import network_of

MAX_CONNECTIONS = 512
MAX_OF_ONE_ADDRESS = 128
"""A browser holds six; more than one may stand behind an address."""
FIRST_REQUEST_S = 15.0
"""Time for a request's head, and for which a connection may lie idle."""
REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nServer: reenact\r\nConnection: close\r\nRetry-After: 5\r\n"
    b"Content-Type: application/json\r\nContent-Length: 80\r\n\r\n"
    b'{"error": {"code": "too_many_connections", "message": "Too many connections."}}\n'
)


QUIET = logging.getLogger(f"{__name__}.requests")
"""Stands for aiohttp's own, which tells the address, and the words, of every request that is not HTTP."""
QUIET.disabled = True


class Doorkeeper:
    """Count connections, and put aiohttp's own protocol behind those that may come in."""

    def __init__(self, server: web.Server) -> None:
        """Let into `server`."""
        self._server = server
        self.counts: Counter[str] = Counter()
        """Open connections of each address."""

    def __call__(self) -> asyncio.Protocol:
        """Make the protocol of one connection."""
        return _Entrance(self)

    def enter(self, transport: asyncio.Transport) -> asyncio.Protocol | None:
        """Return what talks to a new connection; None if it is one too many."""
        address = _address(transport)
        if self.counts.total() >= MAX_CONNECTIONS or self.counts[address] >= MAX_OF_ONE_ADDRESS:
            return None
        self.counts[address] += 1
        return self._server()

    def leave(self, transport: asyncio.Transport) -> None:
        """Forget a connection that was let in."""
        address = _address(transport)
        self.counts[address] -= 1
        if self.counts[address] <= 0:
            del self.counts[address]


def _address(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return network_of(peer[0] if isinstance(peer, tuple) else None)


class _Entrance(asyncio.Protocol):
    """Stands between a connection and aiohttp, and says when it has gone."""

    def __init__(self, keeper: Doorkeeper) -> None:
        self._keeper = keeper
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._inner = self._keeper.enter(self._transport)
        if self._inner is None:
            self._transport.write(REFUSAL)
            self._transport.close()
        else:
            self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._inner is not None and self._transport is not None:
            self._keeper.leave(self._transport)
            self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()


class GuardedRunner(web.AppRunner):
    """An `AppRunner` whose sites have a doorkeeper."""

    def __init__(self, app: web.Application, *, shutdown_timeout: float) -> None:
        """Serve `app`; nobody's requests are logged."""
        super().__init__(
            app,
            access_log=None,
            logger=QUIET,
            handle_signals=False,
            shutdown_timeout=shutdown_timeout,
            keepalive_timeout=FIRST_REQUEST_S,
        )

    @property
    def server(self) -> web.Server | None:
        """What a site makes its protocols with."""
        server = super().server
        # A site only calls it; everything else asks the runner.
        return cast(web.Server, Doorkeeper(server)) if server is not None else None
