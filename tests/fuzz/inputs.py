"""Inputs that are nearly right: good ones, damaged. Noise alone dies at the first check and tests nothing behind."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from models.memory import trim_memory
from tests.fuzz.conftest import COUNT, ROUND

NASTY_TEXT = (
    "", " ", "\0", "\r\n", "a=", "a=mid:0", "m=video 9 UDP/TLS/RTP/SAVPF 96", "-1", "0", "65536", "4294967296", "1e400",
    "nan", "\ud800", "é", "\u202e", "../" * 8 + "etc/passwd", "%s%n", "{}", "[" * 200, "9" * 400, "A" * 5000,
    "a=candidate:1 1 udp 1 ::1 1 typ host", "a=fingerprint:sha-256 00", "a=ssrc:0 cname:x", "a=rtpmap:96 VP8/0",
    "a=extmap:0 x", "a=fmtp:96 apt=96", "a=group:BUNDLE 0 0", "a=setup:active", "a=sctp-port:x", "c=IN IP4 999.1.1.1",
)  # fmt: skip


REMEMBERED_KIB = 16
"""What hypothesis keeps of one input."""
REPORT = os.environ.get("FUZZ_REPORT", "")
"""Where a line is left of every round, for `tests.fuzz` to read."""


def inputs(default: int) -> Callable[[Any], Any]:
    """Give a test `default` inputs in the suite, and what `make fuzz` says there."""
    return settings(max_examples=min(COUNT, ROUND) or default)


@st.composite
def damaged_lines(draw: st.DrawFn, text: str) -> str:
    """Take lines of `text` away, double, swap, cut and replace them, or replace words in them."""
    lines = text.splitlines()
    for _ in range(draw(st.integers(1, 6))):
        if not lines:
            break
        at = draw(st.integers(0, len(lines) - 1))
        kind = draw(st.sampled_from(("drop", "double", "swap", "cut", "replace", "insert", "word", "characters")))
        other = draw(st.integers(0, len(lines) - 1))
        if kind == "drop":
            del lines[at]
        elif kind == "double":
            lines[at:at] = lines[at : at + draw(st.integers(1, 40))]
        elif kind == "swap":
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == "cut":
            lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
        elif kind == "replace":
            lines[at] = draw(st.sampled_from(NASTY_TEXT) | st.text(max_size=40))
        elif kind == "insert":
            lines.insert(at, draw(st.sampled_from(NASTY_TEXT)))
        elif kind == "word":
            words = lines[at].replace(":", ": ").split(" ")
            words[draw(st.integers(0, len(words) - 1))] = draw(st.sampled_from(NASTY_TEXT))
            lines[at] = " ".join(words)
        else:
            lines[at] = draw(st.text(max_size=10)) + lines[at]
    return draw(st.sampled_from(("\r\n", "\n"))).join(lines) + "\r\n"


@st.composite
def damaged_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Flip, cut, double, insert and overwrite bytes of `data`."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(changed)))
        kind = draw(st.sampled_from(("flip", "cut", "insert", "overwrite", "double")))
        if kind == "flip" and at < len(changed):
            changed[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del changed[at:]
        elif kind == "insert":
            changed[at:at] = draw(st.binary(max_size=20))
        elif kind == "overwrite":
            some = draw(st.binary(max_size=20))
            changed[at : at + len(some)] = some
        else:
            changed[at:at] = changed[at : at + 1000]
    return bytes(changed)


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(NASTY_TEXT)
    | st.sampled_from((0, -1, 1 << 31, 1 << 63, 1 << 70, 1e308, -0.0, 5e-324))
)  # fmt: skip
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@st.composite
def damaged_json(draw: st.DrawFn, value: Any) -> Any:
    """Change, drop, add and move values anywhere in a JSON value."""
    whole = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        holder: Any = whole
        while isinstance(holder, dict | list) and holder:
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            key = draw(st.sampled_from(keys))
            inner = holder[key]
            if isinstance(inner, dict | list) and inner and draw(st.booleans()):
                holder = inner
                continue
            kind = draw(st.sampled_from(("change", "change", "drop", "wrap", "add")))
            if kind == "change":
                holder[key] = draw(JSON)
            elif kind == "drop":
                del holder[key]
            elif kind == "wrap":
                holder[key] = [inner]
            elif isinstance(holder, dict):
                holder[draw(st.text(max_size=10))] = draw(JSON)
            else:
                holder.append(draw(JSON))
            break
    return whole


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def open_handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def _settle() -> None:
    """Free what is free: a training that was tried before in this process has glibc keep it (`keep_memory`)."""
    gc.collect()
    trim_memory()


MAX_GROWTH_MIB = 48.0
"""Of one round: what an allocator keeps for itself, what is made once, and what hypothesis remembers of each input."""
MAX_DRIFT_MIB = 16.0
"""From the second round to any later one: nothing is made once any more, and hypothesis has forgotten its inputs."""
WARM_ROUNDS = 2

_after: dict[str, list[tuple[int, int]]] = {}
"""Memory (KiB) and handles after each round of each test."""


@contextmanager
def nothing_leaks() -> Iterator[None]:
    """Fail if file handles or memory are left behind, by this round or by all of them together."""
    _settle()
    handles, memory = open_handles(), resident_kib()
    yield
    _settle()
    assert open_handles() <= handles + 1
    assert resident_kib() - memory < (MAX_GROWTH_MIB + min(COUNT, ROUND) * REMEMBERED_KIB / 1024) * 1024


def check_drift(test: str, seconds: float) -> None:
    """Compare what there is after a round of `test` with the first rounds; tell `tests.fuzz` of it."""
    _settle()
    rounds = _after.setdefault(test, [])
    rounds.append((resident_kib(), open_handles()))
    if REPORT:
        with Path(REPORT).open("a") as file:
            json.dump({"test": test, "seconds": seconds, "kib": rounds[-1][0], "handles": rounds[-1][1]}, file)
            file.write("\n")
    if len(rounds) > WARM_ROUNDS:
        (kib, handles), (kib_now, handles_now) = rounds[WARM_ROUNDS - 1], rounds[-1]
        assert handles_now <= handles, f"{handles} handles were open after {WARM_ROUNDS} rounds, now {handles_now}"
        assert kib_now - kib < MAX_DRIFT_MIB * 1024, f"{kib >> 10} MiB after {WARM_ROUNDS} rounds, now {kib_now >> 10}"
