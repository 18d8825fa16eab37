"""The installed version."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """Return the installed version, or `unknown` in a bare checkout."""
    try:
        return metadata.version("reenact")
    except metadata.PackageNotFoundError:
        return "unknown"
