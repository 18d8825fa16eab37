from __future__ import annotations

import random

import pytest

from streamer.send_clock import BITS, UNITS_PER_S, WINDOW_S, SendClock


def stamp(sender_s: float) -> int:
    return round(sender_s * UNITS_PER_S) % (1 << BITS)


def test_what_a_packet_waited_on_its_way_is_found_whatever_the_senders_clock_shows() -> None:
    clock, rng = SendClock(), random.Random(1)
    for number in range(600):  # 20 s, over the wrap-around of 64 s
        sent_s = 50.0 + number / 30
        waited_ms = 0.0 if number % 30 == 0 else rng.uniform(1, 80)
        arrival_ns = int((1000.0 + number / 30) * 1e9 + waited_ms * 1e6)
        mapped_ns = clock.map(stamp(sent_s), arrival_ns)
        if number > 0:
            assert (arrival_ns - mapped_ns) / 1e6 == pytest.approx(waited_ms, abs=0.01)


def test_a_way_that_became_longer_is_the_new_measure_after_a_while() -> None:
    clock = SendClock()
    waits = []
    for number in range(int(3 * WINDOW_S * 30)):
        way_s = 0.0 if number < 30 else 0.2
        arrival_ns = int((5.0 + number / 30 + way_s) * 1e9)
        waits.append((arrival_ns - clock.map(stamp(number / 30), arrival_ns)) / 1e6)
    assert waits[40] == pytest.approx(200, abs=0.1)
    assert waits[-1] == pytest.approx(0, abs=0.1)
