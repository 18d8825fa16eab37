"""Memory that training asks for again and again, and memory that a server is done with."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8
ARENAS = 4
"""Heaps of a server. Each thread that comes gets one, and what it frees stays there: by default eight for each core."""


def keep_memory() -> None:
    """Ask glibc to keep freed memory: a step needs what the last one freed, and fresh pages cost more than the step."""
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for option, value in ((M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 256 << 20)):
            library.mallopt(option, value)


def share_memory() -> None:
    """Ask glibc to let threads share a few heaps: they come and go, and so does what they free."""
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_ARENA_MAX, ARENAS)


def trim_memory() -> None:
    """Ask glibc to give freed memory back: of every arena, else it stays with the thread that freed it."""
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
