"""Sound on its way out over WebRTC: the same Opus packets for the page and for every viewer."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

from aiortc import MediaStreamTrack
from aiortc.codecs.base import Encoder
from aiortc.mediastreams import MediaStreamError

from streamer.packets import SoundPacket

MAX_WAITING = 25
"""Packets, half a second, that may wait for one socket; then the oldest is lost."""


class SoundTrack(MediaStreamTrack):
    """Hand the sound to one sender."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._packets: deque[SoundPacket] = deque(maxlen=MAX_WAITING)
        self._ready = asyncio.Event()
        self._has_begun = False

    def hear(self, packet: SoundPacket) -> None:
        """Take one packet without waiting; what comes before the sender asks for the first one is not kept."""
        if not self._has_begun:
            return
        self._packets.append(packet)
        self._ready.set()

    # aiortc's sender takes encoded packets too, and gives them to the encoder's `pack`.
    async def recv(self) -> Any:  # noqa: ANN401
        """Return the next packet; raise `MediaStreamError` at the end."""
        self._has_begun = True
        while not self._packets:
            if self.readyState != "live":
                raise MediaStreamError
            self._ready.clear()
            await self._ready.wait()
        return self._packets.popleft()

    def stop(self) -> None:
        """End the track, and the sender that waits for it."""
        super().stop()
        self._packets.clear()
        self._ready.set()


class SoundPacker(Encoder):
    """What a sender of sound believes to be its encoder: the packets come encoded."""

    # What aiortc calls.
    def encode(self, frame: Any, force_keyframe: bool = False) -> tuple[list[bytes], int]:  # noqa: ANN401, D102
        raise NotImplementedError("sound comes encoded")

    def pack(self, packet: Any) -> tuple[list[bytes], int]:  # noqa: ANN401, D102
        sound = cast(SoundPacket, packet)
        return [sound.data], sound.timestamp
