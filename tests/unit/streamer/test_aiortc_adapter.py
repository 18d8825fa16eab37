"""If aiortc is updated, these say whether the adapter still fits; end to end it is `tests/e2e`."""

from __future__ import annotations

import asyncio
import time

import aiortc
import pytest
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender
from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensionsMap, RtcpSenderInfo, RtcpSrPacket, RtpPacket, unpack_header_extensions

from streamer.aiortc_adapter import (
    NO_DELAY,
    PINNED_VERSION,
    PLAYOUT_DELAY,
    NoDelayExtensions,
    check_internals,
    hasten_gathering,
    install_encoder,
    install_no_playout_delay,
    install_packet_sink,
    install_sender_reports,
    negotiated_codecs,
    payload_of,
    playout_delay,
    sent_timestamp,
)
from streamer.codecs import make_encoder


def test_the_installed_aiortc_is_the_pinned_one_and_fits() -> None:
    assert aiortc.__version__ == PINNED_VERSION
    assert check_internals() == []


def test_another_version_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiortc, "__version__", "1.17.0")
    assert check_internals() == ["aiortc is 1.17.0, the adapter was written for 1.16.0"]


class Sink:
    def __init__(self) -> None:
        self.packets: list[RtpPacket] = []

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        self.packets.append(packet)
        return False, None


async def test_the_receiver_hands_packets_to_the_sink_and_decodes_nothing_itself() -> None:
    peer = RTCPeerConnection()
    transceiver = peer.addTransceiver("video", direction="recvonly")
    receiver, sink = transceiver.receiver, Sink()
    await peer.createOffer()
    codecs = negotiated_codecs(transceiver)
    assert next(iter(codecs.values())) == "VP8"
    install_packet_sink(receiver, sink)
    # What `RTCRtpReceiver.receive` would set, without a transport.
    receiver._RTCRtpReceiver__codecs = {codec.payloadType: codec for codec in transceiver._codecs}  # type: ignore[attr-defined]
    packet = RtpPacket(
        payload_type=next(iter(codecs)), sequence_number=1, timestamp=2, marker=1, payload=b"\x10\x00abc"
    )
    await receiver._handle_rtp_packet(packet, arrival_time_ms=0)
    assert sink.packets == [packet]
    assert payload_of(packet) == b"\x00abc"
    assert receiver._RTCRtpReceiver__decoder_queue.empty()  # type: ignore[attr-defined]
    await peer.close()


async def test_a_source_without_a_wall_clock_reports_none() -> None:
    peer = RTCPeerConnection()
    receiver = peer.addTransceiver("video", direction="recvonly").receiver
    heard: list[tuple[int, int]] = []
    install_sender_reports(receiver, lambda *report: heard.append(report))
    for ntp in (0, 50 << 32):
        sent = RtcpSenderInfo(ntp_timestamp=ntp, rtp_timestamp=7, packet_count=0, octet_count=0)
        await receiver._handle_rtcp_packet(RtcpSrPacket(ssrc=1, sender_info=sent))
    assert heard == [(50 << 32, 7)]
    await peer.close()


async def test_the_sender_uses_our_encoder() -> None:
    peer = RTCPeerConnection()
    sender = peer.addTransceiver("video").sender
    encoder = make_encoder("VP8")
    install_encoder(sender, encoder)
    assert sender._RTCRtpSender__encoder is encoder  # type: ignore[attr-defined]
    assert sent_timestamp(sender) == 0
    await peer.close()


def extensions(*uris: str) -> RTCRtpParameters:
    return RTCRtpParameters(
        headerExtensions=[RTCRtpHeaderExtensionParameters(id=number, uri=uri) for number, uri in enumerate(uris, 3)]
    )


MID = "urn:ietf:params:rtp-hdrext:sdes:mid"


def test_packets_ask_for_no_playout_delay_beside_what_aiortc_sends() -> None:
    ours = NoDelayExtensions()
    ours.configure(extensions(MID, PLAYOUT_DELAY))
    packet = RtpPacket(payload_type=97, sequence_number=1, timestamp=2, payload=b"abc")
    packet.extensions.mid = "0"
    data = packet.serialize(ours)
    theirs = HeaderExtensionsMap()
    theirs.configure(extensions(MID))
    parsed = RtpPacket.parse(data, theirs)
    assert (parsed.extensions.mid, parsed.payload) == ("0", b"abc")
    profile, value = ours.set(packet.extensions)
    assert list(unpack_header_extensions(profile, value)) == [(3, b"0"), (4, b"\0\0\0")]


def test_without_the_extension_packets_are_aiortcs() -> None:
    ours, theirs = NoDelayExtensions(), HeaderExtensionsMap()
    for given in (ours, theirs):
        given.configure(extensions(MID))
    packet = RtpPacket(payload_type=97, sequence_number=1, timestamp=2, payload=b"abc")
    packet.extensions.mid = "0"
    assert packet.serialize(ours) == packet.serialize(theirs)


async def test_the_extension_is_in_the_answer_if_it_was_offered() -> None:
    peer = RTCPeerConnection()
    transceiver = peer.addTransceiver("video")
    await peer.createOffer()
    install_no_playout_delay(transceiver, 9)
    assert transceiver._headerExtensions[-1].uri == PLAYOUT_DELAY
    assert isinstance(transceiver.sender._RTCRtpSender__rtp_header_extensions_map, NoDelayExtensions)  # type: ignore[attr-defined]
    await peer.close()


def test_other_objects_are_refused() -> None:
    with pytest.raises(RuntimeError, match="another RTCRtpReceiver"):
        install_packet_sink(object.__new__(RTCRtpReceiver), Sink())
    with pytest.raises(RuntimeError, match="another RTCRtpSender"):
        install_encoder(object.__new__(RTCRtpSender), make_encoder("VP8"))


def test_a_playout_delay_is_twice_twelve_bits_of_ten_ms() -> None:
    assert playout_delay(0) == bytes(3) == NO_DELAY
    assert playout_delay(40) == bytes([0x00, 0x40, 0x04])
    assert playout_delay(1e9) == bytes([0xFF, 0xFF, 0xFF])


async def test_a_server_that_does_not_answer_is_not_waited_for_long() -> None:
    silent, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    port = silent.get_extra_info("sockname")[1]
    source = RTCPeerConnection()
    source.createDataChannel("control")
    source.addTransceiver("video")
    await source.setLocalDescription(await source.createOffer())
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[RTCIceServer(urls=f"stun:127.0.0.1:{port}")]))
    await peer.setRemoteDescription(source.localDescription)
    hasten_gathering(peer, 0.2)
    began = time.monotonic()
    await peer.setLocalDescription(await peer.createAnswer())
    assert 0.15 < time.monotonic() - began < 2.0
    assert " typ host" in peer.localDescription.sdp
    await asyncio.gather(source.close(), peer.close())
    silent.close()
