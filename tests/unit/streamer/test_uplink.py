"""What a source is allowed to send: much while nothing queues, less than what comes through where it does."""

from __future__ import annotations

from aiortc import RTCRtpReceiver
from aiortc.rate import BandwidthUsage
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport
from aiortc.rtcicetransport import RTCIceGatherer, RTCIceTransport

from streamer.aiortc_adapter import install_rate_control
from streamer.uplink import BACK_OFF, CAREFUL_S, CEILING_BPS, DRAIN, FLOOR_BPS, HOLD_S, UplinkEstimate

NORMAL, UNDER, OVER = BandwidthUsage.NORMAL, BandwidthUsage.UNDERUSING, BandwidthUsage.OVERUSING


def told(estimate: UplinkEstimate, usage: BandwidthUsage, throughput: int | None, start_ms: int, seconds: float) -> int:
    """Tell it the same for so long, twice a second; gives what it allows last."""
    value = 0
    for now_ms in range(start_ms, start_ms + round(1000 * seconds) + 1, 500):
        answer = estimate.update(usage, throughput, now_ms)
        assert answer is not None
        value = answer
    return value


def test_a_source_that_sends_little_is_not_held_to_it() -> None:
    assert told(UplinkEstimate(), NORMAL, 300_000, 0, 10.0) == CEILING_BPS


def test_where_packets_queue_they_drain_and_what_came_through_then_is_allowed_again_with_care() -> None:
    estimate = UplinkEstimate()
    told(estimate, NORMAL, 700_000, 0, 2.0)
    assert estimate.update(OVER, 300_000, 2_100) == DRAIN * 300_000
    assert estimate.update(OVER, 500_000, 2_110) == DRAIN * 300_000, "what drains a queue is no reason to allow more"
    assert estimate.update(OVER, 320_000, 2_120) == DRAIN * 300_000
    assert told(estimate, UNDER, 250_000, 2_200, HOLD_S - 0.5) == DRAIN * 300_000
    careful = told(estimate, NORMAL, 250_000, 3_300, CAREFUL_S - 2.0)
    assert BACK_OFF * 320_000 <= careful < 1.4 * BACK_OFF * 320_000
    assert told(estimate, NORMAL, 250_000, 8_000, 8.0) == CEILING_BPS


def test_a_detector_that_calls_it_underuse_for_good_does_not_hold_a_source_down() -> None:
    estimate = UplinkEstimate()
    estimate.update(OVER, 300_000, 0)
    assert told(estimate, UNDER, 100_000, 100, CAREFUL_S + 8.0) == CEILING_BPS


def test_it_never_allows_nothing() -> None:
    estimate = UplinkEstimate()
    assert estimate.update(OVER, 0, 0) == FLOOR_BPS
    assert UplinkEstimate().update(OVER, None, 0) == CEILING_BPS


async def test_a_receiver_tells_its_source_what_the_rate_control_allows() -> None:
    transport = RTCDtlsTransport(RTCIceTransport(RTCIceGatherer()), [RTCCertificate.generateCertificate()])
    receiver = RTCRtpReceiver("video", transport)
    install_rate_control(receiver, UplinkEstimate())
    estimator = receiver._RTCRtpReceiver__remote_bitrate_estimator  # type: ignore[attr-defined]
    answers = []
    for number in range(300):  # three seconds of 96 kbit/s, 10 ms apart
        sent = round(number * 0.01 * (1 << 18)) & 0xFFFFFF
        answers.append(estimator.add(1000 + 10 * number, sent, 120, 7))
    assert [answer for answer in answers if answer is not None][-1] == (CEILING_BPS, [7])
