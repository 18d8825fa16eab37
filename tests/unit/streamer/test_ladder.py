from __future__ import annotations

import itertools

from streamer.ladder import FIRST_HOLD_S, LONGEST_HOLD_S, Ladder
from tests.unit.streamer.fakes import FakeClock

FULL_BPS = 2_500_000.0


def climb(ladder: Ladder, clock: FakeClock, seconds: float, estimate_bps: int, sent_bps: float) -> list[int]:
    """Look every quarter of a second; gives every step."""
    steps = []
    for _ in range(int(seconds * 4)):
        clock.advance_ms(250)
        steps.append(ladder.look(estimate_bps, sent_bps))
    return steps


def test_a_line_that_carries_it_gets_the_best() -> None:
    clock = FakeClock()
    ladder = Ladder(3, clock)
    assert set(climb(ladder, clock, 60, 2_600_000, FULL_BPS)) == {0}
    assert set(climb(ladder, clock, 60, 15_000_000, FULL_BPS)) == {0}


def test_a_short_line_goes_down_within_two_seconds_and_a_short_dip_does_not() -> None:
    clock = FakeClock()
    ladder = Ladder(3, clock)
    assert climb(ladder, clock, 0.75, 400_000, FULL_BPS)[-1] == 0
    climb(ladder, clock, 0.25, 2_600_000, FULL_BPS)
    assert climb(ladder, clock, 2, 400_000, FULL_BPS)[-1] == 1
    assert climb(ladder, clock, 2, 400_000, 1_000_000)[-1] == 2
    assert set(climb(ladder, clock, 4, 100_000, 300_000)) == {2}  # There is nothing below.


def test_it_tries_again_less_and_less_often() -> None:
    clock = FakeClock()
    ladder = Ladder(2, clock)
    trials = []
    now_s = 0.0
    for _ in range(4 * 400):
        clock.advance_ms(250)
        now_s += 0.25
        before = ladder.step
        # The line carries the low step only.
        step = ladder.look(900_000, FULL_BPS if before == 0 else 800_000)
        if step < before:
            trials.append(now_s)
    gaps = [later - earlier for earlier, later in itertools.pairwise(trials)]
    assert len(trials) >= 4
    assert gaps == sorted(gaps)
    assert gaps[0] >= FIRST_HOLD_S
    assert LONGEST_HOLD_S <= gaps[-1] <= LONGEST_HOLD_S + 5


def test_it_comes_back_once_the_line_is_good() -> None:
    clock = FakeClock()
    ladder = Ladder(3, clock)
    climb(ladder, clock, 2, 400_000, FULL_BPS)
    assert climb(ladder, clock, FIRST_HOLD_S + 1, 4_000_000, 1_000_000)[-1] == 0
