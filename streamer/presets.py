"""Settings that belong together, under one name: what a person chooses who has no wish to tune."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRESETS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "fastest": (
        "Least delay: landmarks alone, hardly any smoothing, a small camera picture, 80 ms held by the governor.",
        {
            "tracker": "landmarks",
            "smoothing.min_cutoff_hz": 6.0,
            "smoothing.beta": 8.0,
            "smoothing.prediction_ms": 40.0,
            "media.bitrate_kbps": 1500,
            "media.source_px": 480,
            "media.jitter_ms": 0,
            "governor.is_on": True,
            "governor.target_ms": 80.0,
        },
    ),
    "balanced": (
        "What suits most: light smoothing, and a governor that comes in above 150 ms.",
        {
            "tracker": "auto",
            "smoothing.min_cutoff_hz": 1.5,
            "smoothing.beta": 2.0,
            "smoothing.prediction_ms": 25.0,
            "media.bitrate_kbps": 0,
            "media.source_px": 1280,
            "media.jitter_ms": 0,
            "governor.is_on": True,
            "governor.target_ms": 150.0,
        },
    ),
    "best picture": (
        "Calm and sharp: more smoothing, frames shown evenly, twice the bitrate, no governor.",
        {
            "tracker": "auto",
            "smoothing.min_cutoff_hz": 1.0,
            "smoothing.beta": 2.0,
            "smoothing.prediction_ms": 15.0,
            "media.bitrate_kbps": 6000,
            "media.source_px": 1280,
            "media.jitter_ms": 40,
            "governor.is_on": False,
            "governor.target_ms": 150.0,
        },
    ),
}
"""Name to a sentence and the settings that it stands for."""


def describe_presets() -> list[dict[str, object]]:
    """Return what `GET /api/settings` shows of the presets."""
    return [{"name": name, "text": text, "values": dict(values)} for name, (text, values) in PRESETS.items()]
