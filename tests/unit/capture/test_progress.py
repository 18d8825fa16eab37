from __future__ import annotations

import io

from capture.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_terminal_sees_a_bar_with_the_time_left() -> None:
    stream, clock = Terminal(), Clock()
    with Progress(100, "track", stream=stream, clock=clock) as progress:
        clock.now = 10.0
        progress.advance(25, note="12 fps")
        assert "25/100  25 %, 30 s left | 12 fps" in stream.getvalue()
        clock.now = 40.0
        progress.advance(75)
    assert stream.getvalue().rstrip().endswith("took 40 s | 12 fps\x1b[K")
    assert "[##############################]" in stream.getvalue()


def test_a_log_gets_a_line_now_and_then() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(1000, "track", stream=stream, clock=clock) as progress:
        for _ in range(1000):
            clock.now += 0.1
            progress.advance()
    lines = stream.getvalue().splitlines()
    assert 6 <= len(lines) <= 9
    assert "\r" not in stream.getvalue()
    assert "left" in lines[2]


def test_a_resumed_run_counts_only_its_own_speed() -> None:
    stream, clock = Terminal(), Clock()
    with Progress(100, "track", done=50, stream=stream, clock=clock) as progress:
        clock.now = 10.0
        progress.advance(25)
        assert "75/100  75 %, 10 s left" in stream.getvalue()


def test_an_unknown_total_shows_the_count() -> None:
    stream, clock = Terminal(), Clock()
    with Progress(0, "track", stream=stream, clock=clock) as progress:
        clock.now = 3700.0
        progress.advance(7)
    assert "track: 7, 1:01:40" in stream.getvalue()
