"""What label and mark cost per frame, beside what the encoder does first: RGB to 4:2:0."""

from __future__ import annotations

import dataclasses

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from reenact.label import DisclosureSettings, Label
from reenact.mark.embed import Marker
from reenact.mark.message import Message
from streamer.packets import VIDEO_TIME_BASE
from streamer.pixels import to_picture
from tests.benchmark.paired import Row, Work, compare

TICKS = 3000
"""Of one frame at 30 fps."""


def measure_provenance(size: int, *, rounds: int, calls: int) -> list[Row]:
    """Time label, mark and both on pictures of `size` x `size` pixels, in turn with that conversion."""
    random = np.random.default_rng(0)
    picture: NDArray[np.uint8] = random.integers(60, 190, (size // 16, size // 16, 3)).astype(np.uint8)
    picture = np.ascontiguousarray(picture.repeat(16, axis=0).repeat(16, axis=1))
    settings = DisclosureSettings()
    label, marker = Label(settings.words, settings.place, size, size), Marker(Message(1, 2), size, size)
    reformatter = VideoReformatter()

    def convert(number: int) -> None:
        frame = to_picture(picture, number * TICKS, VIDEO_TIME_BASE)
        reformatter.reformat(frame, format="yuv420p", threads=1)

    def both(number: int) -> None:
        label.apply(picture)
        marker.apply(picture, number / 30)

    works: dict[str, Work] = {
        "label": lambda _: label.apply(picture),
        "mark": lambda number: marker.apply(picture, number / 30),
        "label and mark": both,
    }
    rows = [
        compare(name, f"{size}", work, "RGB to 4:2:0", convert, rounds=rounds, calls=calls)
        for name, work in works.items()
    ]
    note = "label and mark: what the pipeline would save without them, on its inference thread."
    return [*rows[:-1], dataclasses.replace(rows[-1], note=note)]
