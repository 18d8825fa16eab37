"""`reenact train-tracker`: train the regressor and the face model's learned levels.

On several GPUs: `torchrun --nproc-per-node N -m streamer.cli train-tracker ...`.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from capture.progress import Progress
from capture.synthetic import SyntheticConfig, stream
from capture.train_tracker.judge import judge
from capture.train_tracker.pictures import draw_faces
from capture.train_tracker.processes import Processes
from capture.train_tracker.reservoir import Reservoir
from capture.train_tracker.shelf import shelved
from capture.train_tracker.supervision import NAMES
from capture.train_tracker.trainer import TrackerTrainer, TrackerTrainingConfig
from capture.train_tracker.video_faces import VideoFaces
from capture.video import VideoError
from models.face import FaceModel
from models.memory import keep_memory
from models.regressor import RegressorConfig
from models.training import choose_device

SAVE_EVERY_S = 120.0
"""Training time between checkpoints: what an interruption can cost."""
TEST_FACES = 512
"""Faces of the test split on which a run is judged."""
WORKERS = max(1, (os.cpu_count() or 2) - 1)
ROWS = 8
"""Faces in a picture."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    defaults = TrackerTrainingConfig()
    add = parser.add_argument
    add("-o", "--output", type=Path, metavar="DIR", help="write the two weights files here at the end")
    add("--work", type=Path, default=Path("runs/tracker"), metavar="DIR", help="checkpoints (default %(default)s)")
    add("--minutes", type=float, default=defaults.minutes, help="time budget (default %(default)s)")
    add("--steps", type=int, default=0, help="budget in steps instead of time")
    add("--video", type=Path, nargs="+", default=[], metavar="PATH", help="unlabelled videos to learn from")
    add("--begin", type=Path, metavar="DIR", help="begin with the two weights files there, not with MediaPipe's mesh")
    add("--shelf", type=Path, metavar="DIR", help="keep synthetic faces here, for this run and later ones")
    add("--batch", type=int, default=defaults.batch, help="synthetic faces in a step (default %(default)s)")
    add("--learning-rate", type=float, default=defaults.learning_rate, help="peak (default %(default)s)")
    add("--workers", type=int, default=WORKERS, help="processes that make faces (default %(default)s)")
    add("--threads", type=int, default=0, help="threads of PyTorch (default: its own choice)")
    add("--picture-every", type=int, default=1000, metavar="STEPS", help="between pictures (default %(default)s)")
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--json", action="store_true", help="print one JSON line last on stdout")
    add("--restart", action="store_true", help="forget an earlier, interrupted run")


def run(args: argparse.Namespace) -> int:
    """Train; 0 when the budget is spent, 1 with a sentence on stderr otherwise, 2 for arguments that make no sense."""
    try:
        config = TrackerTrainingConfig(
            minutes=args.minutes, steps=args.steps, batch=args.batch, learning_rate=args.learning_rate
        )
        if args.workers < 1 or args.picture_every < 1 or args.threads < 0:
            raise ValueError("--workers and --picture-every: expected 1 or more, --threads 0 or more")
        device = choose_device(args.device)
    except ValueError as error:
        print(f"reenact train-tracker: {error}", file=sys.stderr)
        return 2
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        keep_memory()
        with Processes(device) as processes:
            report = train_tracker(config, args, processes)
            if args.json and processes.rank == 0:
                print(json.dumps(report))
    except KeyboardInterrupt:
        print(f"reenact train-tracker: interrupted; the same command goes on from {args.work}", file=sys.stderr)
        return 1
    except (VideoError, ValueError, RuntimeError, OSError) as error:
        print(f"reenact train-tracker: {error}", file=sys.stderr)
        return 1
    return 0


def train_tracker(config: TrackerTrainingConfig, args: argparse.Namespace, processes: Processes) -> dict[str, Any]:
    """Make the faces, train on them, and give the report that is also written to `report.json`."""
    regressor = RegressorConfig()
    begin_run(config, regressor, args.work, [str(path) for path in args.video], restart=args.restart)
    model = FaceModel.load()
    videos = VideoFaces.read(args.video, regressor.size) if args.video else None
    test = test_faces(regressor.size, TEST_FACES)
    # Another seed after each interruption: a resumed run sees new faces.
    seed = hash((config.seed, processes.rank, time.time_ns())) % 2**31
    source = SyntheticConfig(split="train", seed=seed, size=regressor.size)
    made: Iterator[Mapping[str, NDArray[Any]]] = stream(source, workers=args.workers, batch=32)
    if args.shelf is not None:
        made = shelved(args.shelf, made, NAMES)
    faces = Reservoir(made, config.reservoir, NAMES)
    try:
        trainer = TrackerTrainer(config, regressor, model, faces, videos, args.work, processes, args.begin)
        report = _train(trainer, faces, test, videos, args.picture_every)
    finally:
        faces.close()
    if processes.rank == 0:
        (args.work / "report.json").write_text(json.dumps(report, indent=1))
        if args.output is not None:
            trainer.export(args.output)
    return report


def begin_run(
    config: TrackerTrainingConfig, regressor: RegressorConfig, work: Path, videos: list[str], *, restart: bool
) -> None:
    """Write the resolved config to `work/run.json`, and drop a checkpoint of another network there."""
    work.mkdir(parents=True, exist_ok=True)
    fingerprint = hashlib.sha256(json.dumps(regressor.to_json(), sort_keys=True).encode()).hexdigest()
    mark = work / "run.json"
    if restart or (mark.exists() and json.loads(mark.read_text())["fingerprint"] != fingerprint):
        (work / "checkpoint.pt").unlink(missing_ok=True)
    resolved = {"fingerprint": fingerprint, "regressor": regressor.to_json(), "videos": videos}
    mark.write_text(json.dumps(resolved | {"training": dataclasses.asdict(config)}, indent=1))


def test_faces(size: int, count: int) -> dict[str, NDArray[Any]]:
    """Make `count` faces of the test split, always the same ones."""
    batches: list[dict[str, NDArray[Any]]] = []
    with Progress(count, "test faces") as progress:
        source = stream(SyntheticConfig(split="test", seed=0, size=size), workers=1, batch=32)
        for batch in source:
            batches.append(dict(batch))
            progress.advance(32)
            if 32 * len(batches) >= count:
                break
        source.close()
    return {name: np.concatenate([batch[name] for batch in batches])[:count] for name in NAMES}


def _train(
    trainer: TrackerTrainer, faces: Reservoir, test: dict[str, NDArray[Any]], videos: VideoFaces | None, every: int
) -> dict[str, Any]:
    """Run until the budget is spent, saving as it goes; `KeyboardInterrupt` saves and passes on."""
    saved_s = began_s = trainer.spent_s
    began_step = trainer.step
    shown, rate = int(1000 * trainer.share), 0.0
    leads = trainer.processes.rank == 0
    errors: dict[str, float] = {}
    with Progress(1000, "training", done=shown, stream=sys.stderr if leads else io.StringIO()) as progress:
        try:
            while trainer.share < 1:
                trainer.run_step()
                samples = (trainer.step - began_step) * trainer.config.batch * trainer.processes.count
                rate = samples / max(trainer.spent_s - began_s, 1e-3)
                progress.advance(int(1000 * trainer.share) - shown, _note(trainer, errors, rate, faces))
                shown = int(1000 * trainer.share)
                if leads and trainer.step % every == 0:
                    errors = _look(trainer, test, videos)
                if trainer.spent_s - saved_s > SAVE_EVERY_S:
                    saved_s = trainer.spent_s
                    trainer.save()
        finally:
            trainer.save()
    errors = _look(trainer, test, videos) if leads else {}
    return {
        "steps": trainer.step, "minutes": round(trainer.spent_s / 60, 2), "device": str(trainer.processes.device),
        "processes": trainer.processes.count, "samples_per_s": round(rate, 1), "made": faces.made, "drawn": faces.drawn,
        "test": {name: round(value, 4) for name, value in errors.items()},
    }  # fmt: skip


def _note(trainer: TrackerTrainer, errors: dict[str, float], rate: float, faces: Reservoir) -> str:
    """Say in a line how it goes: loss, samples per second, how often a face was drawn, and the last judgement."""
    note = f"step {trainer.step} loss {trainer.losses['total']:.3f}, {rate:.0f}/s, {faces.drawn / faces.made:.1f} draws"
    shown = ("rotation_deg", "gaze_deg", "translation_percent", "expression", "geometry_0_mm", "geometry_2_mm")
    return note + "".join(f", {name} {errors[name]:.2f}" for name in shown if name in errors)


def _look(trainer: TrackerTrainer, test: dict[str, NDArray[Any]], videos: VideoFaces | None) -> dict[str, float]:
    """Judge the averaged regressor on the test faces, log it, and draw some of them, and of the videos."""
    formation = trainer.objective.formation
    errors = judge(trainer.average, formation, test)
    line = {"step": trainer.step, "spent_s": round(trainer.spent_s, 1), "losses": trainer.losses, "test": errors}
    with (trainer.folder / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    shown = np.flatnonzero(test["confidence"] > 0.5)[:: max(1, len(test["confidence"]) // ROWS)][:ROWS]
    path = trainer.folder / f"faces-{trainer.step:06d}.png"
    draw_faces(trainer.average, formation, test["crop"][shown], test["focal_px"][shown], path)
    if videos is not None:
        rows = np.linspace(0, len(videos) - 1, ROWS).astype(int)
        path = trainer.folder / f"video-{trainer.step:06d}.png"
        draw_faces(trainer.average, formation, videos.crop[rows], videos.focal_px[rows], path)
    return errors
