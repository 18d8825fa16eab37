from __future__ import annotations

import numpy as np
import pytest

from tests.benchmark.jumps import FPS, HOLD_FRAMES, Watched, changes, cuts

FRAME_MS = 1000.0 / FPS


def watched(delay_ms: float, *, noise: float = 1.0, count: int = 400, seed: int = 0, gain: float = 1.0) -> Watched:
    """Two poses in turn, with grain and slow movement, shown `delay_ms` after they were caught."""
    rng = np.random.default_rng(seed)
    poses = np.random.default_rng(7).uniform(60, 200, (2, 300))
    number = np.arange(count)
    pictures = (
        gain * poses[number // HOLD_FRAMES % 2] + 3 * np.sin(number / 9)[:, None] + rng.normal(0, noise, (count, 300))
    )
    return Watched(pictures, 5000 + number * FRAME_MS + delay_ms)


def test_cuts_are_found_where_they_are() -> None:
    expected = 5000 + np.arange(HOLD_FRAMES, 400, HOLD_FRAMES) * FRAME_MS
    assert cuts(watched(0.0)) == pytest.approx(expected)


@pytest.mark.parametrize("delay_ms", [3.0, 38.0, 71.0, 140.0, 240.0])
def test_a_delay_is_found_to_the_frame_whatever_the_output_looks_like(delay_ms: float) -> None:
    found = [change.delay_ms for change in changes(watched(0.0), watched(delay_ms, seed=1, gain=0.4, noise=4.0))]
    assert len(found) >= 15
    assert found == pytest.approx([delay_ms] * len(found))


def test_an_output_that_does_not_follow_gives_no_delay() -> None:
    still = Watched(np.random.default_rng(2).normal(128, 3, (400, 300)), 5000 + np.arange(400) * FRAME_MS)
    assert len(changes(watched(0.0), still)) <= 1


def test_a_cut_that_was_not_seen_itself_does_not_count() -> None:
    camera = watched(0.0)
    missing = np.arange(len(camera.times_ms)) != HOLD_FRAMES
    assert len(cuts(Watched(camera.pictures[missing], camera.times_ms[missing]))) == len(cuts(camera)) - 1
