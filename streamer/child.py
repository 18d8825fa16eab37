"""`python -m streamer.child PARENT MANNER MEMORY_MIB CPU_S COMMAND ...`: a command of `reenact` that the server starts.

It ends when the server does, however that ends. In the manner `idle` it runs when nobody else wants the cores; in the
manner `nice`, where a person waits for it, it takes its share. It takes no more memory (MiB) or processor time (s) than
it is given, 0 for no bound. On Linux: elsewhere it is a command like any other.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
NICE, LOWEST = 5, 19


def bind_to(parent: int) -> None:
    """End with `parent`; at once if it has ended already."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def step_back() -> None:
    """Leave the cores to everybody else."""
    os.nice(LOWEST)
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    # Between sessions the kernel weighs whole groups; this process leads one of its own.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(LOWEST))


def limit(memory_mib: int, cpu_s: int) -> None:
    """Bound memory and processor time."""
    if memory_mib:
        resource.setrlimit(resource.RLIMIT_AS, (memory_mib << 20, memory_mib << 20))
    if cpu_s:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))


def main(argv: list[str]) -> int:
    """Do what the module says; return the command's exit code."""
    parent, manner, memory_mib, cpu_s, *command = argv
    bind_to(int(parent))
    if manner == "idle":
        step_back()
    else:
        os.nice(NICE)
    limit(int(memory_mib), int(cpu_s))
    from streamer.cli import main as run

    return run(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
