"""The recordings of a server: made by sessions, kept until the page has taken its own, and given out by address."""

from __future__ import annotations

import asyncio
import logging
import secrets
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from streamer.clock import NS_PER_S, Clock
from streamer.errors import ServiceError
from streamer.metrics import Meter
from streamer.recording import Recording, RecordingStatus

logger = logging.getLogger(__name__)

RECORD = "record"
"""Name of the stage in `/metrics`."""
KEPT_S = 3600.0
"""A recording that the page has taken stays for so long, in case the download is asked for again."""
JOIN_S = 5.0


class Recordings:
    """All recordings of a server, in a folder of their own. All methods run on the event loop."""

    def __init__(self, clock: Clock) -> None:
        """Make the folder with the first recording."""
        self._clock = clock
        self._folder: Path | None = None
        self._recordings: dict[str, tuple[Recording, str, int]] = {}

    def start(
        self, kind: str, *, actor: str, meter: Meter, finish: Callable[[Path], None] = lambda _: None
    ) -> tuple[str, Recording]:
        """Start a recording; return the path under which it will be given out, and itself. Raises `OSError`.

        See `Recording` for `finish`.
        """
        self._forget_old()
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="reenact-recordings-"))
        key = secrets.token_urlsafe(16)
        moment = datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")
        recording = Recording(
            self._folder,
            key,
            kind,
            clock=self._clock,
            on_written=lambda ms: meter.time(RECORD, ms),
            finish=finish,
        )
        self._recordings[key] = (recording, f"reenact-{actor}-{moment}.{kind}", self._clock.monotonic_ns())
        return f"/recordings/{key}", recording

    def find(self, key: str) -> tuple[Recording, str]:
        """Return a recording and its file's name for people; raise `ServiceError` `not_found` (404)."""
        entry = self._recordings.get(key)
        if entry is None:
            raise ServiceError(404, "not_found", "There is no such recording; it may have been deleted.")
        return entry[0], entry[1]

    def delete(self, key: str) -> None:
        """Remove a recording from the disk; raise `ServiceError` `not_found` (404)."""
        recording, _ = self.find(key)
        del self._recordings[key]
        recording.stop()
        recording.delete()

    def _forget_old(self) -> None:
        now_ns = self._clock.monotonic_ns()
        for key, (recording, _, started_ns) in list(self._recordings.items()):
            if recording.is_downloaded and now_ns - started_ns > KEPT_S * NS_PER_S:
                self.delete(key)

    async def shut(self) -> None:
        """Complete what is being recorded; remove what the page has taken, and say where the rest lies."""
        for recording, _, _ in self._recordings.values():
            recording.stop()
        for recording, name, _ in self._recordings.values():
            await asyncio.to_thread(recording.join, JOIN_S)
            if recording.is_downloaded or recording.status().num_frames == 0:
                recording.delete()
            else:
                logger.warning("%s was not downloaded: it is kept as %s", name, recording.path)
        if self._folder is not None and not any(self._folder.iterdir()):
            self._folder.rmdir()


def describe(address: str, status: RecordingStatus) -> dict[str, Any]:
    """Put a recording's status into a message for the page."""
    return {
        "type": "recording",
        "url": address,
        "state": status.state,
        "seconds": round(status.seconds, 1),
        "frames": status.num_frames,
        "lost": status.num_lost,
        "bytes": status.num_bytes,
        "message": status.message,
    }
