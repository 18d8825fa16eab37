"""Numbers from other programs: UDP sockets for OSC and Live Link Face, off, and on loopback, unless asked for."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable

from typing_extensions import override

from reenact.face_change import FaceChange
from streamer.clock import NS_PER_S, Clock
from streamer.config import InputsConfig
from streamer.errors import UsageError
from streamer.live_link import read_live_link
from streamer.osc import read_osc

logger = logging.getLogger(__name__)

MAX_DATAGRAM_BYTES = 8192
MAX_PER_SECOND = 1000
"""Packets of one input that are read in a second: OSC programs send one for each number."""

Reader = Callable[[bytes], dict[str, float]]
Listener = Callable[[FaceChange], None]


class NumberInput(asyncio.DatagramProtocol):
    """One socket. What one packet leaves out stays as it was: OSC sends numbers one by one."""

    def __init__(self, name: str, read: Reader, listener: Listener, clock: Clock) -> None:
        """Read packets with `read` and tell `listener` of every change."""
        self._name = name
        self._read = read
        self._listener = listener
        self._clock = clock
        self._values: dict[str, float] = {}
        self._second = 0
        self._count = 0
        self._has_complained = False
        self.num_refused = 0
        """Packets that were no such packets, too large, or too many."""

    @override
    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        second = self._clock.monotonic_ns() // NS_PER_S
        self._second, self._count = second, (self._count + 1 if second == self._second else 1)
        if self._count > MAX_PER_SECOND or len(data) > MAX_DATAGRAM_BYTES:
            self.num_refused += 1
            return
        try:
            values = self._read(data)
            if values:
                self._values = dict(FaceChange.of(self._values | values).values)
                self._listener(FaceChange(self._values))
        except ValueError as error:
            self.num_refused += 1
            if not self._has_complained:
                logger.warning("%s: a packet is refused, further ones are only counted: %s", self._name, error)
            self._has_complained = True


@contextlib.asynccontextmanager
async def open_inputs(config: InputsConfig, listener: Listener, clock: Clock) -> AsyncIterator[list[NumberInput]]:
    """Listen while the context lasts; raises `UsageError` where a port cannot be had."""
    loop, opened = asyncio.get_running_loop(), []
    wanted: list[tuple[str, int, Reader]] = [
        ("OSC", config.osc_port, read_osc),
        ("Live Link Face", config.live_link_port, read_live_link),
    ]
    with contextlib.ExitStack() as stack:
        for name, port, read in wanted:
            if not port:
                continue
            make = functools.partial(NumberInput, name, read, listener, clock)
            try:
                transport, made = await loop.create_datagram_endpoint(make, (config.host, port))
            except OSError as error:
                where = f"{config.host}:{port}"
                raise UsageError(f"{name}: cannot listen on {where}: {error.strerror or error}") from error
            stack.callback(transport.close)
            logger.info("%s is heard on %s, UDP port %s", name, config.host, port)
            opened.append(made)
        yield opened
    await asyncio.sleep(0)  # the loop closes sockets at its next turn
