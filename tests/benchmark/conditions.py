"""How well a target follows before worse cameras and in worse light: `python -m tests.benchmark.conditions CLIP ...`.

Each clip is shown to the live path as it is and as a poor webcam would, and the output is held against what the clip
itself shows, by MediaPipe's landmarks. `-o FOLDER` keeps pictures: what the camera gave above what came of it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage

from capture.follow import MEASURES, follow_correlation, measure_found
from capture.landmarks import LandmarkDetector, Landmarks
from reenact.actor import Actor
from reenact.reenactor import Reenactor
from tests.clips import read_frames

Image = NDArray[np.uint8]

SIZE = (640, 480)
SETTLING_S = 7.0
"""Time at the start that does not count: until then it is learned that a camera is tilted."""
FPS = 30.0
SHOWN = 6
"""Moments in a picture."""


def fitted(image: Image, size: tuple[int, int] = SIZE) -> Image:
    """Show a whole picture in one of another shape, on grey."""
    width, height = size
    scale = min(width / image.shape[1], height / image.shape[0])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    out = np.full((height, width, 3), 40, np.uint8)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    out[top : top + small.shape[0], left : left + small.shape[1]] = small
    return out


def _exposed(image: Image, light: NDArray[np.float64] | float, noise: float) -> Image:
    linear = (image / 255.0) ** 2.2 * light
    linear = linear + np.random.default_rng(int(image.sum())).normal(0.0, noise, image.shape)
    return (np.clip(linear, 0.0, 1.0) ** (1 / 2.2) * 255.0).astype(np.uint8)


def _lit_from_one_side(image: Image) -> Image:
    aside = np.linspace(-1.0, 1.0, image.shape[1])
    return _exposed(image, (0.06 + 1.2 / (1.0 + np.exp(-12.0 * aside)))[None, :, None], 0.003)


def _far(image: Image) -> Image:
    small = cv2.resize(image, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    out = np.full_like(image, 90)
    out[150 : 150 + small.shape[0], 330 : 330 + small.shape[1]] = small
    return out


def _tilted(image: Image) -> Image:
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 15, 1)
    return np.asarray(cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _blocky(image: Image) -> Image:
    coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 15])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def _grey(image: Image) -> Image:
    return np.repeat(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)[..., None], 3, 2)


CONDITIONS: Mapping[str, Callable[[Image], Image]] = {
    "as it is": lambda image: image,
    "far away": _far,
    "dark, noisy": lambda image: _exposed(image, 0.12, 0.012),
    "lit from one side": _lit_from_one_side,
    "camera tilted by 15°": _tilted,
    "JPEG, quality 15": _blocky,
    "grey": _grey,
    "320x240": lambda image: np.asarray(cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA), np.uint8),
}


def find_all(images: list[Image]) -> list[Landmarks | None]:
    """Find the face in each picture."""
    with LandmarkDetector() as detector:
        return [detector.detect(image) for image in images]


def reenact(actor: Actor, images: list[Image]) -> tuple[list[Image], float]:
    """Show pictures to the live path; gives the target's and the share of frames in which a face was tracked."""
    reenactor = Reenactor(actor)
    reenactor.warm_up()
    shown, tracked = [], 0
    try:
        for index, image in enumerate(images):
            made = reenactor.process(image, index / FPS)
            reenactor.learn()
            shown.append(made.image.copy())
            tracked += made.state == "tracked"
    finally:
        reenactor.close()
    return shown, tracked / max(len(images), 1)


def main() -> int:
    """Run the command; give its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.conditions", description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path, metavar="CLIP")
    parser.add_argument("--actor", default="milo", help="name or folder of the target (default milo)")
    parser.add_argument("--frames", type=int, default=450, help="frames of each clip (default 450)")
    parser.add_argument("--only", choices=list(CONDITIONS), action="append", help="one of these alone; may be repeated")
    parser.add_argument("-o", "--output", type=Path, help="folder for pictures")
    args = parser.parse_args()
    actor = Actor.load(args.actor)
    from_frame = round(SETTLING_S * FPS)
    report: dict[str, dict[str, dict[str, float]]] = {}
    for clip in args.clips:
        images = [fitted(image) for _, image in read_frames(clip, limit=args.frames)]
        truth = measure_found(find_all(images)[from_frame:])
        rows = []
        for name in args.only or CONDITIONS:
            change = CONDITIONS[name]
            seen = [change(image) for image in images]
            shown, tracked = reenact(actor, seen)
            followed = follow_correlation(truth, measure_found(find_all(shown)[from_frame:]), FPS)
            row = {measure: round(followed[measure].correlation, 3) for measure in MEASURES} | {"tracked": tracked}
            report.setdefault(clip.stem, {})[name] = row
            print(f"{clip.stem:12} {name:22}", " ".join(f"{key} {value:.2f}" for key, value in row.items()), flush=True)
            chosen = np.linspace(from_frame, len(images) - 1, SHOWN).astype(int)
            rows += [np.concatenate([fitted(each[i], (240, 180)) for i in chosen], 1) for each in (seen, shown)]
        if args.output is not None:
            args.output.mkdir(parents=True, exist_ok=True)
            PILImage.fromarray(np.concatenate(rows)).save(args.output / f"{clip.stem}.png")
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
