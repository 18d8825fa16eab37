"""Image formation in PyTorch against the NumPy path that renders live."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from capture.deformation import Deformation
from capture.formation import FaceFormation, linear_to_srgb, posed, project, sample_image, srgb_to_linear
from models import illumination
from models.camera import Camera, rotation_matrix
from models.face import FaceModel
from models.levels import FaceLevels
from models.params import FaceParams


def random_heads(count: int) -> FaceParams:
    rng = np.random.default_rng(5)
    heads = []
    for _ in range(count):
        expression = rng.uniform(0, 1, 52) * (rng.uniform(size=52) < 0.3)
        expression[10:18] = 0.0
        light = np.zeros((3, 9))
        light[:, 0] = 3.0
        heads.append(
            FaceParams.neutral().replace(
                identity=rng.normal(size=80).astype(np.float32),
                expression=expression.astype(np.float32),
                reflectance=rng.normal(size=80).astype(np.float32),
                illumination=(light + 0.8 * rng.normal(size=(3, 9))).astype(np.float32),
                rotation=rng.normal(0, 0.4, 3).astype(np.float32),
                translation=np.array([0.05, -0.03, -0.7], np.float32) + rng.normal(0, 0.02, 3).astype(np.float32),
                gaze=rng.normal(0, 0.3, (2, 2)).astype(np.float32),
            )
        )
    return FaceParams.stack(heads)


def random_levels(model: FaceModel) -> FaceLevels:
    rng = np.random.default_rng(0)
    shape = model.mean.shape
    sizes = ((3, 1e-3), (2, 5e-4), (2, 0.02), (2, 0.01))
    a, b, c, d = (rng.normal(0, scale, (size, *shape)).astype(np.float32) for size, scale in sizes)
    return FaceLevels((a, b), (c, d))


def tensors(params: FaceParams) -> dict[str, torch.Tensor]:
    values = {name: torch.from_numpy(array) for name, array in params.fields().items()}
    values["rotation"] = torch.from_numpy(rotation_matrix(params.rotation))
    return values


def test_formation_agrees_with_the_live_path(model: FaceModel) -> None:
    params, size, focal = random_heads(3), 128, 160.0
    camera = Camera(width=size, height=size, focal_px=focal, center_px=(size / 2, size / 2))
    formation, given = FaceFormation(model), tensors(params)
    formed = formation(
        formation.neutral(given["identity"]), formation.albedo(given["reflectance"]), given["expression"],
        given["gaze"], given["illumination"], given["rotation"], given["translation"], torch.full((3,), focal), size,
    )  # fmt: skip
    for i in range(3):
        vertices = model.view_vertices(params[i])
        np.testing.assert_allclose(formed.vertices[i].numpy(), vertices, atol=1e-5)
        np.testing.assert_allclose(formed.pixels[i].numpy(), camera.project(vertices), atol=5e-3)
        normals = illumination.vertex_normals(vertices, model.triangles)
        # Slivers in the mouth turn with the last digit of a vertex; all others agree.
        assert np.quantile(np.abs(formed.normals[i].numpy() - normals), 0.99) < 1e-4
        np.testing.assert_array_equal(formed.albedo[i].detach() >= 0, True)
        shaded = illumination.shade(model.albedo(params[i].reflectance), normals, params[i].illumination)
        color = formed.color[i].numpy()
        assert np.quantile(np.abs(color - shaded), 0.99) < 1e-4
        np.testing.assert_allclose(
            linear_to_srgb(formed.color[i]).clamp(0, 1).numpy(), illumination.linear_to_srgb(color), atol=1e-5
        )
        front = (vertices * normals).sum(1) < 0
        assert ((formed.facing[i].numpy() > 0) == front).mean() > 0.999


def test_levels_agree_and_come_back(model: FaceModel) -> None:
    levels, params = random_levels(model), random_heads(1)
    formation, given = FaceFormation(model, levels), tensors(params)
    geometry, reflectance = np.array([0.5, -1, 2, 0.3, -0.4], np.float32), np.array([1, -1, 0.5, 2], np.float32)
    for level in (0, 1, 2):
        neutral = formation.neutral(given["identity"]) + formation.geometry_correction(
            torch.from_numpy(geometry[None]), level
        )
        wanted = levels.neutral(model, params[0].identity, geometry, level)
        np.testing.assert_allclose(neutral[0].detach().numpy(), wanted, atol=1e-6)
        albedo = formation.albedo(given["reflectance"]) + formation.reflectance_correction(
            torch.from_numpy(reflectance[None]), level
        )
        wanted = levels.albedo(model, params[0].reflectance, reflectance, level)
        np.testing.assert_allclose(albedo[0].detach().clamp(0, 1).numpy(), wanted, atol=1e-5)
    assert formation.config == levels.config
    np.testing.assert_allclose(formation.levels().geometry[1], levels.geometry[1], rtol=1e-5)
    formation.hold_eyeballs()
    start, stop = model.eye_ranges[0]
    assert not formation.levels().reflectance[0][:, start:stop].any()
    np.testing.assert_allclose(
        formation.levels().geometry[0][:, start:stop].mean(1), levels.geometry[0][:, start:stop].mean(1), atol=1e-6
    )


def test_gradients_reach_every_parameter_and_are_right(model: FaceModel) -> None:
    """A step along the gradient changes a smooth sum of the picture as the gradient says."""
    formation, given = FaceFormation(model, random_levels(model)), tensors(random_heads(1))
    image = torch.rand(1, 3, 8, 8).repeat_interleave(16, 2).repeat_interleave(16, 3)
    names = ("identity", "expression", "reflectance", "illumination", "translation", "gaze")

    def value(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        formed = formation(
            formation.neutral(inputs["identity"]), formation.albedo(inputs["reflectance"]), inputs["expression"],
            inputs["gaze"], inputs["illumination"], given["rotation"], inputs["translation"], torch.tensor([150.0]),
            128,
        )  # fmt: skip
        total: torch.Tensor = (formed.color - sample_image(image, formed.pixels)).square().mean()
        return total + formed.pixels.square().mean() * 1e-4

    inputs = {name: given[name].clone().requires_grad_(True) for name in names}
    value(inputs).backward()  # type: ignore[no-untyped-call]
    for name in names:
        gradient = inputs[name].grad
        assert gradient is not None
        assert float(gradient.norm()) > 0
        step = 2e-3 * gradient / gradient.norm() * (0.05 if name == "translation" else 1.0)
        with torch.no_grad():
            ahead = value({**given, name: given[name] + step})
            behind = value({**given, name: given[name] - step})
        assert float((ahead - behind) / (2 * (step * gradient).sum())) == pytest.approx(1.0, abs=0.15), name


def test_sampling_reads_pixel_centres_and_continues_edges() -> None:
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    pixels = torch.tensor([[[0.5, 0.5], [3.5, 2.5], [1.0, 0.5], [1.5, 1.0], [-3.0, 1.5], [9.0, 9.0]]])
    torch.testing.assert_close(sample_image(image, pixels)[0, :, 0], torch.tensor([0.0, 11.0, 0.5, 3.0, 4.0, 11.0]))


def test_projection_puts_what_is_ahead_in_the_middle() -> None:
    points = torch.tensor([[[0.0, 0.0, -1.0], [0.1, 0.1, -1.0]]])
    pixels = project(posed(points, torch.eye(3)[None], torch.zeros(1, 3)), torch.tensor([200.0]), 128)
    torch.testing.assert_close(pixels[0], torch.tensor([[64.0, 64.0], [84.0, 44.0]]))


def test_colours_decode_and_encode_as_in_numpy() -> None:
    color = torch.linspace(0, 1, 101)
    np.testing.assert_allclose(srgb_to_linear(color).numpy(), illumination.srgb_to_linear(color.numpy()), atol=1e-6)
    torch.testing.assert_close(linear_to_srgb(srgb_to_linear(color)), color, atol=1e-5, rtol=0)


def test_a_part_of_a_head_moves_as_it_does_within_the_whole(model: FaceModel) -> None:
    rng = np.random.default_rng(5)
    wanted = rng.choice(len(model.mean), 200, replace=False)
    part, whole = Deformation(model, wanted), Deformation(model)
    assert set(wanted) <= set(part.at.tolist())
    assert len(part.at) < len(model.mean) // 4
    neutral = torch.from_numpy(model.mean + rng.normal(0, 1e-3, (3, *model.mean.shape)).astype(np.float32))
    expression = torch.from_numpy(rng.uniform(0, 1, (3, 52)).astype(np.float32))
    gaze = torch.from_numpy(rng.uniform(-0.4, 0.4, (3, 2, 2)).astype(np.float32))
    moved = whole(neutral, expression, gaze)
    assert float((moved - neutral).norm(dim=2).amax()) > 0.005
    torch.testing.assert_close(part(neutral[:, part.at], expression, gaze), moved[:, part.at], atol=1e-6, rtol=0)
