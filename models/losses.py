"""What training minimises."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.halo import HEAD_MIDDLE
from models.perceptual import LAYERS, PerceptualNet, load_vgg


def importance(conditioning: Tensor) -> Tensor:
    """Weigh pixels `[B, 1, H, W]` of `conditioning [B, 9, H, W]`: eyes 5, mouth 3, the rest 1.

    The eyes are known from the eye image; the mouth is a box in the correspondence code, the same for every head.
    """
    scale = conditioning.shape[-1] // 256 or 1
    # Widened by sums along rows, then columns: a fraction of the time of a maximum over each window.
    eyes = (conditioning[:, 6:7] > 0).to(conditioning.dtype).contiguous()
    line = torch.ones(1, 1, 1, 8 * scale + 1, dtype=eyes.dtype, device=eyes.device)
    eyes = functional.conv2d(functional.conv2d(eyes, line, padding=(0, 4 * scale)), line.mT, padding=(4 * scale, 0))
    x, y, z = conditioning[:, 3:4], conditioning[:, 4:5], conditioning[:, 5:6]
    mouth = ((x - 0.5).abs() < 0.2) & (y > 0.1) & (y < 0.4) & (z > 0.7)
    mouth |= (y > 0) & (y < 0.075) & (z > HEAD_MIDDLE)  # teeth and tongue: below all skin, before the card
    return 1 + 4 * (eyes > 0.5).to(conditioning.dtype) + 2 * mouth.to(conditioning.dtype)


def photometric(output: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Average absolute difference of `[B, 3, H, W]` pictures, weighted by `[B, 1, H, W]`."""
    return ((output - truth).abs() * weight).mean() / weight.mean()


class PerceptualLoss(nn.Module):
    """LPIPS' distance over the first stages of VGG16: as good a gradient, at a fraction of the cost."""

    def __init__(self, stages: int = 3, weights: Mapping[str, Tensor] | None = None) -> None:
        """Compare the last layers of the first `stages` stages of VGG16."""
        super().__init__()
        weights = load_vgg() if weights is None else weights
        self.net = PerceptualNet(LAYERS[:stages], weights)
        for index in range(stages):
            self.register_buffer(f"linear{index}", weights[f"linear{index}.weight"].view(1, -1, 1, 1), persistent=False)

    def forward(self, output: Tensor, truth: Tensor) -> Tensor:
        """Give the mean distance of pictures `[B, 3, H, W]` in 0 to 1; gradients reach `output` alone."""
        with torch.no_grad():
            wanted = self.net(truth)
        total = torch.zeros((), device=output.device)
        for index, (a, b) in enumerate(zip(self.net(output), wanted, strict=True)):
            difference = (normalize(a.float()) - normalize(b.float())).square()
            total = total + (difference * self.get_buffer(f"linear{index}")).sum(1).mean()
        return total


def normalize(features: Tensor) -> Tensor:
    """Scale `[B, C, h, w]` to unit length along channels, with a finite slope where all are zero."""
    return features * torch.rsqrt(features.square().sum(1, keepdim=True) + 1e-8)


def hinge_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Loss of a critic that scores `real` above 1 and `fake` below -1."""
    return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """Loss of a generator whose pictures the critic scored `fake`."""
    return -fake.mean()
