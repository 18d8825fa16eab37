from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from aiortc.codecs import depayload
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RtpPacket

from streamer.clock import SystemClock
from streamer.codecs import make_encoder
from streamer.ingest import DECODE_QUEUE_FRAMES, Ingest
from streamer.metrics import Meter
from streamer.packets import VIDEO_TIME_BASE, SourceFrame
from streamer.pixels import to_picture
from streamer.slots import LatestSlot

PAYLOAD_TYPES = {97: "VP8", 99: "H264"}
FIRST_TIMESTAMP = (1 << 32) - 4500


class Sender:
    """Make the packets of a camera."""

    def __init__(self, payload_type: int = 97) -> None:
        self.payload_type = payload_type
        self.encoder = make_encoder(PAYLOAD_TYPES[payload_type])
        self.sequence = 65_530
        self.number = 0

    def frame(self, *, is_key: bool = False, data: bytes | None = None) -> list[RtpPacket]:
        image = np.full((64, 96, 3), self.number * 5 % 255, np.uint8)
        payloads, _ = self.encoder.encode(to_picture(image, self.number * 3000, VIDEO_TIME_BASE), is_key)
        packets = []
        for index, payload in enumerate(payloads):
            packet = RtpPacket(
                payload_type=self.payload_type,
                sequence_number=self.sequence % 65_536,
                timestamp=(FIRST_TIMESTAMP + self.number * 3000) % (1 << 32),
                marker=int(index == len(payloads) - 1),
                payload=payload,
            )
            codec = RTCRtpCodecParameters(
                mimeType=f"video/{PAYLOAD_TYPES[self.payload_type]}", clockRate=90_000, payloadType=self.payload_type
            )
            packet._data = depayload(codec, payload) if data is None else data  # type: ignore[attr-defined]
            packets.append(packet)
            self.sequence += 1
        self.number += 1
        return packets


class Rig:
    """An ingest whose every decoded frame is kept."""

    def __init__(self) -> None:
        self.meter = Meter(SystemClock())
        self.slot: LatestSlot[SourceFrame] = LatestSlot()
        self.ingest = Ingest(self.slot, codecs=PAYLOAD_TYPES, clock=SystemClock(), meter=self.meter, name="test")

    def take(self) -> SourceFrame:
        frame = self.slot.take(5)
        assert frame is not None
        return frame

    def wait(self, name: str, count: int) -> None:
        """Wait for the decoder thread: it has no other sign of life than its counts."""
        deadline = time.monotonic() + 5
        while self.meter.snapshot().frames.get(name, 0) + self.meter.snapshot().dropped.get(name, 0) < count:
            assert time.monotonic() < deadline
            time.sleep(0.001)


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    rig.ingest.start()
    yield rig
    rig.ingest.close()
    assert rig.ingest.join(5)


@pytest.mark.parametrize("payload_type", [97, 99])
def test_packets_become_frames_with_their_time(rig: Rig, payload_type: int) -> None:
    sender = Sender(payload_type)
    for number in range(5):
        before_ns = time.monotonic_ns()
        for packet in sender.frame():
            assert rig.ingest.add(packet) == (False, None)
        frame = rig.take()
        assert (frame.seq, frame.pts, frame.time_base) == (number, number * 3000, VIDEO_TIME_BASE)
        assert before_ns <= frame.captured_ns <= frame.decoded_ns
        assert (frame.picture.width, frame.picture.height) == (96, 64)
        assert abs(int(frame.picture.to_ndarray(format="rgb24").mean()) - number * 5) < 6
    assert rig.ingest.rtp_origin == FIRST_TIMESTAMP
    assert frame.time_s == pytest.approx(4 / 30)


def test_other_payload_types_are_left_alone(rig: Rig) -> None:
    packet = Sender().frame()[0]
    packet.payload_type = 111
    assert rig.ingest.add(packet) == (False, None)
    assert rig.ingest.rtp_origin is None
    assert rig.ingest.last_packet_ns is not None


def test_what_cannot_be_decoded_is_counted_and_a_key_frame_asked_for(rig: Rig) -> None:
    sender = Sender()
    for packet in sender.frame():
        rig.ingest.add(packet)
    rig.take()
    for packet in sender.frame(data=b"\x01\x00"):
        rig.ingest.add(packet)
    rig.wait("undecodable", 1)
    asked = [rig.ingest.add(packet)[0] for packet in sender.frame()]
    assert asked[0] is True
    for packet in sender.frame(is_key=True):
        rig.ingest.add(packet)
    assert rig.take().pts == 9000


def test_a_decoder_that_falls_behind_gives_up_to_the_next_key_frame() -> None:
    rig = Rig()  # Its thread is not started: nothing is decoded.
    sender = Sender()
    asked = []
    for _ in range(DECODE_QUEUE_FRAMES + 3):
        asked += [rig.ingest.add(packet)[0] for packet in sender.frame()]
    assert rig.meter.snapshot().dropped["decoder_behind"] == DECODE_QUEUE_FRAMES + 1
    assert any(asked)
    rig.ingest.start()
    for packet in sender.frame(is_key=True):
        rig.ingest.add(packet)
    assert rig.take().pts == (DECODE_QUEUE_FRAMES + 3) * 3000
    rig.ingest.close()
    assert rig.ingest.join(5)


def test_time_goes_on_when_the_sender_starts_anew(rig: Rig) -> None:
    first = Sender()
    for _ in range(3):
        for packet in first.frame():
            rig.ingest.add(packet)
    rig.wait("decoded", 3)
    last = rig.take()
    second = Sender()
    second.sequence = 20_000
    for packet in second.frame():
        rig.ingest.add(packet)
    frame = rig.take()
    assert frame.pts > last.pts


def test_join_before_start_is_fine() -> None:
    rig = Rig()
    rig.ingest.close()
    assert rig.ingest.join(1)
