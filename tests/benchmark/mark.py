"""How well the invisible mark is read back: `python -m tests.benchmark.mark`. A table for people, one JSON line last.

Pictures are the generator's own, driven by clips of faces; each is marked, treated as video is treated on its way, and
read back from excerpts of 5 seconds, each by itself, by a reader that knows nothing. The same treatments of unmarked
pictures, generated and filmed, show how often a mark is read that is not there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from reenact.actor import Actor
from reenact.label import DisclosureSettings, Label
from reenact.mark.demodulate import demodulate, join
from reenact.mark.embed import Marker
from reenact.mark.locate import search
from reenact.mark.message import NUM_BITS, Message
from reenact.mark.read import read
from reenact.mark.video import EXCERPT_S, Planes, reduced
from reenact.motion import track_motion
from reenact.portrait import Portrait
from reenact.transfer import Transfer
from reenact.video import read_video_frames
from tests.benchmark.mark_attacks import ATTACKS, Attack, Image, Shown, scaled
from tests.clips import clip_path

MAX_FRAMES = 600
"""Of each clip."""


@dataclass(slots=True)
class Tally:
    """What became of the excerpts of one treatment."""

    attack: Attack
    size: int
    read: int = 0
    missed: int = 0
    wrong: int = 0
    chip_errors: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Share of excerpts that gave their message."""
        return self.read / max(self.read + self.missed + self.wrong, 1)


def generate(actor: Actor, clip: Path) -> list[Shown]:
    """Reenact a clip: the pictures as the generator makes them, with neither label nor mark."""
    with tempfile.TemporaryDirectory() as scratch:
        motion = track_motion(clip, Path(scratch))
    transfer, portrait = Transfer(actor.target), Portrait(actor)
    try:
        return [
            (time_s, portrait.show(transfer(params, motion.neutral, motion.camera), time_s))
            for time_s, params in itertools.islice(zip(motion.time_s, motion.faces, strict=True), MAX_FRAMES)
        ]
    finally:
        portrait.close()


def marked(shown: Sequence[Shown], message: Message) -> list[Shown]:
    """Label and mark copies of pictures."""
    height, width = shown[0][1].shape[:2]
    settings = DisclosureSettings()
    label, marker = Label(settings.words, settings.place, height, width), Marker(message, height, width)
    copies = []
    for time_s, picture in shown:
        copy = picture.copy()
        label.apply(copy)
        marker.apply(copy, time_s)
        copies.append((time_s, copy))
    return copies


def psnr(shown: Sequence[Shown], message: Message) -> float:
    """Measure the mark alone, dB."""
    marker = Marker(message, *shown[0][1].shape[:2])
    errors = []
    for time_s, picture in shown[::10]:
        copy = picture.copy()
        marker.apply(copy, time_s)
        errors.append(float(np.mean((copy.astype(np.float64) - picture) ** 2)))
    return float(10 * np.log10(255**2 / np.mean(errors)))


def excerpts(frames: Sequence[tuple[float, Planes]], hop_s: float) -> Iterator[Sequence[tuple[float, Planes]]]:
    """Cut every excerpt of 5 seconds, `hop_s` apart."""
    times = np.array([time_s for time_s, _ in frames])
    for start_s in np.arange(times[0], times[-1] - EXCERPT_S + 0.05, hop_s):
        first, last = np.searchsorted(times, (start_s, start_s + EXCERPT_S))
        yield frames[first:last]


def measure(attack: Attack, clips: Sequence[Sequence[Shown]], hop_s: float, tally: Tally) -> None:
    """Read back what a treatment left of each clip, each marked with a message of its own."""
    random = np.random.default_rng(20261122)
    for shown in clips:
        message = Message(int(random.integers(1 << 32)), int(random.integers(1 << 24)))
        frames = [(time_s, reduced(frame)) for time_s, frame in attack.run(marked(shown, message))]
        for excerpt in excerpts(frames, hop_s):
            reading = read(join(excerpt))
            if reading is None:
                tally.missed += 1
            elif reading.message == message:
                tally.read += 1
                tally.chip_errors.append(reading.chip_error)
            else:
                tally.wrong += 1


def measure_false(clips: Sequence[Sequence[Shown]], hop_s: float, count: int) -> tuple[int, int, float]:
    """Look for marks where there are none; give excerpts, messages read, and the best score of a place."""
    done = false = 0
    best = 0.0
    for attack, shown in itertools.product(ATTACKS, clips):
        frames = [(time_s, reduced(frame)) for time_s, frame in attack.run(shown)]
        for excerpt in map(join, excerpts(frames, hop_s)):
            if done == count:
                return done, false, best
            done += 1
            false += read(excerpt) is not None
            swing = demodulate(excerpt)
            if swing is not None:
                best = max(best, *(score for score, _ in search(swing.weighted)))
        print(f"unmarked: {done} excerpts, {false} read, best score {best:.1f}", file=sys.stderr)
    return done, false, best


def table(tallies: Sequence[Tally]) -> str:
    """Lay the figures out, as rows of Markdown."""
    lines = [
        "| treatment | picture | bits | excerpts of 5 s | read | wrong | chips mended, mean and worst |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for tally in tallies:
        errors = tally.chip_errors or [float("nan")]
        lines.append(
            f"| {tally.attack.name} | {tally.size}² | {NUM_BITS} | {tally.read + tally.missed + tally.wrong} | "
            f"{100 * tally.share:.1f} % | {tally.wrong} | {100 * np.mean(errors):.0f} and {100 * max(errors):.0f} % |"
        )
    return "\n".join(lines)


def main() -> int:
    """Run the command; give its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.mark", description=__doc__)
    parser.add_argument("clips", nargs="*", type=Path, help="videos of faces (default: one out of a registry)")
    parser.add_argument("--actor", default="milo", help="name or folder of the target (default milo)")
    parser.add_argument("--sizes", default="256,512", help="widths of the picture that is marked, pixels")
    parser.add_argument(
        "--hop", type=float, default=0.5, metavar="S", help="from one excerpt to the next (default 0.5)"
    )
    parser.add_argument("--unmarked", type=int, default=1000, metavar="N", help="excerpts without a mark")
    parser.add_argument("--attacks", default="", metavar="WORD", help="only treatments with this in their names")
    args = parser.parse_args()
    try:
        paths = args.clips or [clip_path()]
    except pytest.skip.Exception as skip:
        print(f"no clip: {skip}", file=sys.stderr)
        return 1
    actor = Actor.load(args.actor)
    generated = [generate(actor, path) for path in paths]
    tallies: list[Tally] = []
    for size in (int(word) for word in args.sizes.split(",")):
        clips = [shown if shown[0][1].shape[0] == size else scaled(shown, size, size) for shown in generated]
        print(f"the mark alone at {size}²: {psnr(clips[0], Message(1, 2)):.1f} dB", file=sys.stderr)
        for attack in (attack for attack in ATTACKS if args.attacks in attack.name):
            tally = Tally(attack, size)
            measure(attack, clips, args.hop, tally)
            tallies.append(tally)
            print(table([tally]).splitlines()[-1], file=sys.stderr)
    filmed = [_filmed(path) for path in paths]
    unmarked = measure_false([*generated, *filmed], args.hop, args.unmarked)
    print(table(tallies))
    print(f"unmarked: {unmarked[0]} excerpts, {unmarked[1]} read; best score {unmarked[2]:.1f}")
    decibel = psnr(generated[0], Message(1, 2))
    print(f"the mark alone: {decibel:.1f} dB")
    rows = [
        {
            "treatment": tally.attack.name, "size": tally.size, "bits": NUM_BITS, "read": tally.read,
            "missed": tally.missed, "wrong": tally.wrong,
            "chip_error": round(float(np.mean(tally.chip_errors)), 4) if tally.chip_errors else None,
        }
        for tally in tallies
    ]  # fmt: skip
    print(
        json.dumps(
            {"rows": rows, "psnr_db": round(decibel, 2), "unmarked": {"excerpts": unmarked[0], "read": unmarked[1]}}
        )
    )
    is_kept = all(not tally.wrong and (tally.share >= 0.99 or not tally.attack.is_promised) for tally in tallies)
    return 0 if is_kept and unmarked[1] == 0 else 1


def _filmed(path: Path) -> list[Shown]:
    """Read a clip as it is, no larger than the generator's pictures."""
    shown: list[tuple[float, Image]] = []
    for frame in itertools.islice(read_video_frames(path), MAX_FRAMES):
        height, width = frame.image.shape[:2]
        scale = min(1.0, 512 / max(height, width))
        size = (round(width * scale) & ~1, round(height * scale) & ~1)
        shown.append((frame.time_s, np.asarray(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA), np.uint8)))
    return shown


if __name__ == "__main__":
    sys.exit(main())
