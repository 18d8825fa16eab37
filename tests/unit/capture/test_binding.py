from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from capture.binding import LandmarkBinding, bind
from models.camera import Camera
from models.face import FaceModel
from tests.unit.capture.conftest import head


def test_irises_lie_on_their_eyeballs_and_all_else_on_the_skin(model: FaceModel, binding: LandmarkBinding) -> None:
    corners = binding.corners(model)
    (left_start, left_stop), (right_start, right_stop) = model.eye_ranges
    assert ((corners[473:] >= left_start) & (corners[473:] < left_stop)).all()
    assert ((corners[468:473] >= right_start) & (corners[468:473] < right_stop)).all()
    assert (model.base_indices[corners[:468]] >= 0).all()


def test_landmarks_are_where_their_names_say(model: FaceModel, binding: LandmarkBinding) -> None:
    points = binding.points(model, model.mean)
    assert points[263, 0] > points[362, 0] > 0 > points[133, 0] > points[33, 0]  # eye corners, left to right
    assert points[10, 1] > points[9, 1] > points[1, 1] > points[13, 1] > points[152, 1]  # forehead to chin
    assert points[1, 2] > points[61, 2] > points[234, 2]  # nose, mouth corner, beside the ear
    np.testing.assert_allclose(points[13], points[14], atol=0.003)  # closed lips
    mirrored = points[[61, 33, 133, 159, 145]] * [-1, 1, 1]
    np.testing.assert_allclose(mirrored, points[[291, 263, 362, 386, 374]], atol=0.006)


def test_weights_are_a_partition_of_one(binding: LandmarkBinding) -> None:
    np.testing.assert_allclose(binding.barycentric.sum(1), 1.0, atol=1e-5)
    assert (binding.barycentric >= -1e-6).all()
    assert (binding.spread_m > 0).all()
    assert np.median(binding.spread_m) < 0.004


def test_binding_finds_known_points_again(model: FaceModel, binding: LandmarkBinding) -> None:
    camera = Camera.webcam(640, 640)
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(12):
        rotation = rng.uniform(-0.4, 0.4, 3)
        gaze = np.tile(rng.uniform(-0.3, 0.3, 2), (2, 1))
        weights = rng.uniform(0, 0.4, 52) * (rng.random(52) < 0.2)
        pictures.append(camera.project(model.view_vertices(head(rotation=rotation, gaze=gaze, expression=weights))))
    vertices = np.stack(pictures)
    landmarks = binding.points(model, vertices)
    landmarks[3] += 40.0  # the detector lost one
    found = bind(model, vertices, landmarks, np.full(len(vertices), 0.6 / 640, np.float32), rounds=2)
    distance = np.linalg.norm(found.points(model, model.mean) - binding.points(model, model.mean), axis=1)
    assert np.median(distance) < 0.001
    assert np.quantile(distance, 0.95) < 0.004


def test_a_damaged_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "binding.safetensors"
    save_file({"triangle": np.zeros(478, np.int32), "barycentric": np.zeros((478, 2), np.float32)}, path)
    with pytest.raises(ValueError, match=r"expected barycentric \[478, 3\], got \(478, 2\)"):
        LandmarkBinding.load(path)


def test_saves_what_it_loads(binding: LandmarkBinding, tmp_path: Path) -> None:
    binding.save(tmp_path / "copy.safetensors")
    copy = LandmarkBinding.load(tmp_path / "copy.safetensors")
    np.testing.assert_array_equal(copy.triangle, binding.triangle)
    np.testing.assert_array_equal(copy.barycentric, binding.barycentric)
    np.testing.assert_array_equal(copy.spread_m, binding.spread_m)
