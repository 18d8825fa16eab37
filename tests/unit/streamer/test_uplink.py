"""What a source is allowed to send: much while no queue stands, less than what comes through where one does."""

from __future__ import annotations

import random

import pytest
from aiortc import RTCRtpReceiver
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport
from aiortc.rtcicetransport import RTCIceGatherer, RTCIceTransport

from streamer.aiortc_adapter import install_estimator
from streamer.send_clock import BITS, UNITS_PER_S
from streamer.uplink import BACK_OFF, CEILING_BPS, DRAIN, MAX_SSRCS, UplinkEstimate

PACKET_BYTES = 1000


class Line:
    """A source, a line with a queue, and the estimate behind it; times in ms."""

    def __init__(self, seed: int = 1) -> None:
        self.estimate = UplinkEstimate()
        self.now_ms = 60_000.0  # the 24 bits of the send time overflow soon
        self.free_ms = 0.0
        self.told: list[int] = []
        self._random = random.Random(seed)

    def send(self, seconds: float, *, sent_bps: float, line_bps: float = 1e9, jitter_ms: float = 0.0) -> None:
        """Send frames, 30 a second; `told` becomes what the source heard meanwhile."""
        self.told = []
        arrivals: list[tuple[float, float]] = []
        for frame in range(round(30 * seconds)):
            sent_ms = self.now_ms + 1000 * frame / 30
            for _ in range(max(1, round(sent_bps / 30 / 8 / PACKET_BYTES))):
                self.free_ms = max(self.free_ms, sent_ms) + 8000 * PACKET_BYTES / line_bps
                arrivals.append((self.free_ms + jitter_ms * self._random.random(), sent_ms))
        self.now_ms += 1000 * seconds
        for arrival_ms, sent_ms in sorted(arrivals):
            units = round(sent_ms / 1000 * UNITS_PER_S) % (1 << BITS)
            answer = self.estimate.add(round(arrival_ms), units, PACKET_BYTES, 7)
            if answer is not None:
                assert answer[1] == [7]
                self.told.append(answer[0])


@pytest.fixture
def line() -> Line:
    return Line()


def test_a_source_that_sends_little_is_not_held_to_it(line: Line) -> None:
    line.send(20.0, sent_bps=480_000)
    assert set(line.told) == {CEILING_BPS}
    assert 38 <= len(line.told) <= 42, "twice a second"


@pytest.mark.parametrize("jitter_ms", [20.0, 50.0])
def test_unevenness_is_no_queue(line: Line, jitter_ms: float) -> None:
    line.send(3.0, sent_bps=720_000)
    line.send(30.0, sent_bps=720_000, jitter_ms=jitter_ms)
    assert set(line.told) == {CEILING_BPS}


def test_a_queue_drains_and_what_came_through_is_allowed_again_with_care(line: Line) -> None:
    line.send(3.0, sent_bps=720_000)
    line.send(0.6, sent_bps=720_000, line_bps=300_000)
    queued_ms = line.free_ms - line.now_ms
    assert queued_ms > 400
    assert line.told[-1] == pytest.approx(DRAIN * 300_000, rel=0.1)
    line.send(1.0, sent_bps=0.0, line_bps=300_000)  # a packet a frame, 240 kbit/s, as a browser that obeys
    assert line.told[-1] <= 1.1 * DRAIN * 300_000, "it still stands"
    line.send(4.0, sent_bps=0.0, line_bps=300_000)
    assert line.told[-1] > 200_000
    assert max(line.told) < 1.3 * BACK_OFF * 300_000
    line.send(12.0, sent_bps=0.0)
    assert line.told[-1] == CEILING_BPS


def test_it_is_said_at_once(line: Line) -> None:
    line.send(3.0, sent_bps=720_000)
    line.send(0.25, sent_bps=720_000, line_bps=300_000)
    assert line.told[-1] < CEILING_BPS


def test_it_names_the_newest_sources_and_no_endless_list() -> None:
    estimate = UplinkEstimate()
    answers = [estimate.add(1000 + 600 * ssrc, 0, PACKET_BYTES, ssrc) for ssrc in range(300)]
    assert answers[-1] is not None
    assert answers[-1][1] == list(range(300 - MAX_SSRCS, 300))


async def test_a_receiver_asks_the_estimate() -> None:
    transport = RTCDtlsTransport(RTCIceTransport(RTCIceGatherer()), [RTCCertificate.generateCertificate()])
    receiver, estimate = RTCRtpReceiver("video", transport), UplinkEstimate()
    install_estimator(receiver, estimate)
    assert getattr(receiver, "_RTCRtpReceiver__remote_bitrate_estimator") is estimate  # noqa: B009 - private
    with pytest.raises(RuntimeError, match="pinned"):
        install_estimator(RTCRtpReceiver("audio", transport), estimate)
