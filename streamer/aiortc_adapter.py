"""The one place that touches aiortc's private parts, guarded by `check_internals` and a test against version 1.16.0."""

from __future__ import annotations

import inspect
from typing import Any, Protocol

import aiortc
from aiortc import RTCRtpReceiver, RTCRtpSender, RTCRtpTransceiver
from aiortc.codecs.base import Encoder
from aiortc.rtp import RtpPacket

from streamer.codecs import CODEC_NAMES

PINNED_VERSION = "1.16.0"

_JITTER_BUFFER = "_RTCRtpReceiver__jitter_buffer"
_ENCODER = "_RTCRtpSender__encoder"
_SENT_TIMESTAMP = "_RTCRtpSender__rtp_timestamp"


class PacketSink(Protocol):
    """What a receiver believes to be its jitter buffer."""

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """Take one packet in; return whether to send a picture loss indication, and never a frame."""
        ...


def check_internals() -> list[str]:
    """Return a sentence for each assumption about aiortc that does not hold; empty if the adapter fits."""
    problems = []
    if aiortc.__version__ != PINNED_VERSION:
        problems.append(f"aiortc is {aiortc.__version__}, the adapter was written for {PINNED_VERSION}")
    receiver = inspect.getsource(RTCRtpReceiver)
    for fragment in ("pli_flag, encoded_frame = self.__jitter_buffer.add(packet)", "packet._data = depayload("):
        if fragment not in receiver:
            problems.append(f"RTCRtpReceiver has no line {fragment!r}")
    sender = inspect.getsource(RTCRtpSender)
    for fragment in (
        "if self.__encoder is None:",
        "None, self.__encoder.encode, data, force_keyframe",
        "self.__rtp_timestamp = packet.timestamp",
        "data = await self.__track.recv()",
    ):
        if fragment not in sender:
            problems.append(f"RTCRtpSender has no line {fragment!r}")
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


def install_encoder(sender: RTCRtpSender, encoder: Encoder) -> None:
    """Give `encoder` to a sender that has not started."""
    if not hasattr(sender, _ENCODER):
        raise RuntimeError("this aiortc has another RTCRtpSender than the pinned one")
    setattr(sender, _ENCODER, encoder)


def sent_timestamp(sender: RTCRtpSender) -> int:
    """Return the 32-bit RTP timestamp of the last packet sent."""
    return int(getattr(sender, _SENT_TIMESTAMP))


def negotiated_codecs(transceiver: RTCRtpTransceiver) -> dict[int, str]:
    """Map payload type to codec name, in order of preference, for what both sides speak."""
    codecs: list[Any] = transceiver._codecs
    return {codec.payloadType: codec.name for codec in codecs if codec.name in CODEC_NAMES}


def payload_of(packet: RtpPacket) -> bytes:
    """Return the packet's payload without the RTP payload descriptor, as the receiver left it."""
    data = getattr(packet, "_data", b"")
    return data if isinstance(data, bytes) else bytes(data)
