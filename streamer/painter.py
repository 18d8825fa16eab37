"""A second thread, so that the next frame is looked at while this one is painted: two cores for one session."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

SHARE = 0.1
"""Say of the newest frame in how long frames take."""
MARGIN_MS = 2.0
"""To be early by this costs less than to be late."""


class Painter:
    """Does one piece of work at a time, in its own thread, for one other thread."""

    def __init__(self, name: str) -> None:
        """Call the thread `name`; it starts with the first piece of work."""
        self._condition = threading.Condition()
        self._work: Callable[[], None] | None = None
        self._on_failure: Callable[[], None] = lambda: None
        self.num_done = 0
        """Pieces of work that came to their end without an error."""
        self.num_ended = 0
        """Pieces of work that came to their end."""
        self._error: BaseException | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_at_work(self) -> bool:
        """Whether a piece of work is being done."""
        return self._work is not None

    def submit(self, work: Callable[[], None], on_failure: Callable[[], None] = lambda: None) -> None:
        """Begin a piece of work; the one before must be done. `on_failure`: there is an error to be taken."""
        with self._condition:
            if self._work is not None:
                raise RuntimeError("the painter is at work")
            self._work, self._on_failure = work, on_failure
            self._condition.notify_all()
        if self._thread.ident is None:
            self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is at work; False if there still is after `timeout_s`."""
        with self._condition:
            return self._condition.wait_for(lambda: self._work is None, timeout_s)

    def take_error(self) -> BaseException | None:
        """Give what work failed with since the last call, if anything; the newest of several."""
        with self._condition:
            error, self._error = self._error, None
            return error

    def close(self) -> None:
        """End the thread once its work is done."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._work is not None or self._is_closed)
                work = self._work
            if work is None:
                return
            error: BaseException | None = None
            try:
                work()
            except BaseException as failure:  # Whoever waits for the work hears of it.
                error = failure
            with self._condition:
                self._error = error or self._error
                self.num_done += error is None
                self.num_ended += 1
                self._work, tell = None, self._on_failure
                self._on_failure = lambda: None
                self._condition.notify_all()
            if error is not None:
                tell()
            del work, error, tell  # A frame is not kept until the next one comes.


class Handover:
    """When to take the next frame, where painting takes longer than looking: not before it is nearly wanted.

    A frame that is taken early grows old in front of the painter, and a newer one would have come meanwhile.
    """

    def __init__(self) -> None:
        self._look_ms = self._paint_ms = 0.0
        self._submitted_s = 0.0

    def looked(self, ms: float) -> None:
        """Note how long a frame was looked at that has just been submitted."""
        self._look_ms += SHARE * (ms - self._look_ms)
        self._submitted_s = time.perf_counter()

    def painted(self, ms: float) -> None:
        """Note how long a frame was painted."""
        self._paint_ms += SHARE * (ms - self._paint_ms)

    def rest(self, painter: Painter) -> None:
        """Wait until it is time to look at the next frame, or the painter is done with the one submitted."""
        due_s = self._submitted_s + (self._paint_ms - self._look_ms - MARGIN_MS) / 1e3
        early_s = due_s - time.perf_counter()
        if early_s > 0.0:
            painter.wait(early_s)
