"""Echoes between two real ends: they come back, are heard, and end with the connection."""

from __future__ import annotations

import asyncio

from aiortc import RTCPeerConnection
from aiortc.rtp import RTCP_RTPFB_NACK, RtcpReceiverInfo, RtcpRrPacket, RtcpRtpfbPacket

from streamer.aiortc_adapter import echo, install_receiver_reports
from streamer.clock import SystemClock
from streamer.downlink import QUIET_S, DownlinkEstimate, Seen
from streamer.echo import EchoSounder


class Heard(DownlinkEstimate):
    """Keep what was heard."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.times_ms: list[float] = []

    def hear_echo(self, late_ms: float, *, is_back: bool = True) -> None:
        super().hear_echo(late_ms, is_back=is_back)
        if is_back:
            self.times_ms.append(late_ms)


async def connected() -> tuple[RTCPeerConnection, RTCPeerConnection]:
    """Connect two ends, and wait until they are."""
    first, second = RTCPeerConnection(), RTCPeerConnection()
    first.addTransceiver("video", direction="sendonly")
    await first.setLocalDescription(await first.createOffer())
    await second.setRemoteDescription(first.localDescription)
    await second.setLocalDescription(await second.createAnswer())
    is_connected = asyncio.Event()

    def on_state() -> None:
        if first.connectionState == "connected":
            is_connected.set()

    first.on("connectionstatechange", on_state)
    await first.setRemoteDescription(second.localDescription)
    async with asyncio.timeout(20):
        await is_connected.wait()
    return first, second


async def test_the_other_end_answers_and_all_of_it_ends() -> None:
    first, second = await connected()
    sender = first.getSenders()[0]
    heard = Heard()
    sounder = EchoSounder(sender, heard, SystemClock())
    sounder.start()
    sounder.start()  # once is enough
    await asyncio.sleep(6 * QUIET_S)
    assert 3 <= len(heard.times_ms) <= 7
    assert min(heard.times_ms) < 50
    await sounder.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("echo")]
    await second.close()
    assert not await echo(sender)
    await first.close()


async def test_no_way_to_the_peer_is_no_failure() -> None:
    peer = RTCPeerConnection()
    peer.addTransceiver("video", direction="sendonly")
    await peer.createOffer()
    heard = Heard()
    sounder = EchoSounder(peer.getSenders()[0], heard, SystemClock())
    sounder.start()
    await asyncio.sleep(2 * QUIET_S)
    await sounder.close()
    assert heard.times_ms == []
    await peer.close()


async def test_a_receivers_reports_are_heard_and_some_packets_not_sent_again() -> None:
    peer = RTCPeerConnection()
    peer.addTransceiver("video", direction="sendonly")
    sender = peer.getSenders()[0]
    seen: list[Seen] = []
    asked: list[int] = []
    passed_on: list[int] = []

    async def resend(sequence: int) -> None:
        passed_on.append(sequence)

    setattr(sender, "_retransmit", resend)  # noqa: B010 - a method, to mypy

    def may_resend(sequence: int) -> bool:
        asked.append(sequence)
        return sequence != 8

    install_receiver_reports(sender, seen.append, may_resend)
    info = RtcpReceiverInfo(
        ssrc=sender._ssrc, fraction_lost=9, packets_lost=3, highest_sequence=70_000, jitter=1, lsr=0, dlsr=0
    )
    other = RtcpReceiverInfo(
        ssrc=sender._ssrc + 1, fraction_lost=0, packets_lost=0, highest_sequence=1, jitter=0, lsr=0, dlsr=0
    )
    await sender._handle_rtcp_packet(RtcpRrPacket(ssrc=1, reports=[other, info]))
    assert seen == [Seen(highest=70_000, lost=3)]
    nack = RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=1, media_ssrc=sender._ssrc, lost=[7, 8, 9])
    await sender._handle_rtcp_packet(nack)
    assert asked == [7, 8, 9]
    assert passed_on == [7, 9]
    await peer.close()
