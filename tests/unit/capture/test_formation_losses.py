"""The self-supervised losses: none where the picture is explained, some where it is not, gradients that explain it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from capture.binding import LandmarkBinding
from capture.formation import FaceFormation, linear_to_srgb
from capture.formation_losses import FormationLosses, LossWeights, VisibleVertices
from models.camera import rotation_matrix
from models.face import FaceModel
from models.levels import FaceLevels, LevelsConfig
from models.params import SH_BAND0
from models.rasterize import Rasterizer
from models.regressor import Regressed, place

SIZE, FOCAL_PX = 96, 240.0
SIZES = LevelsConfig(geometry=(2, 2), reflectance=(1, 1))


@pytest.fixture(scope="module")
def formation(model: FaceModel) -> FaceFormation:
    rng = np.random.default_rng(2)
    smooth = np.sin(model.mean @ rng.normal(0, 40, (3, 6))).T[:, :, None] * rng.normal(0, 1, (6, 1, 3))
    smooth = smooth.astype(np.float32)
    return FaceFormation(
        model, FaceLevels((1e-3 * smooth[:2], 5e-4 * smooth[2:4]), (0.03 * smooth[4:5], 0.02 * smooth[5:]))
    )


@pytest.fixture(scope="module")
def losses(model: FaceModel, binding: LandmarkBinding) -> FormationLosses:
    return FormationLosses(model, binding, LossWeights())


def said(seed: int = 0, **changes: torch.Tensor) -> Regressed:
    rng = np.random.default_rng(seed)
    rotation = torch.from_numpy(rotation_matrix(rng.normal(0, 0.25, (2, 3)).astype(np.float32)))
    light = torch.zeros(2, 3, 9)
    light[:, :, 0], light[:, :, 2] = 0.9 / SH_BAND0, 0.5
    values = {
        "identity": torch.from_numpy(rng.normal(0, 0.7, (2, 80)).astype(np.float32)),
        "expression": torch.zeros(2, 52),
        "reflectance": torch.from_numpy(rng.normal(0, 0.5, (2, 80)).astype(np.float32)),
        "illumination": light,
        "rotation": rotation,
        "place": place(torch.tensor([[0.0, 0.02, -0.65]]).repeat(2, 1), rotation, FOCAL_PX, SIZE),
        "gaze": torch.zeros(2, 2, 2),
        "geometry_levels": torch.from_numpy(rng.normal(0, 1, (2, 4)).astype(np.float32)),
        "reflectance_levels": torch.from_numpy(rng.normal(0, 1, (2, 2)).astype(np.float32)),
        "confidence": torch.zeros(2),
    }
    return Regressed(**(values | changes))


def draw(losses: FormationLosses, formation: FaceFormation, what: Regressed) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the picture of `what` and give its landmarks."""
    with torch.no_grad():
        _, full = losses.form(formation, what, torch.full((2,), FOCAL_PX), SIZE)
    images = np.full((2, 3, SIZE, SIZE), 0.3, np.float32)
    rasterizer = Rasterizer(formation.model.triangles, SIZE, SIZE)
    for i in range(2):
        rasterizer.draw(full.pixels[i].numpy(), -full.vertices[i, :, 2].numpy())
        rasterizer.interpolate(linear_to_srgb(full.color[i]).clamp(0, 1).numpy(), images[i])
    points = (full.pixels[:, losses.corners] * losses.barycentric[None, :, :, None]).sum(2)
    return torch.from_numpy(images), points


def total(losses: FormationLosses, formation: FaceFormation, what: Regressed, truth: Regressed) -> dict[str, float]:
    image, points = draw(losses, formation, truth)
    with torch.no_grad():
        terms = losses(formation, what, image, torch.full((2,), FOCAL_PX), points)
    return {name: float(term) for name, term in terms.items()}


def test_the_truth_explains_its_own_picture_best(losses: FormationLosses, formation: FaceFormation) -> None:
    right = said()
    exact = total(losses, formation, right, right)
    assert exact["landmarks"] < 0.3 * 0.02
    for change in (
        {"place": right.place + torch.tensor([0.03, 0.0, 0.0])},
        {"illumination": right.illumination * 0.7},
        {"reflectance": right.reflectance + 1.0},
        {"reflectance_levels": -right.reflectance_levels},
    ):
        off = total(losses, formation, dataclasses.replace(right, **change), right)
        assert off["photometric"] > 1.05 * exact["photometric"], change.keys()
    moved = dataclasses.replace(right, place=right.place + torch.tensor([0.05, 0.0, 0.0]))
    # A twentieth of half a crop is 2.4 pixels, nearly the same for every landmark.
    assert total(losses, formation, moved, right)["landmarks"] == pytest.approx(0.3 * 0.05 * SIZE / 2, rel=0.1)


def test_descent_on_the_losses_finds_pose_and_light(losses: FormationLosses, formation: FaceFormation) -> None:
    right = said(reflectance_levels=torch.zeros(2, 2), geometry_levels=torch.zeros(2, 4))
    image, points = draw(losses, formation, right)
    focal = torch.full((2,), FOCAL_PX)
    start = {"place": right.place + torch.tensor([0.04, -0.03, 0.03]), "illumination": right.illumination * 0.8}
    free = {name: value.clone().requires_grad_(True) for name, value in start.items()}
    optimizer = torch.optim.Adam(
        [{"params": [free["place"]], "lr": 4e-3}, {"params": [free["illumination"]], "lr": 0.04}]
    )
    for _ in range(40):
        terms = losses(formation, dataclasses.replace(right, **free), image, focal, points)
        optimizer.zero_grad()
        (terms["photometric"] + terms["landmarks"]).backward()
        optimizer.step()
    found, before = free["place"].detach(), start["place"] - right.place
    assert float((found - right.place).abs().mean()) < 0.4 * float(before.abs().mean())
    # Directions of light that hardly differ on a face are exchanged for each other: how bright it is, is known.
    bright = free["illumination"].detach()[:, :, 0]
    assert float((bright - right.illumination[:, :, 0]).abs().mean()) < 0.4 * 0.2 * 0.9 / SH_BAND0


def test_hidden_vertices_do_not_count(losses: FormationLosses, formation: FaceFormation, model: FaceModel) -> None:
    right = said(1)
    image, points = draw(losses, formation, right)
    focal = torch.full((2,), FOCAL_PX)
    covered = image.clone()
    covered[:, :, :, : SIZE // 2] = 0.0
    with torch.no_grad():
        _, full = losses.form(formation, right, focal, SIZE)
        seen = torch.from_numpy(VisibleVertices(model, SIZE).find(full))
        uncovered = seen & (full.pixels[:, :, 0] > SIZE / 2 + 1)
        everything = losses(formation, right, covered, focal, points, seen)["photometric"]
        rest = losses(formation, right, covered, focal, points, uncovered)["photometric"]
    assert float(rest) < 0.5 * float(everything)
    # What looks away from the camera is not seen, but for corners of triangles at the rim; most of what faces it, is.
    assert seen[full.facing < -0.3].float().mean() < 0.03
    front = full.facing > 0.5
    front[:, ~losses.priors.face] = False
    assert seen[front].float().mean() > 0.7


def test_regularisers_follow_the_bases(losses: FormationLosses, model: FaceModel) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1e-3, (6, *model.mean.shape)).astype(np.float32)
    flat = FaceFormation(
        model, FaceLevels((np.full_like(noise[:2], 1e-3), np.zeros_like(noise[:2])), (noise[4:5], noise[5:]))
    )
    rough = FaceFormation(model, FaceLevels((noise[:2], noise[2:4]), (noise[4:5], noise[5:])))
    smooth, uneven = losses.regularise(flat), losses.regularise(rough)
    assert float(smooth["smoothness"].detach()) == pytest.approx(0.0, abs=1e-6)
    assert float(uneven["smoothness"].detach()) > 0.1
    uneven["smoothness"].backward()  # type: ignore[no-untyped-call]
    gradient = rough.geometry_levels[0].grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0


def test_weights_below_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="smoothness"):
        LossWeights(smoothness=(0.1, -1.0))
