"""Real faces: clips out of a registry, skipped with the reason where none can be fetched."""

from __future__ import annotations

import numpy as np
import pytest

from capture.binding import LandmarkBinding
from capture.follow import follow_correlation, measure
from capture.landmarks import LandmarkDetector
from capture.tracker import Track, Tracker
from models.camera import Camera, rotation_matrix
from models.face import FaceModel
from models.params import FaceParams
from tests.clips import FOLLOWS, clip_path, read_frames


def track(name: str, model: FaceModel, limit: int | None = None) -> list[Track]:
    with Tracker(model=model) as tracker:
        return [tracker.process(image, time_s) for time_s, image in read_frames(clip_path(name), limit=limit)]


def longest(tracks: list[Track], state: str) -> int:
    best = run = 0
    for one in tracks:
        run = run + 1 if one.state == state else 0
        best = max(best, run)
    return best


@pytest.mark.parametrize(
    ("name", "first", "last"), [("face_noface.mov", "tracked", "absent"), ("noface_face.mov", "absent", "tracked")]
)
def test_a_face_leaves_and_a_face_enters(model: FaceModel, name: str, first: str, last: str) -> None:
    tracks = track(name, model)
    assert tracks[5].state == first
    assert {one.state for one in tracks[-15:]} & {last}
    assert longest(tracks, "tracked") > 20


def test_nobody_is_nobody(model: FaceModel) -> None:
    tracks = track("no_face.mp4", model, limit=60)
    assert np.mean([one.state == "absent" for one in tracks]) > 0.95


def test_the_fitted_face_follows_the_source(model: FaceModel, binding: LandmarkBinding) -> None:
    """Someone else's landmarks, moved by the fitted parameters relative to rest, follow those of the source."""
    tracks, source, output = [], [], []
    with LandmarkDetector() as detector, Tracker(model=model, detects=False) as tracker:
        for time_s, image in read_frames(clip_path()):
            found = detector.detect(image)
            tracks.append(tracker.process_landmarks(found, time_s, Camera.webcam(image.shape[1], image.shape[0])))
            if found is not None:
                source.append(np.column_stack([found.points_px, found.depth_px]))
    assert len(source) > 0.99 * len(tracks)
    camera = Camera.webcam(256, 256)
    other = model.neutral(np.random.default_rng(4).normal(0, 0.7, 80).astype(np.float32))
    for one in tracks:
        if one.state != "tracked":
            continue
        moved, rest = one.params, one.neutral
        params = FaceParams.neutral().replace(
            expression=np.clip(moved.expression - rest.expression, 0.0, 1.0),
            gaze=moved.gaze - rest.gaze,
            rotation=moved.rotation - rest.rotation,
        )
        points = binding.points(model, model.vertices(params, other)) @ rotation_matrix(params.rotation).T
        points = (points + np.array([0.0, 0.0, -0.6], np.float32)).astype(np.float32)
        output.append(np.column_stack([camera.project(points), -points[:, 2] * camera.focal_px / 0.6]))
    series = [measure(np.array(points)[..., :2], np.array(points)[..., 2]) for points in (source, output)]
    followed = follow_correlation(series[0], series[1], fps=24.0)
    for name, limit in FOLLOWS.items():
        assert followed[name].correlation > limit, name
