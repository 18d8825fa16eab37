"""Pixel formats at the two ends of the pipeline. Runs on the inference thread, never on the event loop."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray


def fit_size(width: int, height: int, longest_side: int) -> tuple[int, int]:
    """Return the even size with the same shape whose longer side is at most `longest_side`; never larger."""
    scale = min(1.0, longest_side / max(width, height))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


class RgbConverter:
    """Turn decoded pictures into arrays; keeps swscale's tables between frames."""

    def __init__(self, longest_side: int) -> None:
        """Scale down what is larger than `longest_side` pixels: the face tracker gains nothing from more."""
        self._longest_side = longest_side
        self._reformatter = VideoReformatter()

    def to_rgb(self, picture: av.VideoFrame) -> NDArray[np.uint8]:
        """Return `[H, W, 3]` uint8 RGB."""
        width, height = picture.width, picture.height
        if max(width, height) > self._longest_side:
            width, height = fit_size(width, height, self._longest_side)
        rgb = self._reformatter.reformat(picture, width=width, height=height, format="rgb24", threads=1)
        return np.ascontiguousarray(rgb.to_ndarray(), dtype=np.uint8)


def to_picture(image: NDArray[np.uint8], pts: int, time_base: Fraction) -> av.VideoFrame:
    """Wrap a copy of `[H, W, 3]` uint8 RGB into a video frame of that time."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected [H, W, 3] uint8, got {image.shape} {image.dtype}")
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    picture.pts = pts
    picture.time_base = time_base
    return picture
