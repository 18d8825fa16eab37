from __future__ import annotations

import numpy as np
import pytest

from reenact.window import SLACK, StemRing, Step, WindowClock


def steps(times_s: list[float], *, frame_rate: float = 30.0, max_gap_ms: float = 250.0) -> list[Step]:
    clock = WindowClock(frame_rate, max_gap_ms)
    return [clock.advance(time_s) for time_s in times_s]


def test_frames_at_the_targets_rate_all_enter() -> None:
    assert steps([0, 1 / 30, 2 / 30, 3 / 30])[1:] == [Step.REPLACE, Step.APPEND, Step.APPEND]


def test_the_second_frame_may_replace_the_first_for_the_past_is_filled_with_it() -> None:
    assert steps([5.0, 5.033])[:2] == [Step.RESTART, Step.REPLACE]


def test_at_twice_the_rate_every_other_frame_is_kept() -> None:
    kept = steps([index / 60 for index in range(61)])
    assert 28 <= kept.count(Step.APPEND) <= 31
    assert kept.count(Step.RESTART) == 1


def test_slower_frames_all_enter() -> None:
    assert steps([index / 10 for index in range(10)]).count(Step.APPEND) == 8


def test_a_gap_restarts_and_one_that_is_just_short_enough_does_not() -> None:
    assert steps([0.0, 0.1, 0.34])[2] is Step.APPEND
    assert steps([0.0, 0.1, 0.36])[2] is Step.RESTART
    assert steps([0.0, 1.0, 2.0]) == [Step.RESTART] * 3


def test_time_running_backwards_restarts() -> None:
    assert steps([10.0, 10.033, 3.0])[2] is Step.RESTART


def test_reset_restarts_the_next_frame() -> None:
    clock = WindowClock(30.0)
    clock.advance(0.0)
    clock.reset()
    assert clock.advance(0.033) is Step.RESTART


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="expected frame_rate > 0"):
        WindowClock(0.0)
    with pytest.raises(ValueError, match="expected at least 1 frame, got 0"):
        StemRing(0, (1, 2, 2))


def test_the_ring_holds_the_last_frames_in_order_for_ever() -> None:
    ring = StemRing(4, (2, 3, 3))
    ring.current[:] = 100
    ring.fill()
    history = [100.0] * 4
    for value in range(10 * SLACK):
        ring.append()
        ring.current[:] = value
        history.append(value)
        assert ring.past.shape == (1, 3, 2, 3, 3)
        np.testing.assert_array_equal(ring.past[0, :, 0, 0, 0], history[-4:-1])
        assert ring.past.flags.c_contiguous
        assert ring.current[0, 1, 2, 2] == value


def test_a_replaced_frame_never_enters_the_past() -> None:
    ring = StemRing(3, (1, 1, 1))
    ring.current[:] = 1
    ring.fill()
    ring.append()
    ring.current[:] = 2
    ring.current[:] = 3
    ring.append()
    np.testing.assert_array_equal(ring.past.ravel(), [1, 3])


def test_a_window_of_one_has_no_past() -> None:
    ring = StemRing(1, (1, 1, 1))
    for value in range(20):
        ring.append()
        ring.current[:] = value
        ring.fill()
        assert ring.past.size == 0
