"""Moving pictures to be marked, and what happens to marked video on its way."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from reenact.mark.demodulate import Excerpt, join
from reenact.mark.embed import Marker
from reenact.mark.message import Message
from reenact.mark.video import Planes, reduced

Image = NDArray[np.uint8]
FPS = 30


def moving_pictures(count: int, size: int = 128, *, seed: int = 0) -> list[Image]:
    """Draw a bright disc and its shadow that wander over a textured wall."""
    random = np.random.default_rng(seed)
    wall = cv2.GaussianBlur(random.uniform(40, 200, (size, size, 3)).astype(np.float32), (0, 0), 3.0)
    y, x = np.mgrid[:size, :size]
    pictures = []
    for index in range(count):
        t = index / FPS
        cx, cy = size * (0.5 + 0.2 * np.sin(1.7 * t)), size * (0.5 + 0.1 * np.cos(2.9 * t))
        disc = 1.0 / (1.0 + np.exp((np.hypot(x - cx, y - cy) - 0.22 * size) / 1.5))[..., None]
        pictures.append((wall * (1 - disc) + np.array([190.0, 140.0, 110.0]) * disc).astype(np.uint8))
    return pictures


def marked(pictures: Sequence[Image], message: Message, *, fps: float = FPS, start_s: float = 0.0) -> list[Image]:
    """Mark copies of pictures shown at `fps` from `start_s` on."""
    marker = Marker(message, *pictures[0].shape[:2])
    copies = [picture.copy() for picture in pictures]
    for index, copy in enumerate(copies):
        marker.apply(copy, start_s + index / fps)
    return copies


def compressed(pictures: Sequence[Image], *, bitrate_bps: int, fps: int = FPS) -> list[av.VideoFrame]:
    """Encode to H.264 at a bitrate and decode again."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width = pictures[0].shape[:2]
    encoder.pix_fmt, encoder.bit_rate, encoder.time_base = "yuv420p", bitrate_bps, Fraction(1, fps)
    encoder.framerate = Fraction(fps)
    encoder.options = {"preset": "veryfast", "threads": "1"}
    decoder = av.CodecContext.create("h264", "r")
    frames: list[av.VideoFrame] = []
    packets = []
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = index, Fraction(1, fps)
        packets += encoder.encode(frame)
    for packet in [*packets, *encoder.encode(None)]:
        frames += [frame for frame in decoder.decode(packet) if isinstance(frame, av.VideoFrame)]
    return frames + [frame for frame in decoder.decode(None) if isinstance(frame, av.VideoFrame)]


def planes_of(picture: Image) -> Planes:
    """Reduce a picture as a decoded frame is."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return reduced(frame.reformat(format="yuv420p"))


def excerpt_of(pictures: Sequence[Image], *, fps: float = FPS) -> Excerpt:
    """Make an excerpt of pictures shown at `fps`."""
    return join([(index / fps, planes_of(picture)) for index, picture in enumerate(pictures)])
