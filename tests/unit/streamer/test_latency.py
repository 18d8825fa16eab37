from __future__ import annotations

import numpy as np
import pytest

from streamer.latency import MAX_WAITING, PARTS, Departures, Glimpse, SenderClock
from streamer.metrics import GLASS, Meter
from streamer.packets import VIDEO_TIME_BASE, Journey, TargetFrame
from streamer.pixels import to_picture
from tests.unit.streamer.fakes import FakeClock

MS = 1_000_000


def frame(seq: int = 0, sent_ns: int | None = 95 * MS) -> TargetFrame:
    return TargetFrame(
        seq=seq,
        pts=0,
        time_base=VIDEO_TIME_BASE,
        captured_ns=99 * MS,
        picture=to_picture(np.zeros((16, 16, 3), np.uint8), 0, VIDEO_TIME_BASE),
        journey=Journey(
            rtp_timestamp=777,
            sent_ns=sent_ns,
            complete_ns=100 * MS,
            decode_ms=1.0,
            convert_ms=0.5,
            taken_ns=104 * MS,
            stages_ms={"track": 4.0, "transfer": 0.25, "render": 2.0, "generate": 9.0, "mark": 0.1},
            made_ns=120 * MS,
        ),
    )


def test_the_parts_of_the_server_leave_nothing_out() -> None:
    departures = Departures()
    departures.add(frame(), 4242, 123 * MS)
    (row,) = departures.take()
    answer, source, complete_ms, waited_ms, decode, queue, track, render, generate, encode = row
    assert (answer, source, complete_ms, waited_ms) == (4242, 777, 100.0, 5.0)
    assert (decode, queue, track, render, encode) == (1.5, 3.0, 4.25, 2.0, 3.0)
    # From whole frame in (100) to last packet out (123), to the microsecond.
    assert sum(part for part in (decode, queue, track, render, generate, encode) if part) == pytest.approx(23.0)
    assert departures.take() == []


def test_a_page_that_does_not_listen_costs_no_memory() -> None:
    departures = Departures()
    for number in range(3 * MAX_WAITING):
        departures.add(frame(number, sent_ns=None), number, 123 * MS)
    rows = departures.take()
    assert [row[0] for row in rows] == list(range(2 * MAX_WAITING, 3 * MAX_WAITING))
    assert rows[0][3] is None


def test_a_sender_report_is_a_moment_of_the_sources_own_wall_clock() -> None:
    ntp = (3_900_000_000 << 32) | (1 << 31)  # half a second past
    assert SenderClock.from_report(ntp, 5) == SenderClock(1_691_011_200_500.0, 5)


def test_what_the_page_saw_is_in_the_figures() -> None:
    clock = FakeClock()
    meter = Meter(clock)
    Glimpse(60.0, 3.0, 4.0, 1.0, 12.0).report(meter)
    Glimpse(70.0, None, 4.0, 1.0, 12.0).report(meter)
    assert (meter.snapshot().glass.count, meter.summary(GLASS).p50) == (2, 70.0)
    assert meter.summary("camera").count == 1
    assert meter.summary("display").count == 2
    assert set(meter.snapshot().stages) <= set(PARTS)
