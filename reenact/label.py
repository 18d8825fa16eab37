"""The label: a few words on the picture that say that it is generated."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from models.options import check_options, option

Image = NDArray[np.uint8]

MAX_WORDS = 40
"""Letters of a label: what still fits beside a face."""
MIN_REASON = 5
"""Letters of a reason: fewer are none."""
MAX_REASON = 500
TEXT_SHARE = 0.045
"""Size of the letters as a share of the picture's height."""
WIDEST_SHARE = 0.9
"""Longer labels are set in smaller letters."""
MIN_TEXT_PX = 9
BOX_OPACITY = 0.55
"""Of the dark ground behind the white letters: readable on snow and on hair."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DisclosureSettings:
    """What the picture says of itself to people; the invisible mark is there in any case."""

    reason: str = option("", "Why the label is switched off: needed for that, and logged.")
    is_shown: bool = option(True, "Say on the picture that it is generated. Off needs a reason, which is logged.")
    place: str = option(
        "bottom left", "Corner of the label.", choices=("bottom left", "bottom right", "top left", "top right")
    )
    words: str = option("AI-generated", f"What the label says, in your audience's language; up to {MAX_WORDS} letters.")

    def __post_init__(self) -> None:
        check_options(self)
        if not self.words.isprintable() or not 1 <= len(self.words.strip()) <= MAX_WORDS:
            raise ValueError(f"words: expected 1 to {MAX_WORDS} printable letters, got {self.words!r}")
        if not self.reason.isprintable() or len(self.reason) > MAX_REASON:
            raise ValueError(f"reason: expected up to {MAX_REASON} printable letters, got {len(self.reason)}")
        if not self.is_shown and len(self.reason.strip()) < MIN_REASON:
            raise ValueError(
                f"is_shown: first set disclosure.reason, in {MIN_REASON} letters or more: why there is no label"
            )


class Label:
    """One label for pictures of one size, painted once."""

    def __init__(self, words: str, place: str, height: int, width: int) -> None:
        """Paint `words` for the corner `place` (`bottom left`, ...) of pictures of `height` x `width` pixels."""
        box = _paint(words.strip(), height, width)
        margin = max(2, round(0.02 * height))
        down, across = place.split()
        top = margin if down == "top" else height - margin - box.height
        left = margin if across == "left" else width - margin - box.width
        self._rows = slice(max(0, top), max(0, top) + box.height)
        self._columns = slice(max(0, left), max(0, left) + box.width)
        pixels = np.asarray(box, np.uint16)
        opacity = pixels[..., 3:]
        self._kept = (255 - opacity).astype(np.uint16)
        self._added = (pixels[..., :3] * opacity + 127).astype(np.uint16)

    def apply(self, image: Image) -> None:
        """Put the label on a picture `[H, W, 3]` uint8 RGB, in place."""
        part = image[self._rows, self._columns]
        part[:] = (part * self._kept + self._added) // 255


def _paint(words: str, height: int, width: int) -> PillowImage.Image:
    """Give the label as RGBA, no larger than the picture."""
    size = max(float(MIN_TEXT_PX), TEXT_SHARE * height)
    font = _font(size)
    if (wide := font.getlength(words)) > WIDEST_SHARE * width:
        font = _font(size * WIDEST_SHARE * width / wide)
    left, top, right, bottom = font.getbbox(words, anchor="ls")
    # The same height with and without descenders, so that labels in different words look alike.
    ascent, descent = max(-top, 0.75 * font.size), max(bottom, 0.22 * font.size)
    pad_x, pad_y = 0.45 * font.size, 0.18 * font.size
    box = PillowImage.new(
        "RGBA", (min(width, round(right - left + 2 * pad_x)), min(height, round(ascent + descent + 2 * pad_y)))
    )
    draw = ImageDraw.Draw(box)
    draw.rounded_rectangle(
        (0, 0, box.width - 1, box.height - 1), 0.3 * font.size, fill=(0, 0, 0, round(255 * BOX_OPACITY))
    )
    letters = PillowImage.new("L", box.size)
    ImageDraw.Draw(letters).text((pad_x - left, pad_y + ascent), words, font=font, fill=255, anchor="ls")
    box.paste((255, 255, 255, 255), mask=letters)
    return box


def _font(size: float) -> ImageFont.FreeTypeFont:
    """Give DejaVu Sans, which knows the letters of every official language of the EU, else Pillow's own font."""
    found = importlib.util.find_spec("matplotlib")  # comes with MediaPipe; the font is all that is wanted of it
    if found is not None and found.submodule_search_locations:
        path = Path(found.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(str(path), size)
    fallback = ImageFont.load_default(size)
    assert isinstance(fallback, ImageFont.FreeTypeFont)
    return fallback
