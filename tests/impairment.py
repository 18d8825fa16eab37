"""A UDP relay that loses, delays, reorders, doubles and holds datagrams back: this kernel has no netem.

It stands between two WebRTC peers: `rewrite_offer` and `rewrite_answer` put its own addresses into their SDP, so that
it does not matter who they are, a browser or aiortc.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from aioice.ice import get_host_addresses

QUEUE_S = 0.3
"""What a link with a rate holds back at most; then it loses what comes."""
REORDER_S = 0.03
"""How much later a reordered datagram comes than those sent with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Impairment:
    """What befalls the datagrams of one direction; shares are 0..1."""

    loss: float = 0.0
    jitter_s: float = 0.0
    """Each is delayed by up to this; they may overtake each other."""
    reordering: float = 0.0
    duplication: float = 0.0
    rate_bps: float = 0.0
    """0: no limit."""


NONE = Impairment()


class _Side(asyncio.DatagramProtocol):
    """One socket of the relay."""

    def __init__(self, relay: ImpairingRelay, *, is_up: bool) -> None:
        self._relay = relay
        self._is_up = is_up
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._relay._pass(data, addr, is_up=self._is_up)


class ImpairingRelay:
    """Between a client and a server; `up` and `down` may be changed at any time."""

    def __init__(self, seed: int = 1) -> None:
        self.up, self.down = NONE, NONE
        self.num_passed = self.num_lost = 0
        self._random = random.Random(seed)
        self._client, self._server = _Side(self, is_up=True), _Side(self, is_up=False)
        self._client_address: tuple[str, int] | None = None
        self._server_address: tuple[str, int] | None = None
        self._free_at_s = {True: 0.0, False: 0.0}
        self._host = get_host_addresses(use_ipv4=True, use_ipv6=False)[0]

    def rewrite_offer(self, sdp: str) -> str:
        """Put the relay's address in the place of the client's."""
        return self._rewrite(sdp, self._server)

    def rewrite_answer(self, sdp: str) -> str:
        """Put the relay's address in the place of the server's, and learn that."""
        found = re.search(r"^a=candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+) typ host", sdp, re.MULTILINE | re.I)
        assert found, "no IPv4 candidate in the answer"
        self._server_address = (found[1], int(found[2]))
        return self._rewrite(sdp, self._client)

    def _rewrite(self, sdp: str, side: _Side) -> str:
        assert side.transport is not None
        port = side.transport.get_extra_info("sockname")[1]
        lines = [line for line in sdp.splitlines() if not line.startswith(("a=candidate", "a=end-of-candidates"))]
        own = [f"a=candidate:1 1 udp 2130706431 {self._host} {port} typ host", "a=end-of-candidates"]
        out: list[str] = []
        for line in lines:
            out.append(line)
            if line.startswith("a=ice-pwd"):
                out += own
        return "\r\n".join(out) + "\r\n"

    def _pass(self, data: bytes, addr: tuple[str, int], *, is_up: bool) -> None:
        if is_up:
            self._client_address = addr
        impairment = self.up if is_up else self.down
        if self._random.random() < impairment.loss:
            self.num_lost += 1
            return
        loop = asyncio.get_running_loop()
        delay_s = self._random.random() * impairment.jitter_s
        if impairment.rate_bps:
            now_s = loop.time()
            begin_s = max(now_s, self._free_at_s[is_up])
            if begin_s - now_s > QUEUE_S:
                self.num_lost += 1
                return
            self._free_at_s[is_up] = begin_s + 8 * (len(data) + 28) / impairment.rate_bps
            delay_s += self._free_at_s[is_up] - now_s
        if self._random.random() < impairment.reordering:
            delay_s += REORDER_S
        self.num_passed += 1
        for _ in range(2 if self._random.random() < impairment.duplication else 1):
            if delay_s:
                loop.call_later(delay_s, self._send, data, is_up)
            else:
                self._send(data, is_up)

    def _send(self, data: bytes, is_up: bool) -> None:
        side, address = (self._server, self._server_address) if is_up else (self._client, self._client_address)
        if side.transport is not None and address is not None and not side.transport.is_closing():
            side.transport.sendto(data, address)


@asynccontextmanager
async def impairing_relay(seed: int = 1) -> AsyncIterator[ImpairingRelay]:
    """Open a relay, and close it at the end."""
    relay = ImpairingRelay(seed)
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: relay._client, local_addr=(relay._host, 0))
    await loop.create_datagram_endpoint(lambda: relay._server, local_addr=(relay._host, 0))
    try:
        yield relay
    finally:
        for side in (relay._client, relay._server):
            assert side.transport is not None
            side.transport.close()
