"""`reenact evaluate`: how well an actor repeats frames that it has not seen, from their parameters alone."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from capture.progress import Progress
from capture.spread import spread
from models.cache import cache_folder
from models.face import FaceModel
from models.params import FaceParams
from models.perceptual import PerceptualWeightsError
from reenact.actor import Actor, ActorError
from reenact.dataset import Recording
from reenact.engines.engine import EngineError
from reenact.portrait import Portrait
from reenact.quality import comparison, measure
from reenact.train import read_recording
from reenact.video import VideoError

Images = NDArray[np.uint8]
Indices = NDArray[np.int64]

GRID_ROWS = 6
"""Frames shown in the picture."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `reenact evaluate`."""
    parser.add_argument("actor", metavar="NAME.actor", help="path of a package, or name of an actor")
    parser.add_argument("source", type=Path, metavar="VIDEO_OR_DATA", help="video of the target, or folder of frames")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="GRID.png", help="picture of truth, output and error (default: none)"
    )
    parser.add_argument("--frames", type=int, default=0, metavar="N", help="at most N frames, spread (default: all)")
    parser.add_argument("--engine", default="auto", help="auto, openvino or torch (default auto)")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16 or int8 (default auto)")
    parser.add_argument(
        "--ablate", type=Path, metavar="DIR", help="add the table that `python -m reenact.ablate` wrote into DIR"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON line at the end")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print a table; 0 when done, 1 with a sentence on stderr otherwise."""
    try:
        actor = Actor.load(args.actor)
        ablation = _read_ablation(args.ablate) if args.ablate else {}
        model = FaceModel.load()
        recording = read_recording(args.source, model, _work_folder(args.source))
        frames = choose_frames(recording, args.frames)
        portrait = Portrait(actor, engine=args.engine, precision=args.precision, model=model)
        try:
            with Progress(len(frames), "generating") as progress:
                outputs = reenact_frames(portrait, recording, frames, on_frame=progress.advance)
        finally:
            portrait.close()
        truths = np.stack([recording.picture(int(frame), actor.resolution) for frame in frames])
        result = measure(outputs, truths, frames=frames)
        if args.output:
            save_grid(outputs, truths, args.output)
    except KeyboardInterrupt:
        print("reenact evaluate: interrupted", file=sys.stderr)
        return 1
    except (ActorError, EngineError, PerceptualWeightsError, VideoError, ValueError, OSError) as error:
        print(f"reenact evaluate: {error}", file=sys.stderr)
        return 1
    table = {f"{actor.name} ({portrait.engine_name})": result, **ablation}
    print_table(table)
    if args.json:
        print(json.dumps({
            "actor": actor.name, "engine": portrait.engine_name, "engine_reason": portrait.engine_reason,
            "frames": len(frames), "resolution": actor.resolution, **result,
            **({"ablation": ablation} if ablation else {}),
        }))  # fmt: skip
    return 0


def choose_frames(recording: Recording, limit: int = 0) -> Indices:
    """Give the held-out frames, at most `limit` of them (0: all). Raises `ValueError` where none is held out."""
    frames = recording.held_out
    if len(frames) == 0:
        raise ValueError(f"{recording.name}: no frame is held out, so nothing can be measured fairly")
    return spread(frames, limit) if limit > 0 else frames


def reenact_frames(
    portrait: Portrait, recording: Recording, frames: Indices, *, on_frame: Callable[[], None] | None = None
) -> Images:
    """Generate `frames` (ascending), each with its true past; gives `[N, S, S, 3]`.

    Pose, expression and gaze are the recording's; identity, reflectance and light are the actor's.
    """
    length = portrait.actor.generator_config.window
    outputs: list[NDArray[np.uint8]] = []
    shown = -length
    for frame in frames:
        frame = int(frame)
        first = shown + 1
        if not 0 < frame - shown <= length:
            portrait.reset()
            first = max(0, frame - length + 1)
        for step in range(first, frame + 1):
            image = portrait.show(own_params(portrait.actor, recording.params[step]), step / recording.frame_rate)
        shown = frame
        outputs.append(image)
        if on_frame is not None:
            on_frame()
    return np.stack(outputs)


def own_params(actor: Actor, params: FaceParams) -> FaceParams:
    """Give one frame of a recording the actor's own identity, reflectance and light."""
    neutral = actor.target.neutral
    return params.replace(identity=neutral.identity, reflectance=neutral.reflectance, illumination=neutral.illumination)


def save_grid(outputs: Images, truths: Images, path: Path) -> None:
    """Write truth, output and error of a spread of frames as one picture."""
    rows = np.unique(np.linspace(0, len(outputs) - 1, GRID_ROWS).astype(int))
    path.parent.mkdir(parents=True, exist_ok=True)
    PilImage.fromarray(comparison(outputs[rows], truths[rows])).save(path)


def print_table(table: dict[str, dict[str, float]]) -> None:
    """Print rows of figures, one column a measure."""
    columns = list(dict.fromkeys(name for row in table.values() for name in row))
    width = max(map(len, table)) + 2
    print(" " * width + "".join(f"{column:>12}" for column in columns))
    for label, row in table.items():
        cells = "".join(f"{row[column]:12.4f}" if column in row else " " * 12 for column in columns)
        print(f"{label:{width}}{cells}")


def _read_ablation(folder: Path) -> dict[str, dict[str, float]]:
    path = folder / "ablation.json"
    if not path.is_file():
        raise ValueError(f"{path}: there is no such table; `python -m reenact.ablate` writes it")
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {str(name): {str(key): float(value) for key, value in row.items()} for name, row in table.items()}


def _work_folder(source: Path) -> Path:
    """Give the place for what is tracked from a video: the same video finds it again."""
    key = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:16]
    return cache_folder() / "evaluate" / key
