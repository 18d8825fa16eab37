"""Which video files are opened at all, and how: containers that hold their own pictures, nothing that leads elsewhere.

FFmpeg opens whatever a file turns out to be: a play list, too, which may name any file of this machine or any address.
"""

from __future__ import annotations

from pathlib import Path

import av
from av.container import InputContainer

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,ogg,flv,asf,gif,yuv4mpegpipe,wav,mp3,flac"
OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}

MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftyp", "mp4"),
    (4, b"moov", "mp4"),
    (4, b"mdat", "mp4"),
    (4, b"wide", "mp4"),
    (0, b"\x1a\x45\xdf\xa3", "webm"),
    (8, b"AVI ", "avi"),
)
"""Where a file says what it is, with what words, and how it is called."""
HEAD_BYTES = 12


def container_of(head: bytes) -> str | None:
    """Name the container by the first `HEAD_BYTES` of a file: mp4 (MOV too), webm (Matroska too), avi, or None."""
    if len(head) < HEAD_BYTES or (head[8:12] == b"AVI " and head[:4] != b"RIFF"):
        return None
    return next((name for at, word, name in MAGIC if head[at : at + len(word)] == word), None)


def open_video(path: Path) -> InputContainer:
    """Open a video or sound file. Raises `av.FFmpegError` or `OSError` where it is none of `FORMATS`.

    Titles and the like are as whoever wrote them left them, in any encoding: what is no UTF-8 is replaced.
    """
    return av.open(str(path), options=OPTIONS, metadata_errors="replace")
