"""WHEP viewers of one session: each its own connection, all of them the same few encodes."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpTransceiver
from aiortc.mediastreams import MediaStreamError

from streamer.aiortc_adapter import (
    install_encoder,
    install_key_frame_request,
    install_no_playout_delay,
    install_receiver_reports,
    negotiated_codecs,
)
from streamer.candidates import RemoteCandidates
from streamer.clock import Clock
from streamer.config import MediaConfig
from streamer.connection import answer_offer, configuration, join_sound, plan_sound, prefer_codec
from streamer.downlink import PacedEncoder, Seen
from streamer.echo import EchoSounder
from streamer.errors import ServiceError
from streamer.ladder import Ladder
from streamer.metrics import Meter
from streamer.offer import Trickle, ViewerOffer
from streamer.packets import SharedFrame
from streamer.renditions import Rendition, Renditions
from streamer.shared_encoders import ENCODE_SHARED, SHARES, RtpEncoder
from streamer.sound import Sound
from streamer.sound_track import SoundTrack

logger = logging.getLogger(__name__)

MAX_WAITING = 8
"""Frames that may wait for one viewer's socket; then it goes on at the next key frame."""
CLOSE_S = 1.0
CONNECT_S = 20.0
"""A viewer that has not connected by then never will."""


class SharedTrack(MediaStreamTrack):
    """Hand the frames of a rendition to one viewer's sender; a viewer that falls behind skips to a key frame."""

    kind = "video"

    def __init__(self, on_lost: Callable[[], None]) -> None:
        """Call `on_lost` when frames were skipped: a key frame is needed."""
        super().__init__()
        self._on_lost = on_lost
        self._frames: deque[SharedFrame] = deque()
        self._ready = asyncio.Event()
        self._is_skipping = True

    def put(self, frame: SharedFrame) -> None:
        """Take one frame without waiting."""
        if self._is_skipping and not frame.is_key:
            return
        self._is_skipping = False
        if len(self._frames) >= MAX_WAITING:
            self._frames.clear()
            self._is_skipping = True
            self._on_lost()
            return
        self._frames.append(frame)
        self._ready.set()

    # aiortc's sender takes encoded packets too, and gives them to the encoder's `pack`.
    async def recv(self) -> Any:  # noqa: ANN401
        """Return the next frame; raise `MediaStreamError` at the end."""
        while not self._frames:
            if self.readyState != "live":
                raise MediaStreamError
            self._ready.clear()
            await self._ready.wait()
        return self._frames.popleft()

    def stop(self) -> None:
        """End the track, and the sender that waits for it."""
        super().stop()
        self._frames.clear()
        self._ready.set()


class _Repacker(PacedEncoder):
    """What a viewer's sender believes to be its encoder: the frames come encoded."""

    def encode(self, frame: Any, force_keyframe: bool = False) -> tuple[list[bytes], int]:  # noqa: ANN401
        raise NotImplementedError("a viewer's frames come encoded")

    def pack(self, packet: Any) -> tuple[list[bytes], int]:  # noqa: ANN401
        frame = cast(SharedFrame, packet)
        return list(frame.payloads), frame.pts


class Viewer:
    """One viewer's connection. All methods run on the event loop."""

    def __init__(
        self,
        renditions: Renditions,
        sound: Sound,
        media: MediaConfig,
        *,
        clock: Clock,
        meter: Meter,
        on_over: Callable[[Viewer], None],
    ) -> None:
        """Take from `renditions` and `sound`; `on_over` is called when the viewer has gone."""
        self.id = secrets.token_urlsafe(9)
        self.owner = ""
        """The token that it came with."""
        self._renditions = renditions
        self._media = media
        self._clock = clock
        self._meter = meter
        self._on_over = on_over
        self._repacker = _Repacker(clock)
        self._ladder = Ladder(len(SHARES), clock)
        self._codec = ""
        self._current: Rendition | None = None
        self._next: Rendition | None = None
        self._last_pts = -1
        self._sounder: EchoSounder | None = None
        self._created_ns = clock.monotonic_ns()
        self._peer = RTCPeerConnection(configuration(media))
        self._candidates = RemoteCandidates(self._peer)
        self._track = SharedTrack(self._request_key_frame)
        self._sound = sound
        self._sound_track = SoundTrack()
        self._peer.on("connectionstatechange", self._on_state)

    @property
    def etag(self) -> str:
        """Entity tag of the ICE session."""
        return f'"{self.id}"'

    @property
    def quality(self) -> int:
        """The step of `SHARES` in use."""
        return self._ladder.step

    async def answer(self, offer: ViewerOffer) -> str:
        """Answer `offer`; return the SDP answer. Raises `ServiceError`."""
        peer, output = self._peer, None
        for mid in offer.video_mids:
            if mid == offer.output_mid:
                output = peer.addTransceiver(self._track, direction="sendonly")
                prefer_codec(output, self._media.codec)
            else:
                peer.addTransceiver("video", direction="inactive")
        assert output is not None
        sounds = plan_sound(peer, offer.sound, self._sound_track)
        return await answer_offer(
            peer,
            self._candidates,
            offer.sdp,
            wanted=[output, *sounds.values()],
            join=lambda: self._join(output, sounds, offer),
            clock=self._clock,
        )

    def _join(self, output: RTCRtpTransceiver, sounds: dict[str, RTCRtpTransceiver], offer: ViewerOffer) -> None:
        join_sound(sounds, offer.sound, self._sound_track, self._sound)
        self._codec = next(iter(negotiated_codecs(output).values()))
        install_encoder(output.sender, self._repacker)
        install_key_frame_request(output.sender, self._request_key_frame)
        downlink = self._repacker.downlink
        install_receiver_reports(output.sender, self._hear_report, downlink.may_resend)
        self._sounder = EchoSounder(output.sender, downlink, self._clock)
        if offer.playout_delay_id is not None:
            install_no_playout_delay(output, offer.playout_delay_id)

    async def add_candidates(self, trickle: Trickle) -> None:
        """Take late candidates in; raise `ServiceError` for an ICE restart."""
        await self._candidates.add(trickle)

    def _hear_report(self, seen: Seen) -> None:
        if self._current is not None:
            self._repacker.downlink.hear_report(seen, self._current.rate_bps)

    def look(self) -> None:
        """Choose the quality that the viewer's network carries; leave a viewer that never connected."""
        if self._current is None:
            if self._clock.monotonic_ns() - self._created_ns > CONNECT_S * 1e9:
                self._on_over(self)
            return
        if self._next is not None:
            return
        before = self._ladder.step
        step = self._ladder.look(self._repacker.downlink.bps, self._current.rate_bps)
        if step != before:
            self._subscribe(step)

    def _on_state(self) -> None:
        if self._peer.connectionState == "connected" and self._current is None:
            self._subscribe(self._ladder.step)
            if self._sounder is not None:
                self._sounder.start()
        elif self._peer.connectionState in ("failed", "closed"):
            self._on_over(self)

    def _subscribe(self, step: int) -> None:
        name = f"{self._codec} {step}"
        meter, bitrate_bps = self._meter, self._media.bitrate_kbps * 1000
        rendition = self._renditions.get(
            name,
            lambda: RtpEncoder(
                self._codec,
                SHARES[step],
                bitrate_bps=bitrate_bps,
                on_encoded=lambda ms: meter.time(ENCODE_SHARED, ms),
                clock=self._clock,
            ),
        )
        if self._current is None:
            self._current = rendition
        else:
            self._next = rendition
        rendition.add(self)

    def _request_key_frame(self) -> None:
        for rendition in (self._current, self._next):
            if rendition is not None:
                rendition.request_key_frame()

    # What a rendition calls

    def take(self, rendition: Rendition, frame: SharedFrame) -> None:
        """Send one frame; change over to another quality at its first key frame."""
        if rendition is self._next and frame.is_key:
            if frame.pts <= self._last_pts:
                rendition.request_key_frame()
                return
            before, self._current, self._next = self._current, rendition, None
            if before is not None:
                before.remove(self)
        if rendition is self._current and frame.pts > self._last_pts:
            self._last_pts = frame.pts
            self._track.put(frame)

    def end(self) -> None:
        """Hear that the session, or its encoder, has ended."""
        self._track.stop()
        self._on_over(self)

    def leave(self) -> None:
        """Take no more frames at once; `close` does the rest."""
        for rendition in (self._current, self._next):
            if rendition is not None:
                rendition.remove(self)
        self._sound.remove_sink(self._sound_track)
        self._track.stop()
        self._sound_track.stop()

    async def close(self) -> None:
        """Close the connection, within `CLOSE_S`."""
        self._candidates.close()
        self.leave()
        if self._sounder is not None:
            await self._sounder.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._peer.close()
        except TimeoutError:
            logger.warning("a viewer's connection did not close in time")


class Viewers:
    """The viewers of one session."""

    def __init__(
        self,
        renditions: Renditions,
        sound: Sound,
        media: MediaConfig,
        *,
        max_viewers: int,
        clock: Clock,
        meter: Meter,
    ) -> None:
        """Admit `max_viewers` at a time."""
        self._renditions = renditions
        self._sound = sound
        self._media = media
        self._max_viewers = max_viewers
        self._clock = clock
        self._meter = meter
        self._viewers: dict[str, Viewer] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._viewers)

    async def admit(self, offer: ViewerOffer, *, owner: str = "") -> tuple[Viewer, str]:
        """Make a viewer for `offer`, let in by the token `owner`; return it with the answer. Raises `ServiceError`."""
        if len(self._viewers) >= self._max_viewers:
            text = f"All {self._max_viewers} places for viewers are taken; try again later."
            raise ServiceError(503, "viewers_full", text, retry_after_s=3)
        viewer = Viewer(
            self._renditions, self._sound, self._media, clock=self._clock, meter=self._meter, on_over=self.end
        )
        viewer.owner = owner
        self._viewers[viewer.id] = viewer
        try:
            return viewer, await viewer.answer(offer)
        except BaseException:
            self.end(viewer)
            raise

    def find(self, viewer_id: str) -> Viewer:
        """Return a viewer; raise `ServiceError` `not_found` (404)."""
        viewer = self._viewers.get(viewer_id)
        if viewer is None:
            raise ServiceError(404, "not_found", "There is no such viewer; it may have left.")
        return viewer

    def look(self) -> None:
        """Let every viewer choose its quality."""
        for viewer in list(self._viewers.values()):
            viewer.look()

    def revoke(self, owner: str) -> None:
        """Let everybody go who came with the token `owner`."""
        for viewer in list(self._viewers.values()):
            if viewer.owner == owner:
                self.end(viewer)

    def end(self, viewer: Viewer) -> None:
        """Let `viewer` go; its connection closes in a task of its own."""
        if self._viewers.pop(viewer.id, None) is None:
            return
        viewer.leave()
        task = asyncio.create_task(viewer.close(), name=f"close-viewer-{viewer.id[:6]}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Let everybody go."""
        for viewer in list(self._viewers.values()):
            self.end(viewer)
        await asyncio.gather(*self._closing)
