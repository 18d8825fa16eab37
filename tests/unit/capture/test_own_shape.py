"""A face that is off the model by a known shape, seen as landmarks from many sides: it is found, and lips meet."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from capture.binding import LandmarkBinding
from capture.face_mesh import COUNT, MESH
from capture.fitting import Fitter
from capture.landmark_model import FREE_NAMES, Fit
from capture.mesh import IRISES
from capture.own_shape import LIPS, PARTING, RINGS, measure_own_shape, spread_over_mesh
from models.camera import Camera, rotation_matrix
from models.face import FaceModel

Array = NDArray[np.float64]

FRAMES = 40
NOISE_PX = 0.5


def smooth_shape(fitter: Fitter) -> Array:
    """Give offsets `[478, 3]`: a wider face with its nose to one side, 2 mm on average; eyes go as a whole."""
    points = fitter.landmarks.mean
    offsets = np.zeros((COUNT, 3))
    offsets[:, 0] = 0.06 * points[:, 0] + 0.003 * bump(points, -0.035)
    for iris, ring in zip(IRISES, RINGS, strict=True):
        offsets[iris] = offsets[list(ring)].mean(0)
    return offsets


def bump(points: Array, height_m: float) -> Array:
    """Give `[478]` how near each landmark lies to the middle line at a height, 1 there and 0 from some 6 cm on."""
    away = points[:, 0] ** 2 + (points[:, 1] - height_m) ** 2
    return np.asarray(np.exp(-away / 0.03**2))


def performance(yaw_rad: float = 0.25) -> list[Fit]:
    """Turn, nod and speak: poses known, expressions to be found."""
    rng, frames = np.random.default_rng(5), []
    for index in range(FRAMES):
        weights = np.zeros(len(FREE_NAMES))
        weights[FREE_NAMES.index("jawOpen")] = max(0.0, 0.5 * np.sin(0.9 * index))
        weights[FREE_NAMES.index("mouthSmileLeft")] = weights[FREE_NAMES.index("mouthSmileRight")] = rng.uniform(0, 0.4)
        angles = np.array([yaw_rad * np.sin(0.6 * index), 0.12 * np.cos(0.8 * index), 0.0], np.float32)
        gaze = np.tile([0.15 * np.sin(1.1 * index), 0.0], (2, 1))
        frames.append(Fit(rotation_matrix(angles).astype(np.float64), np.array([0.0, 0.0, -0.5]), gaze, weights, 0.0))
    return frames


def seen(fitter: Fitter, offsets: Array, frames: list[Fit], camera: Camera) -> list[NDArray[np.float32]]:
    """Give the landmarks `[478, 2]` of a face that is off the average one by `offsets`."""
    neutral, centers = fitter.landmarks.neutral(np.zeros(80))
    moved = np.stack([centers[eye] + offsets[iris].mean(0) for eye, iris in enumerate(IRISES)])
    pictures = []
    for index, fit in enumerate(frames):
        points = camera.project(fitter.landmarks.landmarks(fit, neutral + offsets, moved).astype(np.float32))
        noise = np.random.default_rng(index).normal(0.0, NOISE_PX, points.shape)
        pictures.append((points + noise).astype(np.float32))
    return pictures


def at_rest(frames: list[Fit]) -> list[Fit]:
    """Forget what the frames' expressions are."""
    return [Fit(f.rotation, f.translation, np.zeros((2, 2)), np.zeros(len(FREE_NAMES)), 0.0) for f in frames]


def rms_mm(offsets: Array) -> float:
    return float(1000.0 * np.sqrt((offsets**2).sum(-1).mean()))


def test_a_shape_beyond_the_identity_is_found(fitter: Fitter, camera: Camera) -> None:
    shape = smooth_shape(fitter)
    frames = performance()
    found = measure_own_shape(fitter, seen(fitter, shape, frames, camera), camera, at_rest(frames))
    sideways = (found - shape)[:MESH, :2]
    assert rms_mm(shape[:MESH, :2]) > 1.8
    assert rms_mm(sideways) < 0.35 * rms_mm(shape[:MESH, :2])
    assert np.allclose(fitter.offsets, found)


def test_expressions_are_found_with_the_shape_as_without_one(fitter: Fitter, camera: Camera) -> None:
    frames, high = performance(), np.zeros((COUNT, 3))
    high[:, 1] = 0.003 * bump(fitter.landmarks.mean, -0.075)  # a mouth 3 mm nearer to the nose
    points = seen(fitter, high, frames, camera)
    jaw = FREE_NAMES.index("jawOpen")
    truth = np.array([frame.weights[jaw] for frame in frames])

    def error() -> float:
        fits = [fitter.fit_expression(p, camera, rest) for p, rest in zip(points, at_rest(frames), strict=True)]
        return float(np.abs(np.array([fit.weights[jaw] for fit in fits]) - truth).mean())

    before = error()
    measure_own_shape(fitter, points, camera, at_rest(frames))
    assert error() < 0.6 * before


def test_a_head_that_turns_tells_how_deep_a_landmark_lies(fitter: Fitter, camera: Camera) -> None:
    nose, shape = 4, np.zeros((COUNT, 3))
    near = np.linalg.norm(fitter.landmarks.mean - fitter.landmarks.mean[nose], axis=1) < 0.02
    shape[near, 2] = 0.004
    depths = []
    for yaw in (0.4, 0.0):
        frames = performance(yaw)
        for frame in frames:
            frame.weights[:] = 0.0
        fitter.forget_person()
        depths.append(measure_own_shape(fitter, seen(fitter, shape, frames, camera), camera, at_rest(frames))[nose, 2])
    assert depths[0] > 0.0015
    assert depths[1] < 0.5 * depths[0]


def test_lips_that_were_hardly_ever_seen_shut_meet_at_rest(fitter: Fitter, camera: Camera) -> None:
    upper, lower = np.array(LIPS).T
    parted = performance()
    for frame in parted:
        frame.weights[[FREE_NAMES.index(name) for name in PARTING]] = 0.3
    apart = 0.3 * fitter.landmarks.expression_basis[[FREE_NAMES.index(name) for name in PARTING]].sum(0)
    gap_m = float((apart[upper] - apart[lower])[:, 1].mean())
    found = measure_own_shape(fitter, seen(fitter, np.zeros((COUNT, 3)), parted, camera), camera, at_rest(parted))
    assert gap_m > 0.002
    assert float((found[upper] - found[lower])[:, 1].mean()) < 0.1 * gap_m


def test_without_frames_nothing_changes(fitter: Fitter, camera: Camera) -> None:
    assert not measure_own_shape(fitter, [], camera, []).any()


def test_the_mesh_goes_with_its_landmarks(model: FaceModel, binding: LandmarkBinding, fitter: Fitter) -> None:
    offsets = smooth_shape(fitter)
    moved = spread_over_mesh(offsets, model, binding)
    placed = binding.points(model, moved)[:MESH].astype(np.float64)
    assert rms_mm(placed - offsets[:MESH]) < 0.25 * rms_mm(offsets[:MESH])
    back = model.mean[:, 2] < -0.06  # of the head, which no landmark knows
    assert np.linalg.norm(moved[back], axis=1).mean() < 0.5 * np.linalg.norm(offsets[:MESH], axis=1).mean()


def test_lips_part_on_the_mesh_and_eyeballs_stay_whole(model: FaceModel, binding: LandmarkBinding) -> None:
    upper, lower = np.array(LIPS).T
    offsets = np.zeros((COUNT, 3))
    offsets[upper, 1], offsets[lower, 1] = 0.002, -0.002
    offsets[IRISES[0]] = [0.0, 0.003, 0.0]
    moved = spread_over_mesh(offsets, model, binding)
    placed = binding.points(model, moved)
    assert float((placed[upper] - placed[lower])[:, 1].mean()) > 0.002
    left, right = (moved[vertices] for vertices in model.eye_vertices)
    assert np.allclose(left, [0.0, 0.003, 0.0], atol=1e-6)
    assert not right.any()


def test_offsets_of_another_shape_are_refused(model: FaceModel) -> None:
    with pytest.raises(ValueError, match=r"offsets: expected \[478, 3\], got \[468, 3\]"):
        spread_over_mesh(np.zeros((MESH, 3)), model)
