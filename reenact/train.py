"""`reenact train`: from a target's recording to an actor package."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from capture.check_command import watch
from capture.progress import Progress
from capture.spread import spread
from capture.suitability import UnsuitableVideoError
from capture.train_tracker.processes import Processes
from models.face import FaceModel
from models.generator import DESIGNS, GeneratorConfig
from models.memory import keep_memory
from models.params import FaceParams
from models.perceptual import PerceptualWeightsError
from models.training import choose_device
from reenact.actor import Actor, ActorError, name_of, save_actor
from reenact.appearance import fit_appearance
from reenact.consent import Consent, add_consent_arguments, consent_of_arguments
from reenact.dataset import Indices, Recording, read_rendering
from reenact.first_look import look_again, look_first
from reenact.journal import GRID, Journal
from reenact.own_teeth import find_teeth
from reenact.quality import measure
from reenact.recorded_video import HELD_OUT_SHARE, TRACKING, read_video
from reenact.signing import SigningError, own_key
from reenact.square import KEY as SQUARE
from reenact.steady_body import find_moved_bodies
from reenact.target import PAINTED_REACH, REACH, Target
from reenact.trainer import Trainer, TrainingConfig
from reenact.training_set import TrainingSet
from reenact.video import VideoError

SAVE_EVERY_S = 60.0
"""Training time between checkpoints: what an interruption can cost."""
JUDGED = 12
"""Held-out frames that a running training is judged on."""
MOST_JUDGED = 160
"""Held-out frames that a finished one is judged on at most: LPIPS takes as long as a step of training."""
PREVIEW_SIZE = 256
RECIPE = 13
"""Checkpoints of another recipe are not gone on from."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "source", type=Path, metavar="VIDEO", help="video of the target, or a folder of rendered frames"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="NAME.actor", help="package to write")
    parser.add_argument("--minutes", type=float, default=60.0, help="time budget of training (default 60)")
    parser.add_argument("--steps", type=int, default=0, help="budget in steps, the same on a busy machine")
    parser.add_argument("--resolution", type=int, default=256, help="pixels, a multiple of 128 (default 256)")
    parser.add_argument("--window", type=int, default=11, help="conditioning frames seen at once (default 11)")
    parser.add_argument(
        "--design", default="auto", choices=("auto", *DESIGNS),
        help="of the network: photo, which begins as the person's own colours; lean, without them; full, at twice the"
        " time a frame; auto is photo (default auto)",
    )  # fmt: skip
    parser.add_argument(
        "--base", default="milo", metavar="ACTOR", help="target whose network is the start (default milo), or none"
    )
    parser.add_argument(
        "--held-out", type=float, default=HELD_OUT_SHARE, metavar="SHARE",
        help="share of a video, its end, that is judged on and never trained on (default 0.1)",
    )  # fmt: skip
    parser.add_argument(
        "--unchecked", action="store_true", help="take the video even if `reenact check` would refuse it"
    )
    parser.add_argument("--title", default="", help="name of the target for people")
    parser.add_argument("--license", default="LicenseRef-consented-use", help="licence of the package")
    parser.add_argument("--work", type=Path, metavar="DIR", help="checkpoints (default: NAME.actor.training beside it)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", action="store_true", help="print one JSON line last on stdout")
    parser.add_argument("--restart", action="store_true", help="forget an earlier, interrupted run")
    add_consent_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Train and package; 0 when the package is written, 1 with a sentence on stderr otherwise."""
    try:
        config = TrainingConfig(minutes=args.minutes, steps=args.steps)
        design = "" if args.design == "auto" else args.design
        generator = GeneratorConfig.of_size(args.resolution, design=design, window=args.window)
        name_of(args.output)
        device = choose_device(args.device)
        base = read_base(args.base)
        consent = consent_of_arguments(args)
        own_key()  # before hours of training, not after them
    except (ValueError, OSError, SigningError, ActorError) as error:
        print(f"reenact train: {error}", file=sys.stderr)
        return 2
    work = args.work or args.output.with_name(args.output.name + ".training")
    try:
        keep_memory()
        with Processes(device) as processes:
            model = FaceModel.load()
            # The first process tracks and cuts; the others find what it left.
            recording = processes.share(
                lambda: read_recording(args.source, model, work, args.held_out, is_checked=not args.unchecked)
            )
            trainer, look = prepare(
                recording, model, config, generator, work, processes, base=base, restart=args.restart
            )
            train(trainer)
            if processes.rank:
                return 0
            title = args.title or args.output.stem
            actor = package(trainer, look, args.output, title=title, consent=consent, license=args.license)
    except KeyboardInterrupt:
        print(f"reenact train: interrupted; the same command goes on from {work}", file=sys.stderr)
        return 1
    except UnsuitableVideoError as error:
        print(f"reenact train: {args.source.name} will not do. {error}", file=sys.stderr)
        return 1
    except (ActorError, VideoError, PerceptualWeightsError, ValueError, OSError) as error:
        print(f"reenact train: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps({"actor": str(actor.folder), **actor.training}))
    return 0


def read_base(name: str) -> dict[str, Tensor] | None:
    """Load the weights that a training starts from, of the target `name`; None for `none`. Raises `ActorError`."""
    return None if name == "none" else Actor.load(name).load_generator().state_dict()


def read_recording(
    source: Path, model: FaceModel, work: Path, held_out_share: float = HELD_OUT_SHARE, *, is_checked: bool = False
) -> Recording:
    """Read a folder of exact frames, or track a video into `work`.

    Where it `is_checked`, a video that is seen for the first time must do for a target: raises `UnsuitableVideoError`
    before anything long begins. Raises `ValueError` where there is neither folder nor video.
    """
    if source.is_dir():
        return read_rendering(source, model)
    if not source.is_file():
        raise ValueError(f"{source}: there is no such video or folder")
    if is_checked and not (work / TRACKING).exists():
        watch(source)
    return read_video(source, model, work, held_out_share)


def prepare(
    recording: Recording,
    model: FaceModel,
    config: TrainingConfig,
    generator: GeneratorConfig,
    work: Path,
    processes: Processes,
    *,
    base: Mapping[str, Tensor] | None = None,
    restart: bool = False,
) -> tuple[Trainer, FaceParams]:
    """Fit the target's appearance, render its conditioning and go on from the checkpoint in `work`, if it fits."""
    settings = {
        "recipe": RECIPE, "generator": generator.to_json(), "source": recording.name, "frames": len(recording.pictured),
        "held_out": len(recording.held_out),
    }  # fmt: skip
    fingerprint = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    if processes.rank == 0:
        work.mkdir(parents=True, exist_ok=True)
        mark = work / "run.json"
        if restart or (mark.exists() and json.loads(mark.read_text())["fingerprint"] != fingerprint):
            (work / "checkpoint.pt").unlink(missing_ok=True)
        resolved = {"fingerprint": fingerprint, **settings, "training": dataclasses.asdict(config)}
        mark.write_text(json.dumps(resolved, indent=1))
    processes.agree(0.0)  # nobody resumes before an old checkpoint is gone
    recording = dataclasses.replace(recording, teeth_rise=find_teeth(recording, model, generator))
    look = fit_appearance(model, recording)
    first = look_first(recording, model, generator) if generator.design == "photo" else None
    halo = first.halo if first is not None else None
    with Progress(len(recording.params.rotation), "conditioning") as progress:
        data = TrainingSet(recording, model, look, generator, halo, on_frame=progress.advance)
    data.moved = find_moved_bodies(data)
    if first is not None and bool(data.moved.any()):
        first = look_again(first, data, model, generator)
    trainer = Trainer(config, generator, data, work, processes, base, first)
    trainer.resume()
    return trainer, look


def train(trainer: Trainer) -> None:
    """Run until the budget is spent or the score rises no more; `KeyboardInterrupt` saves and passes on."""
    if trainer.processes.rank:
        while not trainer.is_done():
            trainer.run_step()
        return
    saved_s = trainer.spent_s
    shown = int(1000 * trainer.progress)
    with Progress(1000, "training", done=shown) as progress, Journal(trainer.folder, trainer.step) as journal:
        try:
            while not trainer.is_done():
                trainer.run_step()
                losses = " ".join(f"{name} {value:.4f}" for name, value in trainer.losses.items())
                journal.note(trainer.step, trainer.spent_s / 60, trainer.losses)
                if trainer.spent_s - saved_s > SAVE_EVERY_S:
                    saved_s = trainer.spent_s
                    _judge(trainer, journal)
                    trainer.save()
                progress.advance(int(1000 * trainer.progress) - shown, losses)
                shown = int(1000 * trainer.progress)
        finally:
            trainer.save()


def _judge(trainer: Trainer, journal: Journal) -> None:
    frames = some_held_out(trainer.data.recording)
    trainer.draw_grid(frames, trainer.folder / GRID)
    score = trainer.judge(some_held_out(trainer.data.recording, JUDGED))
    journal.score(trainer.step, trainer.spent_s / 60, score)
    journal.show(trainer.step, trainer.folder / GRID)


def some_held_out(recording: Recording, count: int = 6) -> Indices:
    """Choose held-out frames to look at; training frames where nothing is held out."""
    frames = recording.held_out if len(recording.held_out) else recording.training
    return spread(frames, count)


def pairs(frames: Indices, most: int) -> Indices:
    """Choose about `most` of `frames`, spread, two in a row each time: flicker is seen between neighbours."""
    if len(frames) <= most:
        return frames
    first = np.linspace(0, len(frames) - 2, most // 2).astype(int)
    return frames[np.unique(np.stack([first, first + 1]))]


def package(trainer: Trainer, look: FaceParams, output: Path, *, title: str, consent: Consent, license: str) -> Actor:  # noqa: A002
    """Judge the averaged generator on the held-out frames and write the package. Raises `ActorError`."""
    recording = trainer.data.recording
    held_out = pairs(recording.held_out, MOST_JUDGED) if len(recording.held_out) else recording.training[-1:]
    pictures, truth = trainer.compare(held_out)
    report = {
        "held_out": measure(pictures, truth, frames=held_out),
        "held_out_frames": len(held_out),
        "training_frames": len(recording.training),
        "minutes": round(trainer.spent_s / 60, 1),
        "steps": trainer.step,
        "device": str(trainer.device),
        "processes": trainer.processes.count,
        "curve": [{name: round(value, 4) for name, value in score.items()} for score in trainer.scores],
        **({"tracking": recording.checks} if recording.checks else {}),
        "config": dataclasses.asdict(trainer.config),
        **({SQUARE: recording.square.to_json()} if recording.square else {}),
    }
    seen = recording.params[: int(recording.training[-1]) + 1]
    count = len(seen.rotation)
    seen = seen.replace(
        reflectance=np.repeat(look.reflectance[None], count, 0),
        illumination=np.repeat(look.illumination[None], count, 0),
    )
    reach = REACH if trainer.average.halo is not None else PAINTED_REACH
    target = Target.from_recording(seen, recording.camera, reach)
    return save_actor(
        output,
        trainer.average,
        encode_preview(pictures, recording, held_out),
        title=title,
        frame_rate=recording.frame_rate,
        target=target,
        training=report,
        consent=consent,
        license=license,
    )


def encode_preview(pictures: np.ndarray[Any, np.dtype[np.uint8]], recording: Recording, frames: Indices) -> bytes:
    """Encode the generated picture that looks most straight into the camera, eyes open, as WebP."""
    turned = np.abs(recording.params.rotation[frames]).sum(1) + np.abs(recording.params.expression[frames]).sum(1) * 0.1
    turned = turned + np.abs(recording.params.gaze[frames]).sum((1, 2)) * 0.25
    image = Image.fromarray(pictures[int(turned.argmin())]).resize((PREVIEW_SIZE, PREVIEW_SIZE))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=88)
    return buffer.getvalue()
