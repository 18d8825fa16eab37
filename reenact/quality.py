"""How close generated pictures come to the truth: PSNR, SSIM, LPIPS and flicker."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.perceptual import Lpips

Images = NDArray[np.uint8]

SSIM_SIZE = 11
SSIM_SIGMA = 1.5
BATCH = 4
"""Pictures compared at once."""
MAX_PSNR_DB = 100.0
"""What two equal pictures score: their PSNR has no bound."""


def measure(
    outputs: Images, truths: Images, *, frames: NDArray[np.int64] | None = None, lpips: Lpips | None = None
) -> dict[str, float]:
    """Compare pictures `[N, H, W, 3]` uint8 RGB one by one; gives the means of `psnr` (dB), `ssim`, `lpips`.

    And of `photometric`, the distance of a pixel's colours in levels of 255, as Deep Video Portraits gives it.

    With the frame number of each picture, `flicker` too, where any two of them follow each other: see `flicker()`.
    Raises `ValueError` on shapes that differ, and `PerceptualWeightsError` where LPIPS' weights cannot be had.
    """
    if outputs.shape != truths.shape or outputs.ndim != 4 or len(outputs) == 0:
        raise ValueError(f"expected two stacks [N, H, W, 3] of one shape, got {outputs.shape} and {truths.shape}")
    lpips = lpips or Lpips()
    rows: dict[str, list[Tensor]] = {"psnr": [], "ssim": [], "lpips": [], "photometric": []}
    for output, truth in _batches(outputs, truths):
        rows["psnr"].append(psnr(output, truth))
        rows["ssim"].append(ssim(output, truth))
        rows["photometric"].append(255.0 * (output - truth).square().sum(1).sqrt().mean((1, 2)))
        with torch.no_grad():
            rows["lpips"].append(lpips(output, truth))
    result = {name: float(torch.cat(values).mean()) for name, values in rows.items()}
    if frames is not None:
        value = flicker(outputs, truths, frames)
        if not math.isnan(value):
            result["flicker"] = value
    return result


def psnr(output: Tensor, truth: Tensor) -> Tensor:
    """Give peak signal-to-noise ratios `[B]` in dB of images `[B, 3, H, W]` in 0 to 1."""
    error = (output - truth).square().mean((1, 2, 3))
    return (-10.0 * torch.log10(error.clamp_min(1e-12))).clamp_max(MAX_PSNR_DB)


def ssim(output: Tensor, truth: Tensor) -> Tensor:
    """Give structural similarities `[B]` of images `[B, 3, H, W]` in 0 to 1 (Wang et al. 2004), the mean over RGB.

    Gaussian window of 11 x 11 pixels, sigma 1.5, only where it lies inside the image.
    """
    if min(output.shape[-2:]) < SSIM_SIZE:
        raise ValueError(f"ssim: expected at least {SSIM_SIZE} x {SSIM_SIZE} pixels, got {tuple(output.shape[-2:])}")
    a, b = output.double(), truth.double()
    mean_a, mean_b = _blur(a), _blur(b)
    variance_a = _blur(a * a) - mean_a.square()
    variance_b = _blur(b * b) - mean_b.square()
    covariance = _blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    denominator = (mean_a.square() + mean_b.square() + c1) * (variance_a + variance_b + c2)
    return (numerator / denominator).mean((1, 2, 3)).float()


def flicker(outputs: Images, truths: Images, frames: NDArray[np.int64]) -> float:
    """Give how far changes from frame to frame differ from the truth's: mean absolute, in levels of 255.

    `frames` numbers the pictures; only pairs of successive numbers count. NaN where there are none.
    """
    errors = []
    for index in np.flatnonzero(np.diff(frames) == 1):
        change = outputs[index + 1].astype(np.int16) - outputs[index]
        wanted = truths[index + 1].astype(np.int16) - truths[index]
        errors.append(np.abs(change - wanted).mean())
    return float(np.mean(errors)) if errors else math.nan


def to_tensor(images: NDArray[Any]) -> Tensor:
    """Turn pictures `[N, H, W, 3]` uint8 into `[N, 3, H, W]` float32 in 0 to 1."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 255.0


def comparison(outputs: Images, truths: Images, *, gain: float = 4.0) -> Images:
    """Lay truth, output and error, `gain` times enlarged, side by side: one row `[H, 3 W, 3]` below the other."""
    error = np.abs(outputs.astype(np.int16) - truths.astype(np.int16)) * gain
    rows = np.concatenate([truths, outputs, np.minimum(error, 255).astype(np.uint8)], 2)
    return np.asarray(np.concatenate(list(rows), 0), np.uint8)


def _batches(outputs: Images, truths: Images) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(outputs), BATCH):
        yield to_tensor(outputs[start : start + BATCH]), to_tensor(truths[start : start + BATCH])


def _blur(image: Tensor) -> Tensor:
    """Average `[B, C, H, W]` with the Gaussian window, without padding."""
    offset = torch.arange(SSIM_SIZE, dtype=image.dtype, device=image.device) - SSIM_SIZE // 2
    weight = torch.exp(-0.5 * (offset / SSIM_SIGMA).square())
    weight = weight / weight.sum()
    channels = image.shape[1]
    down = weight.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    across = weight.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    return functional.conv2d(functional.conv2d(image, down, groups=channels), across, groups=channels)
