"""How well a dubbed video keeps what is the target's, and follows what is the voice's: a table by independent measures.

`python -m tests.benchmark.dubbing DUBBED SOURCE TARGET`, after
`reenact render --source SOURCE --actor NAME --mode dub --onto TARGET -o DUBBED`.

Mouths are compared by MediaPipe's landmarks, without our face model. Poses are not: a new mouth moves all landmarks, so
the heads of both videos are aligned together by all that is rigid in their pictures, and compared frame by frame.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from capture.follow import follow_correlation, measure_found
from capture.landmarks import LandmarkDetector, Landmarks
from capture.whole_video import Pictures, track_whole_video
from models.camera import Camera
from models.face import FaceModel
from tests.clips import read_frames

MOUTH = ("mouth_opening", "mouth_width")
SIDE_PX = 480


@dataclass(frozen=True, slots=True)
class Watched:
    """A video, as far as it is compared."""

    times_s: NDArray[np.float64]
    found: list[Landmarks | None]
    grey: list[NDArray[np.uint8]]
    """`[h, w]`, no larger than `SIDE_PX`."""
    size: tuple[int, int]
    """Width and height of the frames, pixels."""

    def at(self, times_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """Give the frame that is shown at each of some times."""
        return np.clip(np.searchsorted(self.times_s, times_s + 1e-3, "right") - 1, 0, len(self.times_s) - 1)

    def series(self, frames: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Measure the landmarks of `frames`."""
        return measure_found([self.found[frame] for frame in frames])


def watch(path: Path) -> Watched:
    """Find the face in all frames of a video."""
    times_s, found, grey = [], [], []
    size = (1, 1)
    with LandmarkDetector() as detector:
        for time_s, image in read_frames(path):
            size = (image.shape[1], image.shape[0])
            scale = min(1.0, SIDE_PX / max(size))
            times_s.append(time_s)
            found.append(detector.detect(image))
            small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            grey.append(np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8))
    return Watched(np.array(times_s) - times_s[0], found, grey, size)


def compare(dubbed: Watched, source: Watched, target: Watched) -> dict[str, float]:
    """Give r of the mouth's measures with the source's, and mean absolute differences of pose in degrees.

    Raises `ValueError` for frames of another size than the target's.
    """
    if dubbed.size != target.size:
        raise ValueError(f"expected frames as large as the target's, {target.size}, got {dubbed.size}")
    frames = np.arange(len(dubbed.times_s))
    frames = frames[dubbed.times_s <= min(source.times_s[-1], target.times_s[-1])]
    times_s = dubbed.times_s[frames]
    here, there = dubbed.series(frames), source.series(source.at(times_s))
    fps = len(times_s) / max(times_s[-1], 1e-3)
    following = follow_correlation(
        {name: there[name] for name in MOUTH}, {name: here[name] for name in MOUTH}, fps, max_lag_s=0.0
    )
    own = target.at(times_s)
    grey = [dubbed.grey[k] for k in frames] + [target.grey[k] for k in own]
    found = [dubbed.found[k] for k in frames] + [target.found[k] for k in own]
    height, width = grey[0].shape
    pictures = Pictures(lambda k: grey[k], (width, height), (0.0, 0.0), width / dubbed.size[0])
    all_times = np.concatenate([times_s, times_s[-1] + 1.0 + times_s]).tolist()
    whole = track_whole_video(found, all_times, Camera.webcam(*dubbed.size), FaceModel.load(), pictures)
    usable = whole.is_usable[: len(frames)] & whole.is_usable[len(frames) :]
    turned = whole.params.rotation[: len(frames)] - whole.params.rotation[len(frames) :]
    off = np.rad2deg(np.abs(turned[usable]).mean(0))
    return {
        **{name: round(value.correlation, 3) for name, value in following.items()},
        **{f"{name}_deg": round(float(value), 2) for name, value in zip(("yaw", "pitch", "roll"), off, strict=True)},
        "frames": len(frames),
        "usable": int(usable.sum()),
    }  # fmt: skip


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("dubbed", "source", "target"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    print(json.dumps(compare(watch(args.dubbed), watch(args.source), watch(args.target))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
