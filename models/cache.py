"""Where files lie that can be made again."""

from __future__ import annotations

import functools
import os
from pathlib import Path


@functools.cache
def cache_folder() -> Path:
    """Give the folder of files that can be made again: `$REENACT_CACHE`, a checkout's `.cache`, or the user's cache."""
    if named := os.environ.get("REENACT_CACHE"):
        return Path(named)
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").exists() and os.access(checkout, os.W_OK):
        return checkout / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reenact"
