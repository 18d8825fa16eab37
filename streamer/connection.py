"""The WebRTC connection of one session: an offer answered, our packet sink and encoder put into aiortc's hands."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection

from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCRtpSender,
    RTCRtpTransceiver,
)
from aiortc.exceptions import OperationError

from streamer import control
from streamer.aiortc_adapter import (
    NoDelayExtensions,
    hasten_gathering,
    install_encoder,
    install_estimator,
    install_no_playout_delay,
    install_packet_sink,
    install_receiver_reports,
    install_sender_reports,
    make_repeater,
    negotiate_opus,
    negotiated_codecs,
    sent_timestamp,
)
from streamer.candidates import RemoteCandidates
from streamer.clock import Clock
from streamer.codecs import LiveEncoder
from streamer.config import MediaConfig
from streamer.echo import EchoSounder
from streamer.errors import ServiceError
from streamer.hardware_encoders import make_best_encoder
from streamer.ice import ice_servers
from streamer.latency import SenderClock
from streamer.live_settings import MediaSettings
from streamer.offer import Offer, SoundOffer, Trickle, bad_sdp
from streamer.pipeline import Pipeline
from streamer.sound import Sound
from streamer.sound_track import SoundPacker, SoundTrack
from streamer.stranger import refuse_strangers
from streamer.uplink import UplinkEstimate

logger = logging.getLogger(__name__)

CLOSE_S = 1.0


def configuration(media: MediaConfig) -> RTCConfiguration:
    """Say which servers help to find a path."""
    return RTCConfiguration(iceServers=ice_servers(media, time.time()))


def prefer_codec(transceiver: RTCRtpTransceiver, codec: str) -> None:
    """Offer nothing but `codec`, unless that is `auto`."""
    if codec == "auto":
        return
    wanted = (f"video/{codec}", "video/rtx")
    codecs = RTCRtpSender.getCapabilities("video").codecs
    transceiver.setCodecPreferences([known for known in codecs if known.mimeType.lower() in wanted])


def plan_sound(peer: RTCPeerConnection, offer: SoundOffer, track: SoundTrack) -> dict[str, RTCRtpTransceiver]:
    """Make a transceiver for each audio section, as `Connection` does for video; sound goes out from `track`."""
    transceivers: dict[str, RTCRtpTransceiver] = {}
    for mid in offer.mids:
        is_source, is_output = mid == offer.source_mid, mid == offer.output_mid
        if is_output:
            transceivers[mid] = peer.addTransceiver(track, direction="sendrecv" if is_source else "sendonly")
        else:
            transceivers[mid] = peer.addTransceiver("audio", direction="recvonly" if is_source else "inactive")
    return transceivers


def join_sound(transceivers: dict[str, RTCRtpTransceiver], offer: SoundOffer, track: SoundTrack, sound: Sound) -> None:
    """Let the sound come in by the section of its source and go out by `track`."""
    types = {mid: negotiate_opus(transceivers[mid]) for mid in (offer.source_mid, offer.output_mid) if mid is not None}
    if offer.source_mid is not None:
        receiver = transceivers[offer.source_mid].receiver
        sound.connect(types[offer.source_mid])
        install_packet_sink(receiver, sound)
        install_sender_reports(receiver, sound.report_sound)
    if offer.output_mid is not None:
        install_encoder(transceivers[offer.output_mid].sender, SoundPacker())
        sound.add_sink(track)


async def answer_offer(
    peer: RTCPeerConnection,
    candidates: RemoteCandidates,
    sdp: str,
    *,
    wanted: Collection[RTCRtpTransceiver],
    join: Callable[[], None],
    clock: Clock,
) -> str:
    """Answer a valid offer with the transceivers `wanted`, once `join` has put ours into aiortc's hands.

    Returns the SDP answer. Raises `ServiceError`.
    """
    try:
        await candidates.describe(sdp)
        for transceiver in peer.getTransceivers():
            if transceiver not in wanted:
                transceiver.direction = "inactive"
        join()
        hasten_gathering(peer)
        await peer.setLocalDescription(await peer.createAnswer())
        refuse_strangers(peer, clock)
    except OperationError as error:
        raise ServiceError(406, "no_common_codec", "The offer has none of our codecs.") from error
    except Exception as error:
        # What `parse_offer` cannot see, contradictions between sections, aiortc answers with whatever went wrong.
        # By its type alone: the text may quote the offer, and an offer holds addresses.
        logger.warning("an offer could not be answered: %s", type(error).__name__)
        raise bad_sdp("The offer cannot be used: its media sections contradict each other.") from error
    return str(peer.localDescription.sdp)


class Connection:
    """A peer connection joined to a pipeline. All methods run on the event loop."""

    def __init__(
        self,
        pipeline: Pipeline,
        media: MediaConfig,
        clock: Clock,
        *,
        on_channel: Callable[[RTCDataChannel], None],
        on_closed: Callable[[], None],
    ) -> None:
        """Tell `on_channel` of the control channel, and `on_closed` when the page is gone."""
        self._pipeline = pipeline
        self._media = media
        self._clock = clock
        self._sender: RTCRtpSender | None = None
        self.sender_clock: SenderClock | None = None
        """The source's wall clock, as its newest RTCP report tells it; None before the first."""
        self._sound_track = SoundTrack()
        self._encoder: LiveEncoder | None = None
        self._extensions: NoDelayExtensions | None = None
        self._sounder: EchoSounder | None = None
        self._live: MediaSettings | None = None
        self._peer = RTCPeerConnection(configuration(media))
        self._candidates = RemoteCandidates(self._peer)
        self._listen(on_channel, on_closed)

    async def answer(self, offer: Offer) -> str:
        """Answer `offer`; return the SDP answer. Raises `ServiceError`."""
        transceivers = self._plan(offer)
        return await answer_offer(
            self._peer,
            self._candidates,
            offer.sdp,
            wanted=transceivers.values(),
            join=lambda: self._join(transceivers, offer),
            clock=self._clock,
        )

    async def add_candidates(self, trickle: Trickle) -> None:
        """Take late candidates in; raise `ServiceError` for an ICE restart, which is not supported."""
        await self._candidates.add(trickle)

    def apply(self, live: MediaSettings | None) -> None:
        """Encode and send by other settings from the next frame on; None changes nothing."""
        self._live = live
        if live is None:
            return
        if self._encoder is not None:
            self._encoder.configure(bitrate_bps=live.bitrate_kbps * 1000, longest_side=live.output_px)
        if self._extensions is not None:
            self._extensions.delay_ms = live.jitter_ms

    def rtp_offset(self) -> int | None:
        """Return what to add to a source's RTP timestamp for its answer's, modulo 2**32; None before the first."""
        ingest, sent = self._pipeline.ingest, self._pipeline.last_sent
        if self._sender is None or ingest is None or ingest.rtp_origin is None or sent is None:
            return None
        return (sent_timestamp(self._sender) - sent.pts - ingest.rtp_origin) % (1 << 32)

    async def close(self) -> None:
        """Close the connection, within `CLOSE_S`."""
        self._candidates.close()
        if self._sounder is not None:
            await self._sounder.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._peer.close()
        except TimeoutError:
            logger.warning("a peer connection did not close in time")

    def _listen(self, on_channel: Callable[[RTCDataChannel], None], on_closed: Callable[[], None]) -> None:
        def on_state() -> None:
            if self._peer.connectionState in ("failed", "closed"):
                on_closed()
            elif self._peer.connectionState == "connected" and self._sounder is not None:
                self._sounder.start()

        def on_datachannel(channel: RTCDataChannel) -> None:
            if channel.label == control.LABEL:
                on_channel(channel)

        self._peer.on("connectionstatechange", on_state)
        self._peer.on("datachannel", on_datachannel)

    def _plan(self, offer: Offer) -> dict[str, RTCRtpTransceiver]:
        """Make a transceiver for each video section before aiortc does, which finds them in order."""
        transceivers: dict[str, RTCRtpTransceiver] = {}
        for mid in offer.video_mids:
            is_source, is_output = mid == offer.source_mid, mid == offer.output_mid
            if is_output:
                direction = "sendrecv" if is_source else "sendonly"
                transceiver = self._peer.addTransceiver(self._pipeline.track, direction=direction)
            else:
                transceiver = self._peer.addTransceiver("video", direction="recvonly" if is_source else "inactive")
            prefer_codec(transceiver, self._media.codec)
            transceivers[mid] = transceiver
        return transceivers | plan_sound(self._peer, offer.sound, self._sound_track)

    def _join(self, transceivers: dict[str, RTCRtpTransceiver], offer: Offer) -> None:
        """Join the connection to the pipeline: our packet sink, our encoder."""
        source, sound = transceivers[offer.source_mid], self._pipeline.sound
        ingest = self._pipeline.connect_source(negotiated_codecs(source))
        ingest.on_missing = make_repeater(source.receiver)
        install_packet_sink(source.receiver, ingest)
        install_estimator(source.receiver, UplinkEstimate())
        install_sender_reports(source.receiver, self._on_sender_report)
        join_sound(transceivers, offer.sound, self._sound_track, sound)
        if offer.output_mid is None:
            return
        output = transceivers[offer.output_mid]
        encoder = self._encoder = make_best_encoder(
            next(iter(negotiated_codecs(output).values())),
            bitrate_bps=self._media.bitrate_kbps * 1000,
            on_encoded=lambda ms: self._pipeline.meter.time("encode", ms),
            clock=self._clock,
        )
        install_encoder(output.sender, encoder)
        install_receiver_reports(output.sender, encoder.hear_report, encoder.downlink.may_resend)
        self._sounder = EchoSounder(output.sender, encoder.downlink, self._clock)
        if offer.playout_delay_id is not None:
            self._extensions = install_no_playout_delay(output, offer.playout_delay_id)
        self.apply(self._live)
        sender = self._sender = output.sender
        self._pipeline.sent_timestamp = lambda: sent_timestamp(sender)

    def _on_sender_report(self, ntp_timestamp: int, rtp_timestamp: int) -> None:
        self.sender_clock = SenderClock.from_report(ntp_timestamp, rtp_timestamp)
        self._pipeline.sound.report_picture(ntp_timestamp, rtp_timestamp)
