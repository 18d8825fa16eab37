"""Progress with time left: a bar where someone watches a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Self, TextIO

BAR_WIDTH = 30
TERMINAL_INTERVAL_S = 0.1
LOG_INTERVAL_S = 15.0


class Progress:
    """Report how far a long command is, on stderr.

    Use as a context manager; `advance()` after each step.
    """

    def __init__(
        self,
        total: int,
        label: str,
        *,
        done: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start at `done` of `total` steps; `total` 0 means unknown. A resumed command passes what is done."""
        self._total = total
        self._label = label
        self._done = self._resumed_at = done
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._start = self._last = clock()
        self._is_terminal = self._stream.isatty()
        self._note = ""

    def __enter__(self) -> Self:
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` more; `note` is shown behind the time left (a loss, a rate)."""
        self._done += steps
        self._note = note or self._note
        interval = TERMINAL_INTERVAL_S if self._is_terminal else LOG_INTERVAL_S
        if self._clock() - self._last >= interval:
            self._last = self._clock()
            self._write()

    def close(self) -> None:
        """Write the last state and end the line."""
        self._write()
        if self._is_terminal:
            self._stream.write("\n")
            self._stream.flush()

    def _write(self) -> None:
        note = f" | {self._note}" if self._note else ""
        if self._total <= 0:
            text = f"{self._label}: {self._done}, {_duration(self._clock() - self._start)}{note}"
        else:
            share = min(self._done / self._total, 1.0)
            text = f"{self._done}/{self._total} {100 * share:3.0f} %, {self._time_left()}{note}"
            if self._is_terminal:
                filled = round(share * BAR_WIDTH)
                text = f"{self._label} [{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {text}"
            else:
                text = f"{self._label}: {text}"
        self._stream.write(f"\r{text}\x1b[K" if self._is_terminal else f"{text}\n")
        self._stream.flush()

    def _time_left(self) -> str:
        elapsed, steps = self._clock() - self._start, self._done - self._resumed_at
        if self._done >= self._total:
            return f"took {_duration(elapsed)}"
        if steps == 0:
            return "time left unknown"
        return f"{_duration(elapsed / steps * (self._total - self._done))} left"


def _duration(seconds: float) -> str:
    """Write seconds as `45 s`, `3:07` or `2:05:09`."""
    whole = max(round(seconds), 0)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours}:{minutes:02d}:{whole % 60:02d}"
    return f"{minutes}:{whole % 60:02d}" if minutes else f"{whole} s"
