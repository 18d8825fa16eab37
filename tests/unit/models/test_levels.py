"""The learned levels: kept apart on disk, switched by level, spheres stay spheres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models.face import FaceModel
from models.levels import FaceLevels, LevelsConfig, round_eyeballs

CONFIG = LevelsConfig(geometry=(2, 3), reflectance=(1, 2))


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return FaceModel.load()


def random_levels(model: FaceModel) -> FaceLevels:
    rng = np.random.default_rng(3)

    def basis(size: int) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
        return rng.normal(0, 0.01, (size, *model.mean.shape)).astype(np.float32)

    return FaceLevels((basis(2), basis(3)), (basis(1), basis(2)))


def test_a_level_adds_its_own_basis_and_no_other(model: FaceModel) -> None:
    levels = random_levels(model)
    identity = np.full(80, 0.3, np.float32)
    coefficients = np.array([1.0, -0.5, 0.2, 0.0, 2.0], np.float32)
    base = levels.neutral(model, identity, coefficients, level=0)
    np.testing.assert_array_equal(base, model.neutral(identity))
    smooth = base + levels.geometry[0][0] - 0.5 * levels.geometry[0][1]
    fine = smooth + 0.2 * levels.geometry[1][0] + 2.0 * levels.geometry[1][2]
    np.testing.assert_allclose(levels.neutral(model, identity, coefficients, level=1), smooth, atol=1e-6)
    np.testing.assert_allclose(levels.neutral(model, identity, coefficients, level=2), fine, atol=1e-6)


def test_albedo_is_clipped_after_all_levels(model: FaceModel) -> None:
    levels = random_levels(model)
    levels.reflectance[0][:] = 2.0
    levels.reflectance[1][:] = -2.0
    coefficients = np.array([1.0, 1.0, 0.0], np.float32)
    reflectance = np.zeros(80, np.float32)
    assert (levels.albedo(model, reflectance, coefficients, level=1) == 1.0).all()
    np.testing.assert_allclose(
        levels.albedo(model, reflectance, coefficients), np.clip(model.reflectance_mean, 0, 1), atol=1e-6
    )


def test_empty_levels_change_nothing(model: FaceModel) -> None:
    levels = FaceLevels.empty(model)
    coefficients = np.ones(sum(LevelsConfig().geometry), np.float32)
    np.testing.assert_array_equal(levels.neutral(model, np.zeros(80, np.float32), coefficients), model.mean)


def test_levels_come_back_from_disk_each_a_tensor_of_its_own(model: FaceModel, tmp_path: Path) -> None:
    levels = random_levels(model)
    levels.save(tmp_path / "levels.safetensors")
    tensors = load_file(tmp_path / "levels.safetensors")
    assert set(tensors) == {"geometry_1", "geometry_2", "reflectance_1", "reflectance_2"}
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float16)}
    again = FaceLevels.load(tmp_path / "levels.safetensors")
    assert again.config == CONFIG
    for one, other in zip((*levels.geometry, *levels.reflectance), (*again.geometry, *again.reflectance), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_a_file_that_is_not_what_it_says_is_refused(model: FaceModel, tmp_path: Path) -> None:
    path = tmp_path / "levels.safetensors"
    levels = random_levels(model)
    levels.save(path)
    tensors = load_file(path)
    tensors["geometry_2"] = tensors["geometry_2"][:1]
    save_file(tensors, path, metadata={"config": CONFIG.to_json()})
    with pytest.raises(ValueError, match=r"geometry_2 \[3, V, 3\], got \[1, 4956, 3\]"):
        FaceLevels.load(path)
    save_file(tensors, path)
    with pytest.raises(ValueError, match="sizes of geometry"):
        FaceLevels.load(path)


def test_a_wrong_number_of_coefficients_is_refused(model: FaceModel) -> None:
    with pytest.raises(ValueError, match=r"\[5\], got \[4\]"):
        random_levels(model).neutral(model, np.zeros(80, np.float32), np.zeros(4, np.float32))


def test_eyeballs_stay_spheres(model: FaceModel) -> None:
    offsets = np.random.default_rng(0).normal(0, 0.001, (2, *model.mean.shape)).astype(np.float32)
    offsets += np.array([0.01, 0.0, -0.02], np.float32)
    rounded = round_eyeballs(model, offsets)
    start, stop = model.eye_ranges[1]
    np.testing.assert_array_equal(rounded[:, : model.eye_ranges[0][0]], offsets[:, : model.eye_ranges[0][0]])
    before = model.mean[start:stop] - model.mean[start:stop].mean(0)
    moved = model.mean[start:stop] + rounded[0, start:stop]
    after = moved - moved.mean(0)
    scale = (after * before).sum() / (before**2).sum()
    np.testing.assert_allclose(after, scale * before, atol=2e-6)
    np.testing.assert_allclose(round_eyeballs(model, rounded), rounded, atol=1e-6)
    np.testing.assert_allclose(rounded[:, start:stop].mean(1), offsets[:, start:stop].mean(1), atol=1e-6)
