"""What threads free goes back: they share a few heaps, and these are emptied."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")

SCRIPT = """
import ctypes, os, re, threading
from pathlib import Path
from models import memory

{first}
barrier = threading.Barrier(32)
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]

def work():
    barrier.wait()
    blocks = [library.malloc(60_000) for _ in range(50)]
    for block in blocks:
        ctypes.memset(block, 1, 60_000)
    barrier.wait()
    for block in blocks[:-1]:  # the last one holds the rest in its heap
        library.free(block)
    barrier.wait()

threads = [threading.Thread(target=work) for _ in range(32)]
for thread in threads: thread.start()
for thread in threads: thread.join()

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

before = resident()
memory.trim_memory()
file = library.fopen
file.restype, file.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_char_p]
library.malloc_info.argtypes, library.fclose.argtypes = [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
stream = file(b"info.xml", b"w")
library.malloc_info(0, stream)
library.fclose(stream)
print(Path("info.xml").read_text().count("<heap nr="), before - resident())
"""


def heaps(tmp_path_factory: pytest.TempPathFactory, first: str) -> tuple[int, int]:
    script = SCRIPT.format(first=first)
    output = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path_factory.mktemp("heaps"),
        env={"PYTHONPATH": ":".join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    number, freed_mib = output.split()
    return int(number), int(freed_mib)


def test_threads_share_a_few_heaps_and_what_they_free_goes_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    usual, _ = heaps(tmp_path_factory, "")
    shared, freed_mib = heaps(tmp_path_factory, "memory.share_memory()")
    assert shared <= 4 < usual
    assert freed_mib >= 60  # of 32 * 50 blocks of 60,000 bytes, all but 32
