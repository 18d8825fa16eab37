"""What may be sent to a receiver: it is believed where echoes bear it out, and not where it only sees unevenness."""

from __future__ import annotations

import random

import pytest

from streamer.downlink import (
    CEILING_BPS,
    DEAF_S,
    DOUBT_S,
    DRAIN,
    FLOOR_BPS,
    LEAST_PACKETS,
    QUIET_S,
    DownlinkEstimate,
    Seen,
)
from tests.unit.streamer.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def downlink(clock: FakeClock) -> DownlinkEstimate:
    return DownlinkEstimate(clock)


def echoes(
    downlink: DownlinkEstimate, clock: FakeClock, seconds: float, *, ms: float = 2.0, jitter_ms: float = 0.0
) -> list[int]:
    """Hear echoes as often as they are wanted; gives what was allowed after each."""
    chance = random.Random(1)
    allowed, passed_s = [], 0.0
    while passed_s < seconds:
        passed_s += downlink.pause_s
        clock.advance_ms(1000 * downlink.pause_s)
        downlink.hear_echo(ms + jitter_ms * (chance.random() + chance.random()))
        allowed.append(downlink.bps)
    return allowed


def test_who_gives_no_echo_is_believed(downlink: DownlinkEstimate, clock: FakeClock) -> None:
    assert downlink.bps == CEILING_BPS
    downlink.hear_receiver(700_000)
    assert downlink.bps == 700_000
    downlink.hear_receiver(900_000)
    assert downlink.bps == 900_000
    downlink.hear_receiver(1)
    assert downlink.bps == FLOOR_BPS
    downlink.hear_receiver(10**10)
    assert downlink.bps == CEILING_BPS
    downlink.hear_echo(2.0)
    downlink.hear_receiver(700_000)
    assert downlink.bps == CEILING_BPS
    clock.advance_ms(1000 * DEAF_S + 1)
    downlink.hear_receiver(700_000)
    assert downlink.bps == 700_000


@pytest.mark.parametrize("jitter_ms", [20.0, 50.0])
def test_unevenness_is_no_queue(downlink: DownlinkEstimate, clock: FakeClock, jitter_ms: float) -> None:
    echoes(downlink, clock, 3.0)
    for asked_bps in range(900_000, 100_000, -20_000):
        downlink.hear_receiver(asked_bps)
        assert set(echoes(downlink, clock, 0.5, jitter_ms=jitter_ms)) == {CEILING_BPS}


def test_a_queue_is_known_in_a_moment_and_drained(downlink: DownlinkEstimate, clock: FakeClock) -> None:
    echoes(downlink, clock, 3.0, ms=30.0)
    assert downlink.pause_s == QUIET_S
    downlink.hear_receiver(900_000)
    echoes(downlink, clock, 3.0, ms=30.0)
    downlink.hear_receiver(400_000)
    assert downlink.pause_s == DOUBT_S
    begun_ns = clock.monotonic_ns()
    while downlink.bps == CEILING_BPS:
        echoes(downlink, clock, DOUBT_S, ms=250.0)
    assert clock.monotonic_ns() - begun_ns < 350e6
    assert downlink.bps == DRAIN * 400_000
    downlink.hear_receiver(300_000)
    assert downlink.bps == DRAIN * 300_000
    # Gone: what it asked for, then more with care, then all of it.
    echoes(downlink, clock, DOUBT_S, ms=30.0)
    assert downlink.bps == pytest.approx(300_000, rel=0.01)
    assert echoes(downlink, clock, 4.0, ms=30.0)[-1] < 450_000
    assert echoes(downlink, clock, 12.0, ms=30.0)[-1] == CEILING_BPS


def test_a_receiver_that_is_busy_is_late_and_its_line_not_full(downlink: DownlinkEstimate, clock: FakeClock) -> None:
    echoes(downlink, clock, 1.0)
    downlink.hear_receiver(700_000)
    echoes(downlink, clock, 5.0)
    assert set(echoes(downlink, clock, 1.0, ms=300.0)) == {CEILING_BPS}
    downlink.hear_receiver(800_000)
    assert set(echoes(downlink, clock, 1.0, ms=300.0)) == {CEILING_BPS}
    downlink.hear_receiver(600_000)
    assert downlink.bps == DRAIN * 600_000


def test_an_echo_that_does_not_come_back_is_late(downlink: DownlinkEstimate, clock: FakeClock) -> None:
    echoes(downlink, clock, 3.0)
    downlink.hear_receiver(400_000)
    for late_ms in range(90, 400, 40):
        clock.advance_ms(40)
        assert late_ms > downlink.late_ms
        downlink.hear_echo(float(late_ms), is_back=False)
    assert downlink.bps == DRAIN * 400_000


def test_heavy_loss_lowers_what_may_be_sent_and_a_little_does_not(downlink: DownlinkEstimate, clock: FakeClock) -> None:
    downlink.hear_report(Seen(highest=1000, lost=500), 2_000_000.0)  # before us, whatever that was
    downlink.hear_report(Seen(highest=1100, lost=510), 2_000_000.0)
    assert downlink.bps == CEILING_BPS
    downlink.hear_report(Seen(highest=1200, lost=550), 2_000_000.0)
    assert downlink.bps == 1_600_000
    downlink.hear_report(Seen(highest=1300, lost=590), 2_000_000.0)
    assert downlink.bps == 1_280_000


def test_a_share_of_a_few_packets_is_no_share(downlink: DownlinkEstimate) -> None:
    """A report comes with each request for a packet: one of two is missing then, and comes a moment later."""
    downlink.hear_report(Seen(highest=1000, lost=0), 2_000_000.0)
    for highest in range(1001, 1001 + 10 * LEAST_PACKETS):
        downlink.hear_report(Seen(highest=highest, lost=highest % 2), 2_000_000.0)
    assert downlink.bps == CEILING_BPS


def test_the_counter_may_begin_anew(downlink: DownlinkEstimate) -> None:
    downlink.hear_report(Seen(highest=(1 << 32) - 50, lost=0), 2_000_000.0)
    downlink.hear_report(Seen(highest=50, lost=40), 2_000_000.0)
    assert downlink.bps == 1_600_000


def test_what_a_queue_threw_away_is_not_held_against_it_twice(downlink: DownlinkEstimate, clock: FakeClock) -> None:
    echoes(downlink, clock, 3.0)
    downlink.hear_report(Seen(highest=1000, lost=0), 2_000_000.0)
    downlink.hear_receiver(300_000)
    echoes(downlink, clock, 0.5, ms=250.0)
    echoes(downlink, clock, 0.5)
    before = downlink.bps
    downlink.hear_report(Seen(highest=1100, lost=40), 2_000_000.0)
    assert downlink.bps == before


def test_a_packet_is_not_sent_again_while_it_may_be_on_its_way(downlink: DownlinkEstimate, clock: FakeClock) -> None:
    downlink.hear_echo(300.0)
    assert downlink.may_resend(7)
    clock.advance_ms(100)
    assert not downlink.may_resend(7)
    assert downlink.may_resend(8)
    clock.advance_ms(250)
    assert downlink.may_resend(7)
    downlink.hear_echo(2.0)
    downlink.hear_echo(480.0, is_back=False)  # lost, for others come back
    clock.advance_ms(5)
    assert downlink.may_resend(7)
    for sequence in range(100, 5000):
        assert downlink.may_resend(sequence)
    assert len(downlink._resent_ms) < 1000
