"""An offline rendering that can stop at any moment and go on: its folder beside the output."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reenact.video import VideoError

SUFFIX = ".rendering"


class RenderJob:
    """The folder `OUT.mp4.rendering`: tracked motion, finished segments, and what they belong to."""

    def __init__(self, output: Path, *, restart: bool = False) -> None:
        """Make or find the folder of an output; `restart` forgets what is in it. Raises `OSError`."""
        self.folder = output.with_name(output.name + SUFFIX)
        if restart:
            self.discard()
        self.folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other processes out. Raises `VideoError` where one is at it already."""
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise VideoError(f"{self.folder} is in use: another process renders this video.") from None
            yield

    def segments_of(self, request: Mapping[str, Any]) -> tuple[Path, str]:
        """Give the folder of segments and the session of what is asked for; segments of anything else are removed.

        The session goes into the mark: it must be the same in all segments.
        """
        fingerprint = hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()
        path = self.folder / "job.json"
        try:
            job = json.loads(path.read_text(encoding="utf-8"))
            session = job["session"] if job["fingerprint"] == fingerprint else None
        except (OSError, ValueError, KeyError, TypeError):
            session = None
        folder = self.folder / "segments"
        if not isinstance(session, str):
            session = secrets.token_hex(16)
            shutil.rmtree(folder, ignore_errors=True)
            made = path.with_suffix(".new")
            made.write_text(
                json.dumps({"fingerprint": fingerprint, "session": session, "request": request}, default=str)
            )
            os.replace(made, path)
        return folder, session

    def discard(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def identity_of(path: Path | None) -> list[Any] | None:
    """Give what tells a file from another, or from itself once changed. Raises `VideoError` where it is not there."""
    if path is None:
        return None
    try:
        stat = path.stat()
    except OSError as error:
        raise VideoError(f"{path} cannot be opened as a video ({error.strerror}).") from None
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
