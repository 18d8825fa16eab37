from __future__ import annotations

import itertools
import random
from fractions import Fraction

import pytest

from streamer.pace import Pace

MS = Fraction(1, 1000)


@pytest.mark.parametrize(
    ("camera_fps", "limit", "expected"), [(30, 20, 20), (30, 15, 15), (30, 10, 10), (60, 30, 30), (30, 60, 30)]
)
def test_so_many_frames_a_second_go_on_evenly(camera_fps: float, limit: float, expected: float) -> None:
    pace, rng = Pace(), random.Random(3)
    pace.limit(limit)
    times = [round(1000 * number / camera_fps + rng.uniform(-3, 3)) for number in range(int(20 * camera_fps))]
    admitted = [time for time in times if pace.admits(time, MS)]
    assert len(admitted) / 20 == pytest.approx(expected, rel=0.03)
    assert max(b - a for a, b in itertools.pairwise(admitted)) < 1000 / expected + 1000 / camera_fps + 7


def test_no_limit_admits_all_and_a_gap_or_a_jump_back_does_not_stop_it() -> None:
    pace = Pace()
    assert all(pace.admits(time, MS) for time in range(0, 1000, 7))
    pace.limit(10)
    assert pace.admits(1_000_000, MS)
    assert not pace.admits(1_000_020, MS)
    assert pace.admits(5_000, MS)
    assert pace.admits(5_100, MS)
