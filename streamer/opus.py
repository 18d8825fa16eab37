"""What must be known of an Opus packet without decoding it (RFC 6716 section 3.1), and silence in one."""

from __future__ import annotations

SAMPLE_RATE = 48_000
SILENCE = b"\xf8\xff\xfe"
"""20 ms of nothing: one CELT frame, full band, mono."""
SILENCE_SAMPLES = 960

_SILK, _HYBRID, _CELT = (480, 960, 1920, 2880), (480, 960), (120, 240, 480, 960)
MAX_SAMPLES = 5760
"""120 ms, the longest packet."""


def num_samples(data: bytes) -> int:
    """Return how long a packet lasts, in 1/48000 s; 0 for what is no Opus packet."""
    if not data:
        return 0
    config, code = data[0] >> 3, data[0] & 0x03
    if config < 12:
        frame = _SILK[config & 3]
    elif config < 16:
        frame = _HYBRID[config & 1]
    else:
        frame = _CELT[config & 3]
    if code < 3:
        count = 1 if code == 0 else 2
    elif len(data) < 2:
        return 0
    else:
        count = data[1] & 0x3F
    total = frame * count
    return total if total <= MAX_SAMPLES else 0
