"""One source, one target, one pipeline, and the WebRTC connection that carries both directions."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, MutableMapping
from typing import Any, Literal

from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.exceptions import OperationError

from streamer import control
from streamer.aiortc_adapter import (
    install_encoder,
    install_no_playout_delay,
    install_packet_sink,
    negotiated_codecs,
    sent_timestamp,
)
from streamer.clock import NS_PER_S, Clock
from streamer.codecs import make_encoder
from streamer.config import MediaConfig
from streamer.errors import MessageError, ServiceError
from streamer.metrics import Meter
from streamer.offer import Offer, Trickle, bad_sdp
from streamer.pipeline import EngineInfo, Pipeline
from streamer.settings import SettingsTable

Reason = Literal["shutdown", "replaced", "idle", "closed", "failed"]
"""Why a session ended. The page hears of the first three in a `bye`; it closed itself at the fourth, and at the last
one an `error` with the sentence came before."""

WATCH_INTERVAL_S = 0.25
QUIET_S = 1.0
"""A source that sent nothing for this long may lose its place to a new one."""
IDLE_S = 3.0
"""A source that sent nothing for this long is gone."""
CONNECT_S = 20.0
"""Time for the first packet."""
CONNECT_QUIET_S = 5.0
"""As `QUIET_S`, before the first packet."""
BYE_S = 0.25
CLOSE_S = 1.0


class _SessionLog(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:  # noqa: ANN401
        return f"session {(self.extra or {})['session']}: {msg}", kwargs


class Session:
    """Everything between one page and its target. All methods run on the event loop."""

    def __init__(
        self,
        *,
        actor: str,
        client: str,
        settings: Any,  # noqa: ANN401 - the targets' settings type
        media: MediaConfig,
        clock: Clock,
        meter: Meter,
        on_over: Callable[[Session, Reason], None],
    ) -> None:
        """Make a session that holds its place; `on_over` is called when it should end."""
        self.id = secrets.token_urlsafe(12)
        self.client = client
        self.state: Literal["connecting", "live", "ended"] = "connecting"
        self.created_ns = clock.monotonic_ns()
        self.meter = meter
        self.settings: SettingsTable[Any] = SettingsTable(settings)
        self._media = media
        self._clock = clock
        self._on_over = on_over
        self._log = _SessionLog(logging.getLogger(__name__), {"session": self.id[:6]})
        self._engine: EngineInfo | None = None
        self._channel: RTCDataChannel | None = None
        self._sender: RTCRtpSender | None = None
        self._peer: RTCPeerConnection | None = None
        self._usernames: frozenset[str] = frozenset()
        self._num_candidates = 0
        self._watch_task: asyncio.Task[None] | None = None
        self.pipeline = Pipeline(
            name=self.id[:6],
            actor=actor,
            settings=settings,
            loop=asyncio.get_running_loop(),
            clock=clock,
            meter=meter,
            listener=self,
        )

    # Connecting

    @property
    def etag(self) -> str:
        """Entity tag of the ICE session (RFC 9725 section 4.3)."""
        return f'"{self.id}"'

    async def accept(self, offer: Offer) -> str:
        """Answer `offer`; return the SDP answer. Raises `ServiceError`."""
        servers = [RTCIceServer(urls=url) for url in self._media.ice_servers]
        peer = self._peer = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._listen(peer)
        transceivers = self._plan(peer, offer)
        try:
            await peer.setRemoteDescription(RTCSessionDescription(sdp=offer.sdp, type="offer"))
            for transceiver in peer.getTransceivers():
                if transceiver not in transceivers.values():
                    transceiver.direction = "inactive"
            self._join(transceivers, offer)
            await peer.setLocalDescription(await peer.createAnswer())
        except OperationError as error:
            raise ServiceError(406, "no_common_codec", "The offer has none of our codecs.") from error
        except Exception as error:
            # What `parse_offer` cannot see, contradictions between sections, aiortc answers with whatever went wrong.
            self._log.warning("an offer could not be answered: %r", error)
            raise bad_sdp("The offer cannot be used: its media sections contradict each other.") from error
        self._watch_task = asyncio.create_task(self._watch(), name=f"watch-{self.id[:6]}")
        self._log.info("accepted, actor %s, %s", self.pipeline.actor, "two-way" if offer.output_mid else "one-way")
        return str(peer.localDescription.sdp)

    async def add_candidates(self, trickle: Trickle) -> None:
        """Take late candidates in; raise `ServiceError` for an ICE restart, which is not supported."""
        if self._peer is None or self.state == "ended":
            return
        description = self._peer.remoteDescription
        if any(f"a=ice-ufrag:{name}" not in description.sdp for name in trickle.usernames):
            raise ServiceError(422, "ice_restart", "An ICE restart is not supported: make a new session.")
        self._num_candidates += len(trickle.candidates)
        for candidate in trickle.candidates[: max(0, 100 - self._num_candidates)]:
            await self._peer.addIceCandidate(candidate)
        if trickle.is_end:
            await self._peer.addIceCandidate(None)

    def _plan(self, peer: RTCPeerConnection, offer: Offer) -> dict[str, RTCRtpTransceiver]:
        """Make a transceiver for each video section before aiortc does, which finds them in order."""
        transceivers: dict[str, RTCRtpTransceiver] = {}
        for mid in offer.video_mids:
            is_source, is_output = mid == offer.source_mid, mid == offer.output_mid
            if is_output:
                direction = "sendrecv" if is_source else "sendonly"
                transceiver = peer.addTransceiver(self.pipeline.track, direction=direction)
            else:
                transceiver = peer.addTransceiver("video", direction="recvonly" if is_source else "inactive")
            if self._media.codec != "auto":
                self._prefer(transceiver)
            transceivers[mid] = transceiver
        return transceivers

    def _prefer(self, transceiver: RTCRtpTransceiver) -> None:
        codecs = RTCRtpSender.getCapabilities("video").codecs
        wanted = (f"video/{self._media.codec}", "video/rtx")
        transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType.lower() in wanted])

    def _join(self, transceivers: dict[str, RTCRtpTransceiver], offer: Offer) -> None:
        """Join the connection to the pipeline: our packet sink, our encoder."""
        source = transceivers[offer.source_mid]
        install_packet_sink(source.receiver, self.pipeline.connect_source(negotiated_codecs(source)))
        if offer.output_mid is None:
            return
        output = transceivers[offer.output_mid]
        codec = next(iter(negotiated_codecs(output).values()))
        encoder = make_encoder(
            codec,
            bitrate_bps=self._media.bitrate_kbps * 1000,
            on_encoded=lambda ms: self.meter.time("encode", ms),
            clock=self._clock,
        )
        install_encoder(output.sender, encoder)
        if offer.playout_delay_id is not None:
            install_no_playout_delay(output, offer.playout_delay_id)
        self._sender = output.sender

    def _listen(self, peer: RTCPeerConnection) -> None:
        def on_state() -> None:
            self._log.debug("connection %s", peer.connectionState)
            if peer.connectionState in ("failed", "closed") and self.state != "ended":
                self._on_over(self, "closed")

        def on_channel(channel: RTCDataChannel) -> None:
            if channel.label == control.LABEL and self._channel is None:
                self._channel = channel
                channel.on("message", self._on_message)
                self._greet()

        peer.on("connectionstatechange", on_state)
        peer.on("datachannel", on_channel)

    # Talking

    def _greet(self) -> None:
        if self._engine is not None:
            control.send(self._channel, control.hello(self.id, self._engine, self.settings.values()))

    def _on_message(self, message: str | bytes) -> None:
        try:
            self._obey(control.parse_message(message))
        except MessageError as error:
            self._complain(error.code, error.message)

    def _obey(self, command: control.Command) -> None:
        orders = self.pipeline.orders
        match command:
            case control.SetValue(key, value):
                orders.apply(self.settings.set(key, value))
                control.send(self._channel, {"type": "settings", "settings": self.settings.values()})
            case control.Calibrate():
                orders.calibrate()
            case control.Reset():
                orders.reset()
            case control.SwitchActor(name):
                orders.switch(name)
            case control.Ping(t):
                now_ms = self._clock.monotonic_ns() / 1e6
                control.send(self._channel, {"type": "pong", "t": t, "server_ms": round(now_ms, 3)})

    def _complain(self, code: str, message: str) -> None:
        control.send(self._channel, {"type": "error", "code": code, "message": message})

    def on_engine(self, info: EngineInfo) -> None:
        """Tell the page what runs now."""
        self._engine = info
        self._greet()

    def on_refused(self, code: str, message: str) -> None:
        """Tell the page what could not be done; the session goes on."""
        self._complain(code, message)

    def on_failed(self, code: str, message: str) -> None:
        """Tell the page why this is the end."""
        self._log.error("%s", message)
        self._complain(code, message)
        self._on_over(self, "failed")

    # Watching

    @property
    def interval_s(self) -> float:
        """Usual time between two frames of the source; 0 while unknown."""
        rate = self.meter.rate("decoded", 10.0)
        return 1.0 / rate if rate > 0 else 0.0

    @property
    def silence_s(self) -> float:
        """Time since the newest packet of the source, or since the session was made."""
        return (self._clock.monotonic_ns() - (self._last_packet_ns or self.created_ns)) / NS_PER_S

    @property
    def _last_packet_ns(self) -> int | None:
        return self.pipeline.ingest.last_packet_ns if self.pipeline.ingest is not None else None

    @property
    def is_replaceable(self) -> bool:
        """True if the source has been silent long enough for another one to take its place."""
        if self._last_packet_ns is None:
            return self.silence_s > CONNECT_QUIET_S
        return self.silence_s > max(QUIET_S, 2.5 * min(self.interval_s, 2.0))

    @property
    def is_idle(self) -> bool:
        """True if the source is gone."""
        if self._last_packet_ns is None:
            return self.silence_s > CONNECT_S
        return self.silence_s > max(IDLE_S, 4.0 * min(self.interval_s, 2.0))

    async def _watch(self) -> None:
        while self.state != "ended":
            await asyncio.sleep(WATCH_INTERVAL_S)
            self.look()

    def look(self) -> None:
        """Send statistics and end the session if its source is gone."""
        if self.state == "connecting" and self.pipeline.last_sent is not None:
            self.state = "live"
        if self.is_idle:
            self._on_over(self, "idle")
            return
        message = control.stats(self.meter.snapshot(), self.pipeline.face, self._rtp_offset())
        control.send(self._channel, message)

    def _rtp_offset(self) -> int | None:
        """Return what to add to a source's RTP timestamp for its answer's, modulo 2**32."""
        ingest, sent = self.pipeline.ingest, self.pipeline.last_sent
        if self._sender is None or ingest is None or ingest.rtp_origin is None or sent is None:
            return None
        return (sent_timestamp(self._sender) - sent.pts - ingest.rtp_origin) % (1 << 32)

    def describe(self) -> dict[str, object]:
        """Return the entry of `GET /api/sessions`."""
        snapshot = self.meter.snapshot()
        resolution = self._engine.resolution if self._engine is not None else 0
        return {
            "id": self.id,
            "actor": self.pipeline.actor,
            "state": self.state,
            "age_s": round((self._clock.monotonic_ns() - self.created_ns) / NS_PER_S, 3),
            "fps": round(snapshot.fps_out, 2),
            "size": [resolution, resolution],
        }

    # Ending

    def leave(self) -> None:
        """Give up the place at once: nothing is processed any more. `close` does the rest."""
        self.state = "ended"
        self.pipeline.close()

    async def close(self, reason: Reason) -> None:
        """Say goodbye, close the connection and wait for the threads; about a second at the worst."""
        self.leave()
        if self._watch_task is not None:
            self._watch_task.cancel()
        if reason in ("shutdown", "replaced", "idle"):
            control.send(self._channel, {"type": "bye", "reason": reason})
        await self._flush()
        if self._peer is not None:
            try:
                async with asyncio.timeout(CLOSE_S):
                    await self._peer.close()
            except TimeoutError:
                self._log.warning("the peer connection did not close in time")
        if not await asyncio.to_thread(self.pipeline.join, CLOSE_S):
            self._log.warning("the decoder did not end in time")
        self._log.info("ended: %s", reason)

    async def _flush(self) -> None:
        """Let what was said last reach the page before the connection is cut."""
        channel = self._channel
        if channel is None or channel.readyState != "open":
            return
        flushed = asyncio.Event()
        channel.on("bufferedamountlow", flushed.set)
        if channel.bufferedAmount == 0:
            return
        try:
            async with asyncio.timeout(BYE_S):
                await flushed.wait()
        except TimeoutError:
            self._log.debug("the page did not take the last message")
