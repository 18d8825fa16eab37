"""What it costs per frame to hear the peer alone, and to let the watchdog see the inference thread."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from aioice.ice import Connection, StunProtocol

from streamer.clock import SystemClock
from streamer.stranger import Door
from streamer.worker import InferenceWorker
from tests.benchmark.paired import Row, compare

DATAGRAMS = 10
"""Of one frame, at 2 Mb/s and 30 fps: eight of video, two of everything else."""
PEER = ("192.0.2.1", 50_000)
RTP = b"\x80\x60" + bytes(1100)


def measure_door(*, rounds: int, calls: int) -> Row:
    """Give the datagrams of one frame to aioice with and without a door, the bookkeeping of one frame added."""

    async def prepare() -> tuple[StunProtocol, StunProtocol]:
        receiver: Any = SimpleNamespace(
            data_received=lambda *_: None,
            _queue=SimpleNamespace(qsize=lambda: 0),
            _check_list=[SimpleNamespace(remote_addr=PEER)],
        )
        protocols = [StunProtocol(receiver), StunProtocol(receiver)]
        for protocol in protocols:
            protocol.local_candidate = cast(Any, SimpleNamespace(component=1))
        Door(cast(Connection, receiver), SystemClock()).watch(protocols[0])
        return protocols[0], protocols[1]

    guarded, bare = asyncio.run(prepare())
    worker = InferenceWorker(cast(Any, None), clock=SystemClock(), longest_side=960, name="measured")

    def with_door(_: int) -> None:
        with worker._at("frame"):
            for _ in range(DATAGRAMS):
                guarded.datagram_received(RTP, PEER)

    def without_door(_: int) -> None:
        for _ in range(DATAGRAMS):
            bare.datagram_received(RTP, PEER)

    return compare(
        "door and watchdog, one frame", f"{DATAGRAMS} datagrams", with_door, "aioice alone", without_door,
        rounds=rounds, calls=50 * calls,
        note="door: all datagrams of one frame together, on the event loop.",
    )  # fmt: skip
