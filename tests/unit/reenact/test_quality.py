from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reenact.quality import MAX_PSNR_DB, comparison, flicker, measure, psnr, ssim, to_tensor


class FakeLpips(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).abs().mean((1, 2, 3))


def noisy(seed: int, spread: int, shape: tuple[int, ...] = (2, 24, 30, 3)) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 256, shape).astype(np.uint8)
    change = rng.integers(-spread, spread + 1, shape)
    return np.clip(truth + change, 0, 255).astype(np.uint8), truth


def slow_ssim(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Go over every window of one picture, as the paper's equations say."""
    offset = np.arange(11) - 5
    weight = np.exp(-0.5 * (offset[:, None] ** 2 + offset[None] ** 2) / 1.5**2)
    weight /= weight.sum()
    values = []
    for channel in range(3):
        for row in range(a.shape[0] - 10):
            for column in range(a.shape[1] - 10):
                x = a[row : row + 11, column : column + 11, channel] / 255.0
                y = b[row : row + 11, column : column + 11, channel] / 255.0
                mean_x, mean_y = (weight * x).sum(), (weight * y).sum()
                var_x, var_y = (weight * (x - mean_x) ** 2).sum(), (weight * (y - mean_y) ** 2).sum()
                both = (weight * (x - mean_x) * (y - mean_y)).sum()
                values.append(
                    (2 * mean_x * mean_y + 1e-4) * (2 * both + 9e-4)
                    / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4))
                )  # fmt: skip
    return float(np.mean(values))


@pytest.mark.parametrize("spread", [5, 120])
def test_ssim_equals_the_papers_equations(spread: int) -> None:
    outputs, truths = noisy(0, spread)
    expected = [slow_ssim(a, b) for a, b in zip(outputs, truths, strict=True)]
    np.testing.assert_allclose(ssim(to_tensor(outputs), to_tensor(truths)).numpy(), expected, atol=1e-5)


def test_psnr_of_a_known_error() -> None:
    truth = torch.zeros(1, 3, 16, 16)
    assert float(psnr(truth + 0.1, truth)) == pytest.approx(20.0, abs=1e-4)
    assert float(psnr(truth, truth)) == MAX_PSNR_DB


def test_measure_averages_over_pictures_not_pixels() -> None:
    outputs, truths = noisy(1, 20, (6, 16, 16, 3))
    outputs[0] = truths[0]
    result = measure(outputs, truths, lpips=FakeLpips())  # type: ignore[arg-type]
    single = [measure(outputs[i : i + 1], truths[i : i + 1], lpips=FakeLpips()) for i in range(6)]  # type: ignore[arg-type]
    for name, value in result.items():
        assert value == pytest.approx(np.mean([row[name] for row in single]), rel=1e-5)
    assert set(result) == {"psnr", "ssim", "lpips", "photometric"}


def test_the_photometric_error_is_a_distance_of_colours() -> None:
    truth = np.full((1, 16, 16, 3), 100, np.uint8)
    output = truth.copy()
    output[..., 0] += 3
    output[..., 2] -= 4
    assert measure(output, truth, lpips=FakeLpips())["photometric"] == pytest.approx(5.0, rel=1e-4)  # type: ignore[arg-type]


def test_flicker_counts_successive_frames_only() -> None:
    truths = np.full((4, 8, 8, 3), 100, np.uint8)
    outputs = truths.copy()
    outputs[1] += 6
    outputs[3] = 0
    # 10 -> 11 changes by 6 too much; 11 -> 20 is no pair; 20 -> 21 falls by 100.
    assert flicker(outputs, truths, np.array([10, 11, 20, 21])) == pytest.approx((6 + 100) / 2)
    assert math.isnan(flicker(outputs, truths, np.array([1, 3, 5, 7])))
    assert "flicker" not in measure(*noisy(2, 3), frames=np.array([1, 3]), lpips=FakeLpips())  # type: ignore[arg-type]


def test_a_constant_offset_does_not_flicker() -> None:
    rng = np.random.default_rng(0)
    truths = rng.integers(0, 200, (3, 8, 8, 3)).astype(np.uint8)
    assert flicker(truths + np.uint8(20), truths, np.arange(3)) == 0.0


def test_comparison_lays_truth_output_and_error_side_by_side() -> None:
    truths = np.full((2, 8, 9, 3), 100, np.uint8)
    grid = comparison(truths + np.uint8(10), truths)
    assert grid.shape == (16, 27, 3)
    assert [int(grid[3, column, 0]) for column in (0, 9, 18)] == [100, 110, 40]


def test_other_shapes_are_refused() -> None:
    outputs, truths = noisy(0, 5)
    with pytest.raises(ValueError, match="expected two stacks"):
        measure(outputs[:1], truths, lpips=FakeLpips())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected at least 11 x 11 pixels"):
        ssim(torch.zeros(1, 3, 8, 20), torch.zeros(1, 3, 8, 20))
