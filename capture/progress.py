"""Progress with time left: a bar where someone watches a terminal, a line now and then elsewhere.

A program that runs a long command names a file in `$REENACT_PROGRESS`; there it finds, as one JSON object and always
whole, what the bar says: `label`, `done`, `total` (0: unknown), `left_s` (null: unknown) and `note`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self, TextIO

BAR_WIDTH = 30
TERMINAL_INTERVAL_S = 0.1
LOG_INTERVAL_S = 15.0
FILE_INTERVAL_S = 1.0
FILE_VARIABLE = "REENACT_PROGRESS"
LONGEST_STEP_S = 60.0
"""A step that took longer was stopped meanwhile: that is no working time, from which the time left is told."""


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
        self._start = self._last = self._stepped = clock()
        self._worked_s = 0.0
        named = os.environ.get(FILE_VARIABLE)
        self._file = Path(named) if named else None
        self._filed = -FILE_INTERVAL_S
        self._is_terminal = self._stream.isatty()
        self._note = ""

    def __enter__(self) -> Self:
        self._report(self._clock())
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` more; `note` is shown behind the time left (a loss, a rate)."""
        self._done += steps
        self._note = note or self._note
        now = self._clock()
        self._worked_s += min(now - self._stepped, LONGEST_STEP_S)
        self._stepped = now
        if now - self._filed >= FILE_INTERVAL_S:
            self._report(now)
        interval = TERMINAL_INTERVAL_S if self._is_terminal else LOG_INTERVAL_S
        if now - self._last >= interval:
            self._last = now
            self._write()

    def close(self) -> None:
        """Write the last state and end the line."""
        self._report(self._clock())
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
        if self._done >= self._total:
            return f"took {_duration(self._clock() - self._start)}"
        left_s = self._left_s()
        return "time left unknown" if left_s is None else f"{_duration(left_s)} left"

    def _left_s(self) -> float | None:
        steps = self._done - self._resumed_at
        if self._total <= 0 or steps == 0:
            return None
        return self._worked_s / steps * max(self._total - self._done, 0)

    def _report(self, now: float) -> None:
        """Put the state into the file that the caller of the command reads; whoever cannot be told does not matter."""
        self._filed = now
        if self._file is None:
            return
        left_s = self._left_s()
        state = {
            "label": self._label, "done": self._done, "total": self._total,
            "left_s": None if left_s is None else round(left_s, 1), "note": self._note,
        }  # fmt: skip
        part = self._file.with_name(self._file.name + ".part")
        with contextlib.suppress(OSError):
            part.write_text(json.dumps(state))
            os.replace(part, self._file)


def _duration(seconds: float) -> str:
    """Write seconds as `45 s`, `3:07` or `2:05:09`."""
    whole = max(round(seconds), 0)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours}:{minutes:02d}:{whole % 60:02d}"
    return f"{minutes}:{whole % 60:02d}" if minutes else f"{whole} s"
