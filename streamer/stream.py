"""The output as a transport stream over HTTP, for players that know no WebRTC: OBS's media source, VLC, ffplay."""

from __future__ import annotations

import asyncio
from collections import deque

from aiohttp import web

from streamer.continuous_sound import ContinuousSound
from streamer.guard import TOKEN
from streamer.keys import CLOCK, CONFIG, LOBBY, TOKENS
from streamer.packets import SharedFrame
from streamer.renditions import Rendition
from streamer.shared_encoders import ENCODE_SHARED, TransportStreamEncoder

NAME = "mpegts"
NAME_WITH_SOUND = "mpegts and sound"
MAX_WAITING = 30
"""Frames that may wait for one player's socket; then it goes on at the next key frame."""


class _Player:
    """Somebody who reads the stream; one that reads too slowly loses pictures, and nobody else does."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._ready = asyncio.Event()
        self._is_skipping = True
        self._has_ended = False

    def take(self, rendition: Rendition, frame: SharedFrame) -> None:
        """Take one frame without waiting."""
        if self._is_skipping and not frame.is_key:
            return
        self._is_skipping = False
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.clear()
            self._is_skipping = True
            rendition.request_key_frame()
            return
        self._waiting.append(frame.data)
        self._ready.set()

    def end(self) -> None:
        """Hear that the session has ended."""
        self._has_ended = True
        self._ready.set()

    async def next(self) -> bytes | None:
        """Return everything that waits; None at the end."""
        while not self._waiting:
            if self._has_ended:
                return None
            self._ready.clear()
            await self._ready.wait()
        data = b"".join(self._waiting)
        self._waiting.clear()
        return data


async def play(request: web.Request) -> web.StreamResponse:
    """`GET /stream/{session}.ts`: MPEG-2 video, and Opus where the source sends sound, in an MPEG transport stream.

    It lasts as long as the session. A player that came before the sound is let go when that begins: it comes again.
    """
    session = request.app[LOBBY].find_watchable(request.match_info["session"])
    media, clock = request.app[CONFIG].media, request.app[CLOCK]
    sound = session.pipeline.sound
    has_sound = sound.is_present

    def make() -> TransportStreamEncoder:
        heard = ContinuousSound() if has_sound else None
        if heard is not None:
            sound.add_sink(heard)
        return TransportStreamEncoder(
            bitrate_bps=media.bitrate_kbps * 1000,
            on_encoded=lambda ms: session.meter.time(ENCODE_SHARED, ms),
            clock=clock,
            sound=heard,
            on_closed=lambda: sound.remove_sink(heard) if heard is not None else None,
        )

    rendition = session.renditions.get(NAME_WITH_SOUND if has_sound else NAME, make)
    response = web.StreamResponse(headers={"Content-Type": "video/mp2t"})
    player = _Player()
    rendition.add(player)
    try:
        await response.prepare(request)
        while (data := await player.next()) is not None and request.app[TOKENS].holds(request[TOKEN]):
            await response.write(data)
            if sound.is_present and not has_sound:
                break
    except ConnectionResetError:
        pass  # The player has gone.
    finally:
        rendition.remove(player)
    return response


ROUTES = [web.get("/stream/{session}.ts", play, allow_head=False)]
