"""What trust costs per frame: label and mark beside what the encoder does first (RGB to 4:2:0), and the whole live path
with label, mark and the look at consent beside the same without; the signature of a recording, by its frames."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from reenact.actor import Actor
from reenact.credentials import Origin, sign_video
from reenact.label import DisclosureSettings, Label
from reenact.mark.embed import Marker
from reenact.mark.message import Message
from reenact.reenactor import Reenactor
from reenact.video import VideoInfo, VideoWriter
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


SIGNED_FRAMES = 300
"""Of the recording that is signed: ten seconds."""


class NoStamp:
    """Stands for a pipeline that neither labels nor marks."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.stages_ms = {"mark": 0.0}

    def apply(self, image: NDArray[np.uint8], time_s: float) -> None:
        """Leave the picture as it is."""


def measure_trust(actor: Actor, frames: list[NDArray[np.uint8]], *, engine: str, rounds: int, calls: int) -> list[Row]:
    """Time the live path over a clip with all of it and with none, in turn, and what signing a recording adds."""
    reenactor = Reenactor(actor, engine=engine)
    reenactor.warm_up()
    assert reenactor._portrait is not None
    portrait, stamp = reenactor._portrait, reenactor._stamp
    bare, tick = NoStamp(stamp.origin), 0

    def process(*, is_trusted: bool) -> NDArray[np.uint8]:
        nonlocal tick
        tick += 1
        reenactor._stamp = stamp if is_trusted else bare  # type: ignore[assignment]
        if not is_trusted:
            portrait._consent_due_s = float("inf")
        elif portrait._consent_due_s == float("inf"):
            portrait._consent_due_s = 0.0
        return reenactor.process(frames[tick % len(frames)], tick / 30).image

    size = f"{frames[0].shape[1]}x{frames[0].shape[0]} to {actor.resolution}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # protobuf's, out of MediaPipe
        whole = compare(
            "live path with label, mark, consent", size, lambda _: process(is_trusted=True),
            "the same without", lambda _: process(is_trusted=False), rounds=rounds, calls=calls,
            note="live path: consent is looked at once a second; access is checked per request, not per frame.",
        )  # fmt: skip
        picture = process(is_trusted=True)
    reenactor.close()
    ms = _signing_ms(picture, stamp.origin, rounds)
    assert whole.reference_ms is not None
    signing = Row(
        stage="sign a recording, one of its frames", size=f"{SIGNED_FRAMES} frames", ms=ms,
        reference="live path without", reference_ms=whole.reference_ms, ratio=ms / whole.reference_ms,
        note="sign: once, when a recording ends, spread over its frames.",
    )  # fmt: skip
    return [whole, signing]


def _signing_ms(picture: NDArray[np.uint8], origin: Origin, rounds: int) -> float:
    times_ms = []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "recording.mp4"
        for _ in range(max(3, rounds // 4)):
            info = VideoInfo(Fraction(30), SIGNED_FRAMES, Fraction(1, 30))
            with VideoWriter(path, picture.shape[0], info) as writer:
                for number in range(SIGNED_FRAMES):
                    writer.write(np.roll(picture, number, axis=1), number)
            began = time.perf_counter()
            sign_video(path, [origin])
            times_ms.append(1000.0 * (time.perf_counter() - began) / SIGNED_FRAMES)
            path.unlink()
    return statistics.median(times_ms)
