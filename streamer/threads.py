"""The threads that block so that the event loop need not: files, encoders, what waits for other threads."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

SPARE = 4
MOST = 32
"""As many as Python itself would have: those of the cores and `SPARE` more, at most `MOST`."""


def start_threads() -> ThreadPoolExecutor:
    """Make the event loop's executor with all its threads running.

    Else they would come one by one, whenever more is done at once than ever before: hours later, with their memory.
    """
    count = min(MOST, (os.cpu_count() or 1) + SPARE)
    executor = ThreadPoolExecutor(count, thread_name_prefix="blocking")
    everybody = threading.Barrier(count + 1)
    for _ in range(count):
        executor.submit(everybody.wait)
    everybody.wait()
    return executor
