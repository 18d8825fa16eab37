"""What every training here does alike: choose a device, average weights as it goes, and never lose a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def choose_device(name: str) -> torch.device:
    """Pick the device to train on: auto, cpu or cuda. Raises `ValueError` where it is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device: expected auto, cpu or cuda, got {name}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: PyTorch finds no CUDA device here")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def has_bfloat16(device: torch.device) -> bool:
    """Say whether `device` multiplies in bfloat16 by hardware; elsewhere it is many times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, keep: float, step: int) -> None:
    """Let `average` keep the share `keep` of its state, 0 to 1, and take the rest from `network`; less of it early."""
    keep = min(keep, (1 + step) / (10 + step))
    new = network.state_dict()
    for name, mean in average.state_dict().items():
        if mean.is_floating_point():
            mean.lerp_(new[name], 1.0 - keep)
        else:
            mean.copy_(new[name])


@torch.no_grad()
def adopt(network: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Copy from `weights` what `network` has by the same name and in the same shape; give the names."""
    own = network.state_dict()
    taken = [name for name, value in weights.items() if name in own and own[name].shape == value.shape]
    for name in taken:
        own[name].copy_(weights[name])
    return taken


def write_checkpoint(state: dict[str, Any], folder: Path) -> None:
    """Write `folder/checkpoint.pt` beside the old one, then put it in its place."""
    torch.save(state, folder / "checkpoint.part")
    os.replace(folder / "checkpoint.part", folder / "checkpoint.pt")


def read_checkpoint(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """Read what `write_checkpoint` wrote, None where there is nothing. Runs no code that a file may hold."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state
