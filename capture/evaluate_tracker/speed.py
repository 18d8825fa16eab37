"""How fast each tracker is, on a given number of cores: `python -m capture.evaluate_tracker.speed --cores N`.

A process of its own, because libraries decide on their threads when they start. The ways take turns on the same frames,
so that a busy moment slows all of them; what counts is their ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAMES = 30
"""Pictures of one moving head, used again and again."""
ROUND = 5
"""Frames of one way before it is the next one's turn."""


def speeds_on(cores: int, folder: Path | None, seconds: float) -> dict[str, dict[str, float]]:
    """Measure in a process of its own: of each way the median and the 95th percentile in milliseconds, and the rate.

    Only frames in which a face was followed count; a way that follows none is left out. Raises `RuntimeError` where
    that process fails.
    """
    command = [sys.executable, "-m", "capture.evaluate_tracker.speed", "--cores", str(cores), "--seconds", str(seconds)]
    command += ["--weights", str(folder)] if folder else []
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores), "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"measuring speed on {cores} cores failed: {done.stderr.strip()[-500:]}")
    result: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(cores: int, folder: Path | None, seconds: float) -> dict[str, dict[str, float]]:
    """Measure in this process, held to `cores` cores where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    import torch
    from mediapipe.python.solutions.face_mesh import FaceMesh

    from capture.crop import Crop
    from capture.evaluate_tracker.weights import load_weights
    from capture.face_hint import FaceHint
    from capture.landmarks import LandmarkDetector
    from capture.reading import read_values
    from capture.regression import RegressionTracker
    from capture.regressor_engines import make_regressor_engine
    from capture.tracker import Tracker
    from models.camera import Camera
    from models.face import FaceModel

    torch.set_num_threads(cores)
    model = FaceModel.load()
    weights = load_weights(folder, model)
    frames, params = moving_head(FRAMES)
    camera = Camera.webcam(frames.shape[2], frames.shape[1])
    size = weights.regressor.config.size
    fields = weights.regressor.config.fields
    engine = make_regressor_engine(weights.regressor, threads=cores).engine
    crops = [Crop.around(params[k], camera, pixels=size) for k in range(FRAMES)]
    cut = [crop.cut(frame, np.zeros((size, size, 3), np.uint8)) for crop, frame in zip(crops, frames, strict=True)]
    detector = LandmarkDetector()
    graph = FaceMesh(max_num_faces=1, refine_landmarks=True)
    landmarks, regression = Tracker(model=model), RegressionTracker(model=model, regressor=weights.regressor)
    both = Tracker(model=model, hint=FaceHint(weights.regressor).wait())

    def track(tracker: Tracker | RegressionTracker, k: int) -> bool:
        return tracker.process(frames[k], clock_s, camera).state == "tracked"

    clock_s = 0.0
    ways: dict[str, Callable[[int], bool]] = {
        "regressor: crop to network's answer": lambda k: len(engine.run(cut[k])) > 0,
        "regressor: crop to parameters": lambda k: read_values(engine.run(cut[k]), fields, crops[k]) is not None,
        "regressor: frame to parameters": lambda k: track(regression, k),
        "MediaPipe's graph: frame to landmarks": lambda k: bool(graph.process(frames[k]).multi_face_landmarks),
        "landmarks: frame to landmarks": lambda k: detector.detect(frames[k]) is not None,
        "landmarks: frame to parameters": lambda k: track(landmarks, k),
        "both: frame to parameters": lambda k: track(both, k),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    until = time.perf_counter() + seconds
    turn = 0
    while time.perf_counter() < until or turn < 3:
        for name, way in ways.items():
            for step in range(ROUND):
                k = _there_and_back(turn * ROUND + step)
                clock_s += 1 / 30
                began = time.perf_counter()
                has_face = way(k)
                elapsed = time.perf_counter() - began
                # The first of a turn finds its data out of the cache; without a face there was less to do.
                if turn and step and has_face:
                    taken[name].append(1e3 * elapsed)
        turn += 1
    for resource in (engine, graph, detector, landmarks, regression, both):
        resource.close()
    result = {name: _summary(values) for name, values in taken.items() if values}
    for name, row in result.items():
        row["trained"] = float(weights.is_trained or not name.startswith(("regressor", "both")))
    return result


def moving_head(count: int) -> tuple[NDArray[np.uint8], Any]:
    """Draw a head that turns and speaks in frames `[count, 480, 640, 3]`, with its parameters."""
    from capture.evaluate_tracker.sequences import perform_person
    from capture.synthetic import SyntheticConfig, SyntheticFaces
    from models.params import FaceParams

    faces = SyntheticFaces(SyntheticConfig(split="test", glasses=0.0))
    shots = list(perform_person(faces, number=4, frames=count))
    return np.stack([shot.crop for shot in shots]), FaceParams.stack([shot.params for shot in shots])


def _there_and_back(number: int) -> int:
    """Walk through the frames forwards and backwards: no jump that would call the detector."""
    period = 2 * (FRAMES - 1)
    place = number % period
    return place if place < FRAMES else period - place


def _summary(taken_ms: list[float]) -> dict[str, float]:
    median = float(np.median(taken_ms))
    return {"median_ms": median, "p95_ms": float(np.percentile(taken_ms, 95)), "hz": 1e3 / median}


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--weights", type=Path)
    args = parser.parse_args()
    print(json.dumps(measure(args.cores, args.weights, args.seconds)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
