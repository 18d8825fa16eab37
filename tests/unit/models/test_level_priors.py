"""The regularisers of the levels against slow sums, and what they let pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.face import FaceModel
from models.level_priors import LevelPriors, connected_parts, mesh_edges, mirror_vertices


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return FaceModel.load()


@pytest.fixture(scope="module")
def priors(model: FaceModel) -> LevelPriors:
    return LevelPriors(model)


def test_the_laplacian_takes_the_mean_of_the_neighbours(model: FaceModel, priors: LevelPriors) -> None:
    fields = torch.randn(1, len(model.mean), 3, generator=torch.Generator().manual_seed(0))
    result = priors.laplacian(fields)
    for vertex in (0, 1234, 4955):
        around = np.unique(model.triangles[(model.triangles == vertex).any(1)])
        around = around[around != vertex]
        torch.testing.assert_close(result[0, vertex], fields[0, vertex] - fields[0, around].mean(0))


def test_smoothness_lets_motion_pass_and_not_noise(model: FaceModel, priors: LevelPriors) -> None:
    moved = torch.ones(1, len(model.mean), 3)
    assert float(priors.smoothness(moved)) == pytest.approx(0.0, abs=1e-9)
    assert float(priors.smoothness(torch.randn(1, len(model.mean), 3))) > 1.0


def test_mirrored_twice_is_the_same_vertex(model: FaceModel) -> None:
    mirror = mirror_vertices(model)
    assert (mirror[mirror] == np.arange(len(mirror))).all()
    np.testing.assert_allclose(model.mean[mirror] * [-1, 1, 1], model.mean, atol=1e-3)


def test_symmetry_lets_what_is_the_same_on_both_sides_pass(model: FaceModel, priors: LevelPriors) -> None:
    outwards = torch.from_numpy(np.stack([model.mean - model.mean.mean(0)]))
    shifted = torch.zeros_like(outwards)
    shifted[..., 0] = 0.01
    assert float(priors.symmetry(outwards)) < 1e-6
    assert float(priors.symmetry(shifted)) == pytest.approx(4e-4, rel=1e-3)
    assert float(priors.symmetry(shifted, mirrors=False)) == pytest.approx(0.0, abs=1e-9)


def test_sparsity_counts_edges_only_where_the_picture_has_none(model: FaceModel, priors: LevelPriors) -> None:
    albedo = torch.full((1, len(model.mean), 3), 0.5)
    albedo[:, model.mean[:, 0] > 0] = 0.2
    visible = torch.ones(1, len(model.mean), dtype=torch.bool)
    plain = torch.full_like(albedo, 0.3)
    edged = plain.clone()
    edged[:, model.mean[:, 0] > 0, 0] = 0.9
    one_color = priors.sparsity(albedo, plain, visible)
    assert float(one_color) > 1.1 * float(priors.sparsity(albedo, edged, visible))
    assert float(priors.sparsity(albedo, plain, ~visible)) == 0.0
    # Shading alone is no edge: it leaves chromaticity as it is.
    shaded = plain * torch.linspace(0.5, 1.5, len(model.mean))[None, :, None]
    assert float(priors.sparsity(albedo, shaded, visible)) == pytest.approx(float(one_color), rel=1e-4)


def test_constancy_judges_plain_skin_alone(model: FaceModel, priors: LevelPriors) -> None:
    albedo = torch.rand(2, len(model.mean), 3)
    albedo[:, priors.plain_skin] = 0.4
    assert float(priors.constancy(albedo)) == pytest.approx(0.0, abs=1e-9)
    assert float(priors.constancy(torch.rand(2, len(model.mean), 3))) > 0.1
    assert 300 < len(priors.plain_skin) < 2500


def test_the_mesh_has_skin_tongue_and_two_eyeballs(model: FaceModel) -> None:
    parts = connected_parts(model)
    assert np.bincount(parts).tolist() == [4200, 226, 265, 265]
    assert len(mesh_edges(model.triangles)) == 14763
