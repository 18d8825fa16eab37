from __future__ import annotations

import threading
import time

import pytest

from streamer.painter import MARGIN_MS, Handover, Painter


def test_work_is_done_one_piece_at_a_time_in_a_thread_of_its_own() -> None:
    painter, may_go, seen = Painter("painter"), threading.Event(), []
    painter.submit(lambda: seen.append((may_go.wait(5), threading.current_thread().name)))
    assert not painter.wait(0.01)
    with pytest.raises(RuntimeError, match="at work"):
        painter.submit(lambda: None)
    may_go.set()
    assert painter.wait(5)
    painter.submit(lambda: seen.append((True, threading.current_thread().name)))
    assert painter.wait(5)
    assert seen == [(True, "painter")] * 2
    assert (painter.num_done, painter.take_error()) == (2, None)
    painter.close()


def test_a_failure_is_told_once_it_can_be_taken_and_work_goes_on() -> None:
    painter, told = Painter("painter"), threading.Event()

    def fail() -> None:
        raise SystemExit("even this")

    errors: list[BaseException | None] = []

    def hear() -> None:
        errors.append(painter.take_error())
        told.set()

    painter.submit(fail, hear)
    assert told.wait(5)
    assert painter.wait(5)
    assert str(errors[0]) == "even this"
    assert painter.take_error() is None
    painter.submit(lambda: None, pytest.fail)
    assert painter.wait(5)
    assert painter.num_done == 1
    painter.close()
    painter._thread.join(5)
    assert not painter._thread.is_alive()


@pytest.mark.parametrize(("look_ms", "paint_ms", "rest_ms"), [(5.0, 200.0, 190.0), (200.0, 5.0, 0.0)])
def test_the_next_frame_is_taken_shortly_before_the_painter_can_have_it(
    look_ms: float, paint_ms: float, rest_ms: float
) -> None:
    handover, painter, may_go = Handover(), Painter("painter"), threading.Event()
    for _ in range(200):
        handover.painted(paint_ms)
    painter.submit(lambda: (may_go.wait(5), None)[1])
    for _ in range(200):
        handover.looked(look_ms)
    began = time.monotonic()
    handover.rest(painter)
    elapsed_ms = 1e3 * (time.monotonic() - began)
    assert rest_ms - MARGIN_MS - 5 < elapsed_ms < rest_ms + 100
    may_go.set()
    painter.wait(5)
    began = time.monotonic()
    handover.rest(painter)  # nothing is painted: nothing to wait for
    assert time.monotonic() - began < 0.1
    painter.close()
