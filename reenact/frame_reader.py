"""The frames of a video by number, in any order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import av.error

from capture.containers import open_video
from capture.video import decode, upright
from reenact.video import Image, VideoError

KEPT_BYTES = 256 << 20
"""Decoded frames that are kept: a video played backwards is decoded a run at a time."""


class FrameReader:
    """Decode a video's frames by number; forwards each is decoded once, backwards a run of them at a time."""

    def __init__(self, path: Path) -> None:
        """Open a video. Raises `VideoError`."""
        self._path = path
        self._kept: OrderedDict[int, Image] = OrderedDict()
        self._frames: Iterator[Image] = iter(())
        self._next = 0
        self._container: av.container.InputContainer | None = None
        self._restart()

    def at(self, index: int) -> Image:
        """Give frame `index`, `[H, W, 3]` uint8 RGB, upright; not to be written to.

        Past the end it is the last frame. Raises `VideoError` where nothing can be decoded.
        """
        if index in self._kept:
            return self._kept[index]
        if index < self._next:
            self._restart()
        last: Image | None = None
        while self._next <= index:
            frame = next(self._frames, None)
            if frame is None:
                break
            self._kept[self._next] = last = frame
            self._next += 1
            while len(self._kept) * frame.nbytes > KEPT_BYTES and len(self._kept) > 1:
                self._kept.popitem(last=False)
        if last is None and self._kept:
            last = self._kept[max(self._kept)]
        if last is None:
            raise VideoError(f"{self._path} has no frame that can be decoded.")
        return last

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _restart(self) -> None:
        self.close()
        try:
            self._container = open_video(self._path)
            if not self._container.streams.video:
                raise VideoError(f"{self._path} holds no video.")
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(f"{self._path} cannot be opened as a video ({error.strerror}).") from None
        self._frames, self._next = self._decode(self._container), 0
        self._kept.clear()

    def _decode(self, container: av.container.InputContainer) -> Iterator[Image]:
        """Decode as `capture.video.read_video` does: what is numbered here was numbered there."""
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in decode(container, stream):
            yield upright(frame)
