"""The executor's threads run from the start."""

from __future__ import annotations

import threading

from streamer.threads import start_threads


def test_every_thread_runs_before_there_is_anything_to_do() -> None:
    before = threading.active_count()
    executor = start_threads()
    try:
        started = threading.active_count() - before
        assert started == executor._max_workers
        barrier = threading.Barrier(started)
        assert sorted(executor.map(lambda _: barrier.wait(5), range(started))) == list(range(started))
        assert threading.active_count() - before == started
    finally:
        executor.shutdown()
