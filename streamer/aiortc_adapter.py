"""The one place that touches aiortc's private parts, guarded by `check_internals` and a test against version 1.16.0."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any, Protocol

import aioice.ice
import aioice.stun
import aiortc
from aiortc import RTCDtlsTransport, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, RTCRtpTransceiver
from aiortc.codecs.base import Encoder
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import (
    HeaderExtensions,
    HeaderExtensionsMap,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
    RtpPacket,
    pack_header_extensions,
    unpack_header_extensions,
)

from streamer.codecs import CODEC_NAMES
from streamer.downlink import Seen

PINNED_VERSION = "1.16.0"

_JITTER_BUFFER = "_RTCRtpReceiver__jitter_buffer"
_ESTIMATOR = "_RTCRtpReceiver__remote_bitrate_estimator"
_ENCODER = "_RTCRtpSender__encoder"
_SENT_TIMESTAMP = "_RTCRtpSender__rtp_timestamp"
_SENT_EXTENSIONS = "_RTCRtpSender__rtp_header_extensions_map"

PLAYOUT_DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
"""RTP header extension by which a sender tells a browser how long to hold frames back."""
GATHER_S = 2.0
"""How long an answer waits for STUN and TURN servers: one that takes longer is too far away for a live picture."""
NO_DELAY = bytes(3)
"""Least and greatest playout delay, 12 bits each in 10 ms: none. Chromium then shows every frame as it comes."""


class PacketSink(Protocol):
    """What a receiver believes to be its jitter buffer."""

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """Take one packet in; return whether to send a picture loss indication, and never a frame."""
        ...


class BandwidthEstimator(Protocol):
    """What a receiver asks how much its source may send; see `streamer.uplink.UplinkEstimate`."""

    def add(
        self, arrival_time_ms: int, abs_send_time: int, payload_size: int, ssrc: int
    ) -> tuple[int, list[int]] | None:
        """Take one packet in; return bit/s and whose, if the source is to be told now."""
        ...


def check_internals() -> list[str]:
    """Return a sentence for each assumption about aiortc that does not hold; empty if the adapter fits."""
    problems = []
    if aiortc.__version__ != PINNED_VERSION:
        problems.append(f"aiortc is {aiortc.__version__}, the adapter was written for {PINNED_VERSION}")
    receiver = inspect.getsource(RTCRtpReceiver)
    for fragment in (
        "pli_flag, encoded_frame = self.__jitter_buffer.add(packet)",
        "packet._data = depayload(",
        "async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:",
        "remb = self.__remote_bitrate_estimator.add(",
    ):
        if fragment not in receiver:
            problems.append(f"RTCRtpReceiver has no line {fragment!r}")
    sender = inspect.getsource(RTCRtpSender)
    for fragment in (
        "if self.__encoder is None:",
        "None, self.__encoder.encode, data, force_keyframe",
        "self.__rtp_timestamp = packet.timestamp",
        "packet.serialize(self.__rtp_header_extensions_map)",
        "data = await self.__track.recv()",
        "payloads, timestamp = self.__encoder.pack(data)",
        "self._send_keyframe()",
    ):
        if fragment not in sender:
            problems.append(f"RTCRtpSender has no line {fragment!r}")
    ice = inspect.getsource(aioice.ice.Connection)
    for fragment in (
        "self._queue.put_nowait((data, component))",
        "self._check_list",
        "self._protocols",
        "for pair in self._nominated.values():",
        "request = self.build_request(pair, nominate=False)",
        "await pair.protocol.request(",
        "self.get_component_candidates(component=component, addresses=addresses)",
        "done, pending = await asyncio.wait(tasks, timeout=timeout)",
    ):
        if fragment not in ice:
            problems.append(f"aioice's Connection has no {fragment!r}")
    if "await recipient._handle_rtcp_packet(packet)" not in inspect.getsource(RTCDtlsTransport):
        problems.append("RTCDtlsTransport hands reports to something else")
    if "_codecs" not in RTCRtpTransceiver.__init__.__code__.co_names:
        problems.append("RTCRtpTransceiver has no _codecs")
    return problems


def install_packet_sink(receiver: RTCRtpReceiver, sink: PacketSink) -> None:
    """Put `sink` in the place of the jitter buffer of a receiver that has not started.

    The receiver keeps doing statistics, retransmission requests and bandwidth estimation; as the sink never returns
    a frame, aiortc's own decoder thread and its unbounded queues stay idle.
    """
    if not hasattr(receiver, _JITTER_BUFFER):
        raise RuntimeError("this aiortc has another RTCRtpReceiver than the pinned one")
    setattr(receiver, _JITTER_BUFFER, sink)


def install_estimator(receiver: RTCRtpReceiver, estimator: BandwidthEstimator) -> None:
    """Have `estimator` decide what a receiver of video that has not started tells its source to send at most."""
    if getattr(receiver, _ESTIMATOR, None) is None:
        raise RuntimeError("this aiortc has another RTCRtpReceiver than the pinned one")
    setattr(receiver, _ESTIMATOR, estimator)


def install_sender_reports(receiver: RTCRtpReceiver, on_report: Callable[[int, int], None]) -> None:
    """Call `on_report` with NTP time (64 bits) and RTP timestamp (32 bits) of every RTCP sender report received.

    A source says by it at which moment of its own wall clock an RTP timestamp was captured. One that knows no wall
    clock, or aiortc's before its first frame, says zero (RFC 3550 section 6.4.1): that tells nothing, and is left out.
    """
    if not hasattr(receiver, "_handle_rtcp_packet"):
        raise RuntimeError("this aiortc has another RTCRtpReceiver than the pinned one")
    handle = receiver._handle_rtcp_packet

    async def listen(packet: Any) -> None:  # noqa: ANN401 - any RTCP packet
        if isinstance(packet, RtcpSrPacket) and packet.sender_info.ntp_timestamp:
            on_report(packet.sender_info.ntp_timestamp, packet.sender_info.rtp_timestamp)
        await handle(packet)

    setattr(receiver, "_handle_rtcp_packet", listen)  # noqa: B010 - a method, to mypy


def make_repeater(receiver: RTCRtpReceiver) -> Callable[[int, list[int]], None]:
    """Return what asks a receiver's sender, by its SSRC, for packets once more; aiortc itself asks once."""
    if not hasattr(receiver, "_send_rtcp_nack"):
        raise RuntimeError("this aiortc has another RTCRtpReceiver than the pinned one")
    pending: set[asyncio.Task[None]] = set()

    def ask(ssrc: int, sequences: list[int]) -> None:
        task = asyncio.create_task(receiver._send_rtcp_nack(ssrc, sequences), name="nack")
        pending.add(task)
        task.add_done_callback(pending.discard)

    return ask


def install_receiver_reports(
    sender: RTCRtpSender, on_report: Callable[[Seen], None], may_resend: Callable[[int], bool]
) -> None:
    """Call `on_report` with each of the receiver's reports on what a sender sent.

    Of the packets that it asks for once more, those are sent for whose sequence number (16 bits) `may_resend` is true.
    """
    if not hasattr(sender, "_handle_rtcp_packet"):
        raise RuntimeError("this aiortc has another RTCRtpSender than the pinned one")
    handle = sender._handle_rtcp_packet

    async def listen(packet: Any) -> None:  # noqa: ANN401 - any RTCP packet
        if isinstance(packet, RtcpRrPacket | RtcpSrPacket):
            for report in packet.reports:
                if report.ssrc == sender._ssrc:
                    on_report(Seen(highest=report.highest_sequence, lost=report.packets_lost))
        elif isinstance(packet, RtcpRtpfbPacket):
            packet.lost = [sequence for sequence in packet.lost if may_resend(sequence)]
        await handle(packet)

    setattr(sender, "_handle_rtcp_packet", listen)  # noqa: B010 - a method, to mypy


def ice_connections(peer: RTCPeerConnection) -> set[aioice.ice.Connection]:
    """Return the ways to the other end that a peer connection with its remote description has."""
    carried = [transceiver.receiver.transport for transceiver in peer.getTransceivers()]
    if peer.sctp is not None:
        carried.append(peer.sctp.transport)
    return {dtls.transport._connection for dtls in carried}


def hasten_gathering(peer: RTCPeerConnection, timeout_s: float = GATHER_S) -> None:
    """Have a peer connection that has its remote description, and no local one yet, wait no longer for its servers.

    aioice waits five seconds for one that does not answer, and aiortc with every answer.
    """
    for connection in ice_connections(peer):
        gather = functools.partial(connection.get_component_candidates, timeout=timeout_s)  # type: ignore[arg-type]
        setattr(connection, "get_component_candidates", gather)  # noqa: B010 - a method, to mypy


async def echo(sender: RTCRtpSender) -> bool:
    """Send the other end a request of ICE that it answers at once; true when it has, false if it never does.

    Raises `ConnectionError` where no way to it is known yet, or any more.
    """
    connection = sender.transport.transport._connection
    pair = connection._nominated.get(1)
    if pair is None or connection.remote_password is None:
        raise ConnectionError("no way to the peer")
    request = connection.build_request(pair, nominate=False)
    key = connection.remote_password.encode()
    try:
        await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=0)
    except aioice.stun.TransactionError:
        return False
    return True


def install_encoder(sender: RTCRtpSender, encoder: Encoder) -> None:
    """Give `encoder` to a sender that has not started."""
    if not hasattr(sender, _ENCODER):
        raise RuntimeError("this aiortc has another RTCRtpSender than the pinned one")
    setattr(sender, _ENCODER, encoder)


def install_key_frame_request(sender: RTCRtpSender, on_request: Callable[[], None]) -> None:
    """Call `on_request` when the receiver asks a sender of encoded frames for a key frame: aiortc drops that wish."""
    if not hasattr(sender, "_send_keyframe"):
        raise RuntimeError("this aiortc has another RTCRtpSender than the pinned one")
    setattr(sender, "_send_keyframe", on_request)  # noqa: B010 - a method, to mypy


def playout_delay(delay_ms: float) -> bytes:
    """Return the extension that asks for this delay, no less and no more."""
    tens = min(0xFFF, round(delay_ms / 10))
    return (tens << 12 | tens).to_bytes(3, "big")


class NoDelayExtensions(HeaderExtensionsMap):
    """aiortc's header extensions, and playout delay, which it does not know."""

    def __init__(self) -> None:
        """Send no playout delay until `configure` has found its number."""
        super().__init__()
        self.delay_ms = 0
        """How long the receiver shall hold frames back."""
        self._playout_delay_id: int | None = None

    def configure(self, parameters: RTCRtpParameters) -> None:
        """Take the negotiated numbers over."""
        super().configure(parameters)
        for extension in parameters.headerExtensions:
            if extension.uri == PLAYOUT_DELAY:
                self._playout_delay_id = extension.id

    def set(self, values: HeaderExtensions) -> tuple[int, bytes]:
        """Return profile and value of the header extension of one packet."""
        profile, value = super().set(values)
        if self._playout_delay_id is None:
            return profile, value
        known = list(unpack_header_extensions(profile, value)) if value else []
        return pack_header_extensions([*known, (self._playout_delay_id, playout_delay(self.delay_ms))])


def install_no_playout_delay(transceiver: RTCRtpTransceiver, number: int) -> NoDelayExtensions:
    """Have a sender that has not started ask for no playout delay, by the extension number that was offered.

    Gives what may ask for another one later.
    """
    if not hasattr(transceiver.sender, _SENT_EXTENSIONS):
        raise RuntimeError("this aiortc has another RTCRtpSender than the pinned one")
    extensions = NoDelayExtensions()
    setattr(transceiver.sender, _SENT_EXTENSIONS, extensions)
    transceiver._headerExtensions.append(RTCRtpHeaderExtensionParameters(id=number, uri=PLAYOUT_DELAY))
    return extensions


def sent_timestamp(sender: RTCRtpSender) -> int:
    """Return the 32-bit RTP timestamp of the last packet sent."""
    return int(getattr(sender, _SENT_TIMESTAMP))


def negotiated_codecs(transceiver: RTCRtpTransceiver) -> dict[int, str]:
    """Map payload type to codec name, in order of preference, for what both sides speak."""
    codecs: list[Any] = transceiver._codecs
    return {codec.payloadType: codec.name for codec in codecs if codec.name in CODEC_NAMES}


def negotiate_opus(transceiver: RTCRtpTransceiver) -> frozenset[int]:
    """Agree on Opus alone, mended by what later packets repeat of lost ones; return its payload types."""
    codecs: list[Any] = transceiver._codecs
    transceiver._codecs = opus = [codec for codec in codecs if codec.name.lower() == "opus"]
    for codec in opus:
        codec.parameters = {"minptime": 10, "useinbandfec": 1, "stereo": 1}
    return frozenset(codec.payloadType for codec in opus)


def payload_of(packet: RtpPacket) -> bytes:
    """Return the packet's payload without the RTP payload descriptor, as the receiver left it."""
    data = getattr(packet, "_data", b"")
    return data if isinstance(data, bytes) else bytes(data)
