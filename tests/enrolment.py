"""Videos for enrolment, good and bad, made from the picture of the actor that ships: nobody's face."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from capture.suitability import Bounds
from reenact.actor import BUNDLED

SIDE, FPS = 320, 15
Picture = NDArray[np.uint8]
SHORT = Bounds(min_s=3.0)
"""What `BAD` is checked against: everything but the length as it is, and a few seconds are enough to see it."""
SECONDS = 3.6
"""Length of what is bad for another reason than its length."""


def face(scale: float = 1.0) -> Picture:
    """Give milo's picture `[SIDE, SIDE, 3]`, smaller by `scale` on grey."""
    with Image.open(BUNDLED / "milo.actor" / "preview.webp") as image:
        small = image.convert("RGB").resize((round(SIDE * scale), round(SIDE * scale)), Image.Resampling.LANCZOS)
    canvas = np.full((SIDE, SIDE, 3), 120, np.uint8)
    edge = (SIDE - small.height) // 2
    canvas[edge : edge + small.height, edge : edge + small.width] = np.asarray(small)
    return canvas


def moving(picture: Picture, seconds: float) -> Iterator[Picture]:
    """Move a picture about as a head does."""
    for index in range(round(seconds * FPS)):
        t = index / FPS
        turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), 12 * np.sin(1.3 * t), 1.0 + 0.04 * np.sin(0.9 * t))
        turn[:, 2] += 8 * np.sin(0.8 * t), 5 * np.sin(1.1 * t)
        yield np.asarray(cv2.warpAffine(picture, turn, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def write(path: Path, pictures: Iterator[Picture]) -> Path:
    """Write pictures as a video."""
    with av.open(str(path), "w") as container:
        stream = None
        for picture in pictures:
            if stream is None:
                stream = container.add_stream("libx264", FPS, options={"preset": "ultrafast", "crf": "20"})
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        assert stream is not None
        container.mux(stream.encode())
    return path


def good(path: Path, seconds: float = 11.0) -> Path:
    """Write a video that will do."""
    return write(path, moving(face(), seconds))


def hours_long(path: Path) -> Path:
    """Write a file of a few kilobytes that says it lasts four hours, and does."""

    def black() -> Iterator[Picture]:
        for _ in range(240):
            yield np.zeros((SIDE, SIDE, 3), np.uint8)

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 1)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for index, picture in enumerate(black()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = index * 60
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


BAD: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a zip archive": ("unreadable", lambda path: path.write_bytes(b"PK\x03\x04" + bytes(4000))),
    "a page": ("unreadable", lambda path: path.write_text("<!doctype html><script>alert(1)</script>")),
    "nothing": ("unreadable", lambda path: path.write_bytes(b"")),
    "noise behind a good beginning": (
        "unreadable",
        lambda path: path.write_bytes(b"\x00\x00\x00\x18ftypisom" + np.random.default_rng(0).bytes(50_000)),
    ),
    "a play list": (
        "unreadable",
        lambda path: path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{__file__}\n#EXT-X-ENDLIST\n"),
    ),
    "a list of files": ("unreadable", lambda path: path.write_text(f"ffconcat version 1.0\nfile {__file__}\n")),
    "four hours": ("too_long", hours_long),
    "two seconds": ("too_short", lambda path: good(path, 2.0)),
    "a photograph": ("still", lambda path: write(path, iter([face()] * (8 * FPS)))),
    "nobody": ("no_face", lambda path: write(path, moving(_wall(), SECONDS))),
    "somebody far away": ("small_face", lambda path: write(path, moving(face(0.28), SECONDS))),
    "the dark": ("dark", lambda path: write(path, moving(_dim(face(), 5), SECONDS))),
    "two people": ("two_people", lambda path: write(path, moving(_twice(), SECONDS))),
    "a cut": ("cuts", lambda path: write(path, _cut())),
    "tiny pictures": ("picture_size", lambda path: write(path, (face()[:96, :96] for _ in range(30)))),
}
"""What is refused by `SHORT`, with which code."""


def _wall() -> Picture:
    blocks = np.random.default_rng(2).integers(60, 200, (8, 8, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(blocks, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)


def _dim(picture: Picture, factor: int) -> Picture:
    return np.asarray(picture // factor, np.uint8)


def _twice() -> Picture:
    half = cv2.resize(face(), (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
    row = np.concatenate([half, half], 1)
    grey = np.full((SIDE // 4, SIDE, 3), 120, np.uint8)
    return np.concatenate([grey, row, grey])


def _cut() -> Iterator[Picture]:
    yield from moving(face(), SECONDS / 2)
    yield from (_dim(np.fliplr(picture), 2) for picture in moving(face(), SECONDS / 2))
