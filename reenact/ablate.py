"""The paper's ablation on a recording: `python -m reenact.ablate DATA -o DIR` (Deep Video Portraits, section 7.2).

Trains the whole generator and its poorer relatives for the same number of steps, and judges each on the held-out
frames: windows of one, three and seven frames instead of eleven, each conditioning image left out or, what is not
used, added, and the whole generator on 500, 1,000 and 2,000 of the training frames, where there are as many.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from capture.train_tracker.processes import Processes
from models.face import FaceModel
from models.generator import PHOTO_DROPPED, GeneratorConfig
from models.losses import importance
from models.memory import keep_memory
from models.training import choose_device
from reenact.dataset import Indices, Recording
from reenact.quality import Images, measure
from reenact.recorded_video import HELD_OUT_SHARE
from reenact.train import pairs, prepare, read_base, read_recording, train
from reenact.trainer import Trainer, TrainingConfig

VARIANTS: dict[str, dict[str, Any]] = {
    "whole": {},
    "window 1": {"window": 1},
    "window 3": {"window": 3},
    "window 7": {"window": 7},
    "with diffuse": {"dropped": ()},
    "no correspondence": {"dropped": (*PHOTO_DROPPED, "correspondence")},
    "no eye and gaze": {"dropped": (*PHOTO_DROPPED, "gaze")},
}
"""What each variant changes in the generator."""
COUNTS = (500, 1000, 2000)
"""Training frames, of all that there are, that the curve of quality against frames is drawn from."""


JUDGED = 80
"""Held-out frames that each is judged on at most."""
EYES = 5.0
"""What `importance` gives to the eyes, at least."""


def fewer(recording: Recording, count: int) -> Recording:
    """Leave the first `count` training frames of a recording, and all held-out ones."""
    kept = np.sort(np.concatenate([recording.training[:count], recording.held_out]))
    files = dict(zip(recording.pictured.tolist(), recording.pictures, strict=True))
    return dataclasses.replace(recording, pictured=kept, pictures=tuple(files[int(frame)] for frame in kept))


def eye_error(trainer: Trainer, pictures: Images, truth: Images, frames: Indices) -> float:
    """Give the mean absolute error in levels on and around the eyes: too few pixels to show in the whole picture's."""
    current = trainer.data.batch(frames, torch.device("cpu")).current
    is_eye = (importance(current) >= EYES).numpy()[:, 0]
    return float(np.abs(pictures.astype(np.float32) - truth)[is_eye].mean())


def ablate(
    source: Path,
    output: Path,
    *,
    steps: int,
    resolution: int,
    device: str,
    seed: int,
    base_name: str = "none",
    held_out_share: float = HELD_OUT_SHARE,
    only: Sequence[str] = (),
) -> dict[str, dict[str, float]]:
    """Train and judge every variant, or `only` some, in a folder of this budget's own; none that is done there again.

    Gives the table that is also written to `ablation.json`: for each variant its measures by name.
    """
    output = output / f"{steps}-steps-{resolution}-pixels-seed-{seed}"
    output.mkdir(parents=True, exist_ok=True)
    table_path = output / "ablation.json"
    table: dict[str, dict[str, float]] = json.loads(table_path.read_text()) if table_path.exists() else {}
    model = FaceModel.load()
    recording = read_recording(source, model, output, held_out_share)
    config = TrainingConfig(steps=steps, adversarial_from=1.0, seed=seed, patience=0)
    base = read_base(base_name)
    runs = [(name, recording, changes) for name, changes in VARIANTS.items()]
    runs += [(f"{n} frames", fewer(recording, n), {}) for n in COUNTS if n < len(recording.training)]
    with Processes(choose_device(device)) as processes:
        for name, seen, changes in runs:
            if name in table or (only and name not in only):
                continue
            generator = GeneratorConfig.of_size(resolution, **changes)
            trainer, _ = prepare(seen, model, config, generator, output / name.replace(" ", "_"), processes, base=base)
            train(trainer)
            frames = pairs(recording.held_out, JUDGED)
            pictures, truth = trainer.compare(frames)
            table[name] = measure(pictures, truth, frames=frames)
            table[name]["eyes"] = eye_error(trainer, pictures, truth, frames)
            table_path.write_text(json.dumps(table, indent=1))
    return table


def main() -> None:
    """Parse arguments, run, print the table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of rendered frames, or video")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--seed", type=int, default=TrainingConfig().seed, help="of weights, order and crops")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--base", default="none", help="target whose network every variant starts from, where alike")
    parser.add_argument("--only", action="append", default=[], metavar="VARIANT", help="this variant; may be repeated")
    parser.add_argument("--held-out", type=float, default=HELD_OUT_SHARE, help="share of a video, its end, to judge on")
    args = parser.parse_args()
    keep_memory()
    table = ablate(
        args.source, args.output, steps=args.steps, resolution=args.resolution, device=args.device, seed=args.seed,
        base_name=args.base, held_out_share=args.held_out, only=args.only,
    )  # fmt: skip
    columns = list(next(iter(table.values())))
    sys.stdout.write(f"{'':20}" + "".join(f"{column:>14}" for column in columns) + "\n")
    for name, row in table.items():
        sys.stdout.write(f"{name:20}" + "".join(f"{row[column]:14.4f}" for column in columns) + "\n")
    sys.stdout.write(json.dumps(table) + "\n")


if __name__ == "__main__":
    main()
