from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.camera import rotation_matrix
from models.eye_windows import CORNERS, EYE_POINTS
from models.framing import ANCHOR_M, HEAD_M, place_in_crop, translation_in_crop
from models.params import EXPRESSION_INDEX, EXPRESSION_REACH
from models.regressor import FaceRegressor, RegressorConfig, place, rotation_from_six, translation

SMALL = RegressorConfig(
    size=128, widths=(4, 4, 8, 8), narrow=4, eye_window=(16, 24), eye_widths=(4, 4, 8), summary_channels=(4, 4),
    code=(16, 8), solver=(16, 16, 16), geometry_levels=(3, 5), reflectance_levels=(2, 4),
)  # fmt: skip


def rotations(count: int) -> torch.Tensor:
    angles = np.random.default_rng(1).uniform(-0.8, 0.8, (count, 3)).astype(np.float32)
    return torch.from_numpy(rotation_matrix(angles))


def multiply_adds(regressor: FaceRegressor) -> int:
    total = 0

    def count(module: nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        total += weight.numel() * (out.shape[2] * out.shape[3] if isinstance(module, nn.Conv2d) else 1)

    for module in regressor.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    regressor.eval()(torch.zeros(1, 3, regressor.config.size, regressor.config.size))
    return total


def test_costs_less_than_150_mflop() -> None:
    assert 50e6 < 2 * multiply_adds(FaceRegressor()) < 150e6


def test_outputs_have_their_shapes_and_a_fresh_network_shows_the_average_face() -> None:
    regressor = FaceRegressor(SMALL).eval()
    raw = regressor(torch.rand(3, 3, 128, 128))
    assert raw.shape == (3, SMALL.outputs)
    said = regressor.split(raw * 0)
    assert said.identity.shape == said.reflectance.shape == (3, 80)
    assert said.expression.shape == (3, 52)
    assert said.illumination.shape == (3, 3, 9)
    assert said.gaze.shape == (3, 2, 2)
    assert said.geometry_levels.shape == (3, 8)
    assert said.reflectance_levels.shape == (3, 6)
    assert said.confidence.shape == (3,)
    torch.testing.assert_close(said.rotation, torch.eye(3).expand(3, 3, 3))
    depth = -said.translation(500.0, 128)[:, 2] - ANCHOR_M[2]
    torch.testing.assert_close(depth, torch.full((3,), HEAD_M * 500.0 / 128))


def test_fields_partition_the_raw_vector() -> None:
    ends = [0]
    for where in SMALL.fields.values():
        assert where.start == ends[-1]
        ends.append(where.stop)
    assert ends[-1] == SMALL.outputs


def test_six_numbers_of_a_rotation_give_it_back() -> None:
    rotation = rotations(20)
    six = rotation.transpose(1, 2)[:, :2].reshape(20, 6)
    torch.testing.assert_close(rotation_from_six(six * torch.rand(20, 1).add(0.5)), rotation)
    crooked = rotation_from_six(torch.randn(20, 6))
    torch.testing.assert_close(crooked @ crooked.transpose(1, 2), torch.eye(3).expand(20, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(crooked), torch.ones(20))


def test_place_and_translation_are_inverse() -> None:
    rotation = rotations(8)
    metres = torch.randn(8, 3) * torch.tensor([0.1, 0.1, 0.2]) - torch.tensor([0.0, 0.0, 0.9])
    focal = torch.linspace(200, 900, 8)
    torch.testing.assert_close(translation(place(metres, rotation, focal, 128), rotation, focal, 128), metres)
    for index in range(8):  # and the same as without PyTorch
        turn = rotation[index].double().numpy()
        seen = place_in_crop(metres[index].double().numpy(), turn, float(focal[index]), 128)
        assert seen == pytest.approx(place(metres, rotation, focal, 128)[index].numpy(), abs=1e-5)
        assert translation_in_crop(seen, turn, float(focal[index]), 128) == pytest.approx(metres[index].numpy())
    shown = translation(torch.tensor([[0.5, -0.25, 0.0]]), torch.eye(3)[None], 500.0, 128)[0]
    anchor = shown + torch.tensor(ANCHOR_M)
    torch.testing.assert_close(500.0 * anchor[:2] / -anchor[2], torch.tensor([32.0, -16.0]))


def test_expression_is_bounded_and_can_come_back_from_beyond_a_bound() -> None:
    regressor = FaceRegressor(SMALL)
    raw = torch.full((1, SMALL.outputs), -9.0, requires_grad=True)
    expression = regressor.split(raw).expression
    assert expression.max() == 0.0
    expression.sum().backward()  # type: ignore[no-untyped-call]
    assert raw.grad is not None
    assert (raw.grad[0, SMALL.fields["expression"]] > 0).all()
    torch.testing.assert_close(regressor.split(raw * -9).expression[0], torch.tensor(EXPRESSION_REACH))


def test_eyes_and_the_rest_both_reach_the_gaze() -> None:
    torch.manual_seed(0)
    regressor = FaceRegressor(SMALL).eval()
    settle_on_a_face(regressor)
    crop = torch.rand(1, 3, 128, 128, requires_grad=True)
    regressor.split(regressor(crop)).gaze.sum().backward()  # type: ignore[no-untyped-call]
    assert crop.grad is not None
    changed = crop.grad.abs().sum((0, 1))
    windows = changed[40:60, 30:100]
    assert windows.mean() > 3 * changed[80:].mean() > 0


def settle_on_a_face(regressor: FaceRegressor) -> torch.Tensor:
    """Let a fresh network find the landmarks of one face, whatever it sees; give them, `[478, 2]` pixels."""
    landmarks = torch.full((478, 2), 64.0)
    for eye, middle in enumerate(((88.0, 50.0), (40.0, 50.0))):
        out = 10.0 if eye == 0 else -10.0
        landmarks[list(EYE_POINTS[eye])] = torch.tensor(middle)
        landmarks[CORNERS[eye][0], 0] += out
        landmarks[CORNERS[eye][1], 0] -= out
    last = regressor.trunk.mesh[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    with torch.no_grad():
        last.weight.mul_(1e-3)
        last.bias.copy_(torch.cat([landmarks[:468], torch.zeros(468, 1)], 1).flatten())
    regressor.settle(landmarks)
    return landmarks


def test_a_mirrored_face_looks_to_the_other_side() -> None:
    torch.manual_seed(0)
    regressor = FaceRegressor(SMALL).eval()
    settle_on_a_face(regressor)
    of_eye = regressor.of_eye[2]
    assert isinstance(of_eye, nn.Linear)
    with torch.no_grad():
        for layer in (regressor.out, regressor.solved):  # what is read of each eye by itself alone
            layer.weight.zero_()
        of_eye.weight.mul_(100.0)  # fresh weights say next to nothing
        crop = torch.rand(1, 3, 128, 128)
        seen, mirrored = (regressor.split(regressor(view)) for view in (crop, crop.flip(3)))
    swapped = mirrored.gaze.flip(1) * torch.tensor([-1.0, 1.0])
    assert float((seen.gaze - seen.gaze.flip(1)).abs().max()) > 1e-3
    torch.testing.assert_close(seen.gaze, swapped, atol=2e-4, rtol=1e-3)
    blinks = [EXPRESSION_INDEX["eyeBlinkLeft"], EXPRESSION_INDEX["eyeBlinkRight"]]
    torch.testing.assert_close(seen.expression[:, blinks], mirrored.expression[:, blinks].flip(1), atol=2e-4, rtol=1e-3)


def test_learns_a_rotation_from_pixels() -> None:
    torch.manual_seed(0)
    regressor = FaceRegressor(SMALL)
    settle_on_a_face(regressor)  # far from where they are expected, landmarks would drown what else is read
    optimizer = torch.optim.Adam(regressor.parameters(), 3e-3)
    truth = torch.linspace(-1, 1, 8)
    ramp = torch.linspace(-1, 1, 128)
    crops = (0.5 + 0.4 * truth[:, None, None, None] * ramp).expand(8, 3, 128, 128)
    losses = []
    for _ in range(30):
        yaw = regressor.split(regressor(crops)).rotation[:, 0, 2]
        loss = (yaw - 0.5 * truth).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_saved_weights_give_the_same_answers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    regressor = FaceRegressor(SMALL).eval()
    path = tmp_path / "regressor.safetensors"
    regressor.save(path, note="of a test")
    crop = torch.rand(1, 3, 128, 128)
    loaded = FaceRegressor.load(path)
    assert loaded.config == SMALL
    torch.testing.assert_close(loaded(crop), regressor(crop), atol=5e-3, rtol=0)


def test_refuses_what_is_no_regressor(tmp_path: Path) -> None:
    path = tmp_path / "regressor.safetensors"
    with pytest.raises(FileNotFoundError, match="no weights"):
        FaceRegressor.load(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="holds no regressor"):
        FaceRegressor.load(path)
    regressor = FaceRegressor(SMALL)
    with torch.no_grad():
        regressor.out.bias[0] = torch.nan
    regressor.save(path)
    with pytest.raises(ValueError, match="not finite"):
        FaceRegressor.load(path)
    with pytest.raises(ValueError, match="expected \\[B, 3, 128, 128\\]"):
        regressor(torch.zeros(1, 3, 64, 64))


def test_config_survives_json_and_refuses_nonsense() -> None:
    assert RegressorConfig.from_json(json.loads(json.dumps(SMALL.to_json()))) == SMALL
    for values in ({"size": 100}, {"size": "128"}, {"widths": [1, 2]}, {"code": [1.5, 2]}, {"depth": 3}, {"size": [1]}):
        with pytest.raises(ValueError, match=next(iter(values))):
            RegressorConfig.from_json(values)
