from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from capture.progress import FILE_VARIABLE, Progress


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


def test_a_program_reads_it_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "progress.json"
    monkeypatch.setenv(FILE_VARIABLE, str(path))
    clock = Clock()
    with Progress(100, "training", stream=io.StringIO(), clock=clock) as progress:
        assert json.loads(path.read_text()) == {
            "label": "training", "done": 0, "total": 100, "left_s": None, "note": ""
        }  # fmt: skip
        clock.now = 10.0
        progress.advance(25, "loss 0.1")
        assert json.loads(path.read_text()) == {
            "label": "training", "done": 25, "total": 100, "left_s": 30.0, "note": "loss 0.1"
        }  # fmt: skip
    assert [file.name for file in tmp_path.iterdir()] == ["progress.json"]


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "nowhere" / "progress.json"))
    with Progress(2, "training", stream=io.StringIO()) as progress:
        progress.advance()


def test_an_hour_in_which_it_was_stopped_is_no_working_time() -> None:
    stream, clock = Terminal(), Clock()
    with Progress(100, "training", stream=stream, clock=clock) as progress:
        for _ in range(49):
            clock.now += 1.0
            progress.advance()
        clock.now += 3600.0
        progress.advance()
    assert "50/100  50 %, 1:49 left" in stream.getvalue()
