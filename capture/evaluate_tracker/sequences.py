"""Both live trackers on synthetic videos whose every parameter is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from capture.binding import LandmarkBinding
from capture.landmarks import LandmarkDetector
from capture.mesh import Mesh
from capture.rotation import rotation_vector
from capture.synthetic import SyntheticFace, SyntheticFaces
from capture.synthetic.light import random_light
from capture.track import Track
from capture.train_tracker.judge import correlation
from capture.train_tracker.supervision import FREE
from models.build.milo.performance import Performance, PerformanceSettings, perform
from models.camera import Camera, rotation_matrix
from models.params import BLINKS, FaceParams

Array = NDArray[np.float64]

SETTLING_FRAMES = 12
"""First frames of a video that do not count: trackers meet the person."""
FPS = 30.0
OPEN_BLINK = 0.5
"""Gaze counts where the lid is less shut than this."""
LEAST_MOVE = 0.03
"""Standard deviation from which a weight moves in a video."""
EYES = (468, 473)
"""Landmarks in the middle of the irises: errors on the picture are in shares of their distance."""


class LiveTracker(Protocol):
    """What both trackers offer."""

    def process(self, image: NDArray[np.uint8], time_s: float, camera: Camera | None = None) -> Track:
        """Track one frame."""
        ...

    def reset(self) -> None:
        """Forget the person."""
        ...


def perform_person(
    faces: SyntheticFaces, *, number: int, frames: int, width: int = 640, height: int = 480
) -> Iterator[SyntheticFace]:
    """Draw a video of person `number`: they talk, look about, blink and move; light and background stand still."""
    seed = [faces.config.seed, 211, number]
    rng = np.random.default_rng(seed)
    scene = faces.person(rng)
    camera = Camera.webcam(width, height)
    motion = _motion(number)
    start = int(rng.integers(0, len(motion) - frames))
    base = faces.frame_params(scene, motion.expression[start], camera, rng, head_px=(170, 300))
    light = random_light(rng, is_test=faces.config.split == "test")
    background = faces.backdrop(rng, camera)
    # The performance moves about a pose that is its own for each person.
    pose = base.rotation * 0.5
    for k in range(frames):
        at = start + k
        angles = pose + np.deg2rad(motion.pose_deg[at]) * np.float32(1.2)
        eyes = np.deg2rad(motion.gaze_deg[at]) - 0.3 * pose[:2]
        params = base.replace(
            expression=motion.expression[at],
            rotation=angles.astype(np.float32),
            translation=(base.translation + motion.translation_m[at][[0, 2, 1]] * (1, 1, -1)).astype(np.float32),
            gaze=np.stack([eyes, eyes]).astype(np.float32),
        )
        yield faces.draw(
            scene, params, light, camera, np.random.default_rng([*seed, 1]), background=background, number=k
        )


def _motion(number: int) -> Performance:
    settings = PerformanceSettings(
        seed=100 + number, rest_s=1.0, combined_shapes=4, sweep_s=4.0, gaze_s=3.0, talk_s=8.0, test_row=8, test_spread=8
    )
    return perform(settings)


def compare_on_sequences(
    faces: SyntheticFaces,
    trackers: Mapping[str, LiveTracker],
    *,
    people: int,
    frames: int,
    on_person: Callable[[], None] = lambda: None,
) -> dict[str, dict[str, float]]:
    """Run trackers over the same videos: per tracker the mean of each error, and MediaPipe's own landmarks.

    Rotation and gaze in degrees, translation in percent of the distance, expression as mean absolute error of the 44
    blendshapes and `expression_r` as the correlation of those that move, landmarks in percent of the eye distance,
    `tracked` as the share of frames with a face. Parameters are compared as the trackers give them live: smoothed, and
    with what they have learned of the person by then. For what `..._from_rest` means see `errors_from_rest`.
    """
    mesh = Mesh(faces.model, LandmarkBinding.load())
    camera = Camera.webcam(640, 480)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in [*trackers, "MediaPipe"]}
    with LandmarkDetector() as detector:
        for person in range(people):
            detector.reset()
            for tracker in trackers.values():
                tracker.reset()
            said: dict[str, list[tuple[FaceParams, FaceParams]]] = {name: [] for name in trackers}
            for k, shot in enumerate(perform_person(faces, number=person, frames=frames)):
                found = detector.detect(shot.crop)
                truth = shot.landmarks.astype(np.float64)
                unit = float(np.linalg.norm(truth[EYES[0]] - truth[EYES[1]]))
                for name, tracker in trackers.items():
                    track = tracker.process(shot.crop, k / FPS, camera)
                    if k >= SETTLING_FRAMES:
                        rows[name].append(errors(track, shot.params))
                        if track.state == "tracked":
                            rows[name][-1] |= _apart(mesh.project(track.params, camera), truth, unit)
                            said[name].append((track.params, shot.params))
                if k >= SETTLING_FRAMES:
                    seen = found is not None
                    row = _apart(found.points_px, truth, unit) if found is not None else {}
                    rows["MediaPipe"].append({"tracked": float(seen), **row})
            for name, pairs in said.items():
                rows[name].append(errors_from_rest(pairs))
            on_person()
    return {name: _means(of_one) for name, of_one in rows.items()}


def errors(track: Track, truth: FaceParams) -> dict[str, float]:
    """Compare one frame; only `tracked` where no face was followed."""
    if track.state != "tracked":
        return {"tracked": 0.0}
    params = track.params
    off = np.abs(params.expression - truth.expression)
    row = {
        "tracked": 1.0,
        "rotation_deg": float(np.rad2deg(np.linalg.norm(_turn(params, truth)))),
        "translation_percent": float(100 * np.linalg.norm(_shift(params, truth))),
        "expression": float(off[FREE].mean()),
    }
    is_open = truth.expression[BLINKS] < OPEN_BLINK
    if is_open.any():
        row["gaze_deg"] = float(np.rad2deg(_sight_angle(params.gaze, truth.gaze)[is_open].mean()))
    return row


def errors_from_rest(pairs: Sequence[tuple[FaceParams, FaceParams]]) -> dict[str, float]:
    """Compare what was said of one person's frames with the truth once the lasting error for that person is taken off.

    It is what a target makes of them: it moves by how far a source is from its own face at rest, as the tracker has it,
    and what is always wrong by the same amount is wrong there too.
    """
    turns, glances, opened, shifts = [], [], [], []
    for said, truth in pairs:
        turns.append(_turn(said, truth))
        shifts.append(_shift(said, truth))
        glances.append(said.gaze.astype(np.float64) - truth.gaze)
        opened.append(truth.expression[BLINKS] < OPEN_BLINK)
    row = {}
    if turns:
        row["rotation_from_rest_deg"] = float(np.rad2deg(np.linalg.norm(turns - np.mean(turns, 0), axis=1).mean()))
        if not np.isnan(told := _told(pairs)):
            row["expression_r"] = told
        row["translation_from_rest_percent"] = float(100 * np.linalg.norm(shifts - np.mean(shifts, 0), axis=1).mean())
    is_seen = np.reshape(opened, (-1, 2, 1))
    if is_seen.any():
        gaze = np.reshape(glances, (-1, 2, 2))
        lasting = (is_seen * gaze).sum(0) / np.maximum(is_seen.sum(0), 1.0)
        left = is_seen * np.linalg.norm(gaze - lasting, axis=2, keepdims=True)
        row["gaze_from_rest_deg"] = float(np.rad2deg(left.sum() / is_seen.sum()))
    return row


def _told(pairs: Sequence[tuple[FaceParams, FaceParams]]) -> float:
    """Give Pearson's r of the weights that move, over one person's frames, on average; NaN where none does."""
    said, truth = np.array([[one.expression[FREE] for one in pair] for pair in pairs]).transpose(1, 0, 2)
    moves = truth.std(0) > LEAST_MOVE
    told = correlation(*(torch.from_numpy(weights[:, moves]) for weights in (said, truth)))
    return float(told.nan_to_num(0.0).mean())  # who never moves a weight tells nothing of it


def _turn(said: FaceParams, truth: FaceParams) -> Array:
    """Give the rotation `[3]`, axis times angle in the head frame, from the true pose to the one that was said."""
    matrix, true = (rotation_matrix(one.rotation).astype(np.float64) for one in (said, truth))
    return np.asarray(rotation_vector(true.T @ matrix))


def _shift(said: FaceParams, truth: FaceParams) -> Array:
    """Give how far off the head's place `[3]` was said to be, as shares of its true distance."""
    return np.asarray((said.translation.astype(np.float64) - truth.translation) / np.linalg.norm(truth.translation))


def _sight_angle(one: NDArray[np.float32], other: NDArray[np.float32]) -> Array:
    """Give the angle `[2]` between lines of sight `[2, 2]` (yaw, pitch)."""
    lines = []
    for gaze in (one, other):
        yaw, pitch = gaze.astype(np.float64).T
        lines.append(np.stack([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)], -1))
    return np.asarray(np.arccos(np.clip((lines[0] * lines[1]).sum(-1), -1, 1)))


def _apart(points: NDArray[np.float32], truth: Array, unit: float) -> dict[str, float]:
    return {"landmarks_percent": float(100 * np.linalg.norm(points - truth, axis=1).mean() / unit)}


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
