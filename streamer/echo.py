"""Echoes to one receiver, as often as its estimate wants them."""

from __future__ import annotations

import asyncio
import itertools

from aiortc import RTCRtpSender

from streamer.aiortc_adapter import echo
from streamer.clock import NS_PER_S, Clock, elapsed_ms
from streamer.downlink import DOUBT_S, DownlinkEstimate


class EchoSounder:
    """Ask the other end of a connection for echoes, and tell its `DownlinkEstimate` how long they take."""

    def __init__(self, sender: RTCRtpSender, downlink: DownlinkEstimate, clock: Clock) -> None:
        """Sound the way of `sender`; to be started and closed."""
        self._sender = sender
        self._downlink = downlink
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._echoes: set[asyncio.Task[None]] = set()
        self._pending: dict[int, int] = {}  # When each left that is not back.

    def start(self) -> None:
        """Begin, once the connection is there."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="echoes")

    async def close(self) -> None:
        """End, and everything that is on its way."""
        tasks = [task for task in (self._task, *self._echoes) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        sent_ns = -NS_PER_S
        for number in itertools.count():
            now_ns = self._clock.monotonic_ns()
            for pending_ns in self._pending.values():
                if (late_ms := elapsed_ms(pending_ns, now_ns)) > self._downlink.late_ms:
                    self._downlink.hear_echo(late_ms, is_back=False)
            if now_ns - sent_ns >= self._downlink.pause_s * NS_PER_S:
                sent_ns = now_ns
                task = asyncio.create_task(self._sound(number), name="echo")
                self._echoes.add(task)
                task.add_done_callback(self._echoes.discard)
            await asyncio.sleep(DOUBT_S)

    async def _sound(self, number: int) -> None:
        sent_ns = self._pending[number] = self._clock.monotonic_ns()
        try:
            if await echo(self._sender):
                self._downlink.hear_echo(elapsed_ms(sent_ns, self._clock.monotonic_ns()))
        except (ConnectionError, OSError):
            pass  # The connection says so itself.
        finally:
            del self._pending[number]
