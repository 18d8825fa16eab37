"""Looks after the process once a second: inference threads that are stuck or gone, and memory.

What can be mended is: a thread is replaced, and its session goes on. What cannot is the process's end: it drains and
exits non-zero, and whatever supervises it starts it anew.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from streamer.lobby import Lobby
from streamer.worker import InferenceWorker, Workers

logger = logging.getLogger(__name__)

LOOK_INTERVAL_S = 1.0
STUCK_LOOKS = {"frame": 10, "open": 180}
"""Looks without progress until a thread counts as stuck. Looks, not seconds: a process that was stopped, with its
machine or by a debugger, finds its threads where it left them."""
MAX_STUCK = 3
"""Stuck threads, which nothing can end, before the process gives itself up."""
MEMORY_SHARE = 0.75
"""Share of the machine's memory, or of the container's, that the process may take."""
MEMORY_LOOKS = 60
"""Looks with too much memory in use until the process gives itself up."""
MIB = 1 << 20


def resident_mib() -> float:
    """Return the memory of this process, MiB; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def memory_limit_mib() -> float:
    """Return `MEMORY_SHARE` of what there is: the container's limit, else the machine's memory; infinity if unknown."""
    try:
        return MEMORY_SHARE * int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")) / MIB
    except (OSError, ValueError):  # no such limit
        pass
    try:
        return MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / MIB
    except (OSError, ValueError):
        return float("inf")


class Watchdog:
    """One for each server. All methods run on the event loop."""

    def __init__(
        self,
        workers: Workers,
        lobby: Lobby,
        *,
        max_memory_mib: float = 0.0,
        read_memory: Callable[[], float] = resident_mib,
    ) -> None:
        """Look after `workers` and the memory; 0 MiB chooses by the machine."""
        self.hopeless = asyncio.Event()
        """Set when only a new process helps."""
        self.reason = ""
        """Why it is, in a sentence."""
        self._workers = workers
        self._lobby = lobby
        self._limit_mib = max_memory_mib or memory_limit_mib()
        self._read_memory = read_memory
        self._seen: dict[InferenceWorker, tuple[int, int]] = {}
        self._num_high = 0

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            try:
                self.look()
            except Exception:  # A watchdog that dies would be missed by nobody.
                logger.exception("the watchdog failed")

    def look(self) -> None:
        """Look once."""
        self._look_at_threads()
        self._look_at_memory()

    def _look_at_threads(self) -> None:
        seen = {}
        for worker in self._workers.all:
            steps, idle = self._seen.get(worker, (-1, 0))
            idle = idle + 1 if worker.num_steps == steps and worker.busy else 0
            seen[worker] = worker.num_steps, idle
            if worker.is_lost:
                self._workers.replace(worker, "stopped working")
            elif idle >= STUCK_LOOKS.get(worker.busy, STUCK_LOOKS["open"]):
                self._workers.replace(worker, "does not answer")
        self._seen = seen
        if self._workers.num_stuck >= MAX_STUCK:
            self._give_up(f"{self._workers.num_stuck} inference threads are stuck.")

    def _look_at_memory(self) -> None:
        used_mib = self._read_memory()
        is_high = used_mib > self._limit_mib
        if is_high != self._lobby.is_low_on_memory:
            logger.warning("memory: %.0f MiB in use, %.0f allowed", used_mib, self._limit_mib)
        self._lobby.is_low_on_memory = is_high
        self._num_high = self._num_high + 1 if is_high else 0
        if self._num_high >= MEMORY_LOOKS:
            self._give_up(f"{used_mib:.0f} MiB of memory are in use, and {self._limit_mib:.0f} are allowed.")

    def _give_up(self, reason: str) -> None:
        if not self.hopeless.is_set():
            logger.critical("%s Only a new process helps.", reason)
            self.reason = reason
            self.hopeless.set()
