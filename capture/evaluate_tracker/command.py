"""`reenact evaluate-tracker`: speed and accuracy of both trackers, on synthetic faces and on real clips."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from capture.crop import Crop
from capture.evaluate_tracker.capacity import measure_capacity
from capture.evaluate_tracker.clips import Clip, measure_clip, read_clip
from capture.evaluate_tracker.crops import held_out_crops, measure_crops
from capture.evaluate_tracker.sequences import LiveTracker, compare_on_sequences
from capture.evaluate_tracker.speed import speeds_on
from capture.evaluate_tracker.weights import TrackerWeights, load_weights
from capture.face_hint import FaceHint
from capture.formation import FaceFormation
from capture.progress import Progress
from capture.regression import RegressionTracker
from capture.regressor_engines import RegressorEngineError
from capture.select_tracker import Comparison
from capture.synthetic import SyntheticConfig, SyntheticFaces
from capture.tracker import Tracker
from capture.train_tracker.pictures import COLUMNS, draw_faces
from capture.video import VideoError, video_info
from models.face import FaceModel

Table = dict[str, dict[str, float]]

PICTURES = 8
"""Rows of a picture."""
LIMITS = {"rotation_deg": 1.5, "gaze_deg": 3.0, "translation_percent": 2.0, "expression": 0.08}
"""What the regressor is to reach on single crops of faces that training never sees."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("--video", type=Path, nargs="+", default=[], metavar="PATH", help="real clips of one face each")
    add("--weights", type=Path, metavar="DIR", help="what train-tracker wrote (default: what ships)")
    add("--faces", type=int, default=512, help="synthetic crops (default %(default)s)")
    add("--people", type=int, default=12, help="people in synthetic videos (default %(default)s)")
    add("--frames", type=int, default=45, help="frames of each such video (default %(default)s)")
    add("--seconds", type=float, default=6.0, help="time for each measurement of speed, 0: none (default %(default)s)")
    add("-o", "--output", type=Path, metavar="DIR", help="write pictures of reconstructions and the report here")
    add("--write-choice", action="store_true", help="let `tracker = auto` take the better one from now on")
    add("--json", action="store_true", help="print one JSON line last on stdout")


def run(args: argparse.Namespace) -> int:
    """Measure and print tables; 0 when done, 1 with a sentence on stderr otherwise, 2 for arguments without sense."""
    if args.faces < 0 or args.people < 0 or args.seconds < 0 or args.frames < 20:
        print("reenact evaluate-tracker: expected numbers of 0 or more, and --frames of 20 or more", file=sys.stderr)
        return 2
    if args.write_choice and not (args.video and args.people and args.seconds):
        print("reenact evaluate-tracker: --write-choice needs --video, --people and --seconds", file=sys.stderr)
        return 2
    try:
        report = evaluate(args)
    except (VideoError, RegressorEngineError, ValueError, RuntimeError, OSError) as error:
        print(f"reenact evaluate-tracker: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(_finite(report)))
    return 0


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Measure everything that was asked for, printing each table as it is ready; gives all figures."""
    for path in args.video:
        video_info(path)  # refused now, not after minutes
    model = FaceModel.load()
    weights = load_weights(args.weights, model)
    report: dict[str, Any] = {"trained": weights.is_trained}
    if not weights.is_trained:
        print("The regressor has no weights here: fresh ones show its speed, and nothing else of it is measured.\n")
    if args.seconds:
        report["speed"] = {}
        for cores in (1, 2)[: max(os.cpu_count() or 1, 1)]:
            report["speed"][str(cores)] = table = speeds_on(cores, args.weights, args.seconds)
            _print_table(f"Speed, 640 x 480, batch 1, {cores} core{'s' * (cores > 1)}", table, skip=("trained",))
    if args.faces and weights.is_trained:
        report |= _crops(args, weights, model)
    report["clips"] = {}
    if args.people or args.video:
        with _Trackers(weights, model) as trackers:
            if args.people:
                report["sequences"] = _sequences(args, trackers)
            report["clips"] = _clips(args, weights, trackers, model)
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / "report.json").write_text(json.dumps(_finite(report), indent=1) + "\n", encoding="utf-8")
    if args.write_choice and weights.is_trained:
        comparison = compare(report)
        comparison.save()
        print(f"auto: {comparison.choice}: {comparison.reason}")
    return report


class _Trackers(dict[str, LiveTracker]):
    """The trackers by name, those with the regressor only where it has weights; closes them."""

    def __init__(self, weights: TrackerWeights, model: FaceModel) -> None:
        self._owned: dict[str, Tracker | RegressionTracker] = {"landmarks": Tracker(model=model)}
        if weights.is_trained:
            self._owned["regressor"] = RegressionTracker(model=model, regressor=weights.regressor)
            self._owned["both"] = Tracker(model=model, hint=FaceHint(weights.regressor).wait())
        super().__init__(self._owned)

    def __enter__(self) -> _Trackers:
        return self

    def __exit__(self, *_: object) -> None:
        for tracker in self._owned.values():
            tracker.close()


def _crops(args: argparse.Namespace, weights: TrackerWeights, model: FaceModel) -> dict[str, Any]:
    with Progress(args.faces, "test crops") as progress:
        crops = held_out_crops(args.faces, weights.regressor.config.size, on_chunk=progress.advance)
    groups, blendshapes = measure_crops(weights, model, crops)
    means = groups["all"]
    plain = {
        group: {name: value for name, value in row.items() if not name[-1].isdigit() and "_mm" not in name}
        for group, row in groups.items()
    }
    _print_table(f"Regressor on {args.faces} synthetic crops of the test split", plain)
    for name, limit in LIMITS.items():
        print(f"  {name}: {means[name]:.3f}, wanted under {limit}: {'yes' if means[name] < limit else 'no'}")
    levels = {
        f"level {level}": {
            "geometry_mm": means[f"geometry_{level}_mm"], "albedo": means[f"albedo_{level}"],
            "photometric": means[f"photometric_{level}"],
        }
        for level in (0, 1, 2)
    }  # fmt: skip
    print()
    _print_table("Levels of the face model on the same crops, by the regressor", levels)
    capacity = measure_capacity(weights.levels, model, crops)
    _print_table("Levels of the face model on the same crops, at their best", capacity)
    worst = sorted(blendshapes.items(), key=lambda pair: -pair[1].error)
    over = [f"{name} {shape.error:.3f}" for name, shape in worst if shape.error >= LIMITS["expression"]]
    print(f"Blendshapes with an error of {LIMITS['expression']} or more: {', '.join(over) or 'none'}")
    at_rest = np.mean([shape.error_of_rest for shape in blendshapes.values()])
    print(f"(who always says that a face is at rest errs by {at_rest:.3f})")
    told = sorted(blendshapes.items(), key=lambda pair: -pair[1].r)
    mean_r = np.nanmean([shape.r for shape in blendshapes.values()])
    print(f"Correlation with the truth {mean_r:.2f}: {', '.join(f'{name} {shape.r:.2f}' for name, shape in told)}\n")
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        chosen = np.flatnonzero(crops["confidence"] > 0.5)[:PICTURES]
        _picture(weights, model, crops["crop"][chosen], crops["focal_px"][chosen], args.output / "synthetic.png")
    shapes = {name: shape._asdict() for name, shape in blendshapes.items()}
    return {"crops": groups, "levels": capacity, "blendshapes": shapes}


def _sequences(args: argparse.Namespace, trackers: _Trackers) -> Table:
    faces = SyntheticFaces(SyntheticConfig(split="test"))
    with Progress(args.people, "synthetic videos") as progress:
        table = compare_on_sequences(
            faces, trackers, people=args.people, frames=args.frames, on_person=progress.advance
        )
    _print_table(f"Live on {args.people} synthetic videos of {args.frames} frames, 640 x 480", table)
    return table


def _clips(
    args: argparse.Namespace, weights: TrackerWeights, trackers: _Trackers, model: FaceModel
) -> dict[str, Table]:
    report: dict[str, Table] = {}
    for path in args.video:
        clip = read_clip(path)
        with Progress(3 * len(trackers), f"clip {clip.name}") as progress:
            report[clip.name] = measure_clip(clip, trackers, model, on_run=progress.advance)
        _print_table(f"Clip {clip.name}, {len(clip.frames)} frames", report[clip.name])
        if args.output and weights.is_trained:
            args.output.mkdir(parents=True, exist_ok=True)
            crops, focal_px = _cut(clip, trackers["regressor"], weights.regressor.config.size)
            if len(crops):
                _picture(weights, model, crops, focal_px, args.output / f"clip-{clip.name}.png")
    if len(report) > 1:
        _print_table("All clips, means", mean_of_clips(report))
    return report


def _cut(clip: Clip, tracker: LiveTracker, size: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Cut a spread of a clip's frames as the tracker sees them: crops `[N, S, S, 3]` and focal lengths `[N]`."""
    tracker.reset()
    shown = set(np.linspace(0.1 * len(clip.frames), len(clip.frames) - 1, PICTURES).astype(int).tolist())
    crops, focal_px = [], []
    for k, image in enumerate(clip.frames):
        track = tracker.process(image, clip.time_s[k], clip.camera)
        if k in shown and track.state == "tracked":
            crop = Crop.around(track.params, clip.camera, pixels=size)
            crops.append(crop.cut(image, np.zeros((size, size, 3), np.uint8)))
            focal_px.append(crop.camera.focal_px)
    return np.array(crops, np.uint8), np.array(focal_px, np.float32)


def _picture(
    weights: TrackerWeights, model: FaceModel, crops: np.ndarray[Any, Any], focal_px: np.ndarray[Any, Any], path: Path
) -> None:
    with torch.no_grad():
        draw_faces(weights.regressor, FaceFormation(model, weights.levels), crops, focal_px, path)
    print(f"{path}: {', '.join(COLUMNS)}\n")


def mean_of_clips(clips: dict[str, Table]) -> Table:
    """Average each figure of each tracker over clips where it was measured; a failed recovery stays infinite."""
    trackers = dict.fromkeys(name for table in clips.values() for name in table)
    means: Table = {}
    for tracker in trackers:
        rows = [table[tracker] for table in clips.values() if tracker in table]
        names = dict.fromkeys(name for row in rows for name in row)
        means[tracker] = {
            name: float(np.mean(values))
            for name in names
            if (values := [row[name] for row in rows if name in row and not math.isnan(row[name])])
        }
    return means


SLACK = {
    "rotation_deg": 1.1, "gaze_deg": 1.1, "expression": 1.1, "reprojection_percent": 1.25,
    "jitter_percent": 1.1, "frozen_percent": 1.1, "recovery_hand_ms": 1.1, "recovery_absence_ms": 1.1,
}  # fmt: skip
"""How many times the landmarks' figure another tracker may have and be no worse. Reprojection may be a quarter more:
the ruler there is what they are fitted to."""
DEARER = 1.75
"""How many times the landmarks' time both together may take, on two cores: one runs beside the other."""
GAIN = 0.9
"""Share of the landmarks' error in rotation, or of their jitter on real clips, that both must stay under."""


def compare(report: dict[str, Any]) -> Comparison:
    """Choose the tracker by the figures.

    On synthetic videos rotation, gaze and expression count, on real clips reprojection, jitter and recovery. The
    regressor is chosen where it is faster than the landmarks, and no worse in what people would see; both, where that
    is so and they gain by it.
    """
    means = mean_of_clips(report["clips"])
    names = ("landmarks", "regressor", "both")
    of = {name: report["sequences"][name] | means[name] for name in names}
    missing = {"median_ms": math.inf}  # it followed no face
    took = {
        cores: {name: ways.get(f"{name}: frame to parameters", missing)["median_ms"] for name in names}
        for cores, ways in report["speed"].items()
    }
    figures = {"frame_ms": took["1"], "frame_ms_2_cores": took["2"]} | {
        figure: {name: row[figure] for name, row in of.items()}
        for figure in SLACK if all(figure in row for row in of.values())
    }  # fmt: skip

    def losses(name: str, cores: str, dearer: float) -> str:
        one, other = (of[each] | {"frame_ms": took[cores][each]} for each in (name, "landmarks"))
        return ", ".join(
            f"{figure} {one[figure]:.3g} against {other[figure]:.3g}"
            for figure, factor in ({"frame_ms": dearer} | SLACK).items()
            if figure in one and figure in other and not one[figure] <= factor * other[figure] + 1e-9
        )

    if not (worse := losses("regressor", "1", 1.0)):
        gain = took["1"]["landmarks"] / took["1"]["regressor"]
        reason = f"{gain:.1f} times as fast as landmarks and no worse in {len(SLACK)} figures"
        return Comparison("regressor", reason, _finite(figures))
    gains = [
        f"{figure} {of['both'][figure]:.3g} against {of['landmarks'][figure]:.3g}"
        for figure in ("rotation_deg", "jitter_percent") if of["both"][figure] < GAIN * of["landmarks"][figure]
    ]  # fmt: skip
    beside = losses("both", "2", DEARER)
    if gains and not beside:
        return Comparison(
            "both", f"landmarks gain by the regressor beside them: {', '.join(gains)};"
            f" alone it is worse in {worse}", _finite(figures),
        )  # fmt: skip
    reason = f"the regressor is worse in {worse}; beside them {f'in {beside}' if beside else 'it gains nothing'}"
    return Comparison("landmarks", reason, _finite(figures))


def _print_table(title: str, table: Table, *, skip: tuple[str, ...] = ()) -> None:
    columns = [name for name in dict.fromkeys(name for row in table.values() for name in row) if name not in skip]
    width = max(map(len, table)) + 2
    wide = [max(len(column), 8) + 2 for column in columns]
    print(title)
    print(" " * width + "".join(f"{column:>{size}}" for column, size in zip(columns, wide, strict=True)))
    for label, row in table.items():
        cells = [f"{row[c]:{size}.3f}" if c in row else " " * size for c, size in zip(columns, wide, strict=True)]
        print(f"{label:{width}}{''.join(cells)}")
    print()


def _finite(values: Any) -> Any:  # noqa: ANN401 - plain JSON values
    """Replace what JSON has no number for by null."""
    if isinstance(values, dict):
        return {name: _finite(value) for name, value in values.items()}
    return None if isinstance(values, float) and not math.isfinite(values) else values
