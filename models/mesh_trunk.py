"""The trunk of the regressor: the convolutions of MediaPipe's face mesh, which know real faces before training begins.

Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs" (CVPR workshop 2019): blocks
of a depthwise and a pointwise convolution after Bazarevsky et al., "BlazeFace" (same workshop). The weights are read
out of MediaPipe's own package by `capture.train_tracker.mesh_weights`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

LANDMARKS = 468
"""Landmarks of the mesh; irises are found elsewhere."""


class Convolution(nn.Module):
    """Convolution and rectifier, each channel with a slope of its own below zero (He et al. 2015)."""

    def __init__(self, inputs: int, outputs: int, *, size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride)
        self.slope = nn.PReLU(outputs, 0.1)
        self._pad = (size - 1) // 2 if stride == 1 else 0
        self._is_halving = stride == 2

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, inputs, H, W]` to `[B, outputs, H / stride, W / stride]`."""
        # At stride 2 the missing row and column are the last ones, as TensorFlow pads.
        x = functional.pad(x, (0, 1, 0, 1)) if self._is_halving else x
        return self.slope(self.conv(x))


class Block(nn.Module):
    """A depthwise and a pointwise convolution added to their input, which is halved and given channels as needed."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.deep = nn.Conv2d(inputs, inputs, 3, stride, 1 if stride == 1 else 0, groups=inputs)
        self.wide = nn.Conv2d(inputs, outputs, 1)
        self.slope = nn.PReLU(outputs, 0.1)
        self._more = outputs - inputs
        self._is_halving = stride == 2
        with torch.no_grad():
            self.wide.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, inputs, H, W]` to `[B, outputs, H / stride, W / stride]`."""
        added = self.wide(self.deep(functional.pad(x, (0, 1, 0, 1)) if self._is_halving else x))
        if self._is_halving:
            x = functional.max_pool2d(x, 2)
        if self._more:
            x = functional.pad(x, (0, 0, 0, 0, 0, self._more))
        return self.slope(x + added)


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(Block(inputs, outputs, stride=2), Block(outputs, outputs), Block(outputs, outputs))


class MeshTrunk(nn.Module):
    """A face crop to a shared map at 1/32, and on it two readings: the mesh's landmarks and whether there is a face."""

    def __init__(self, size: int, widths: tuple[int, int, int, int], narrow: int) -> None:
        """Read crops `size` pixels wide, a multiple of 64; `widths` are channels at 1/2, 1/4, 1/8 and from 1/16 on."""
        super().__init__()
        first, *_, last = widths
        self.enter = Convolution(3, first, size=3, stride=2)
        self.fine = nn.Sequential(Block(first, first), Block(first, first))
        halvings = zip((*widths, last)[:-1], (*widths, last)[1:], strict=True)
        self.stages = nn.ModuleList(_stage(inputs, outputs) for inputs, outputs in halvings)
        end = size // 64
        self.mesh = nn.Sequential(
            _stage(last, last), Convolution(last, narrow), Block(narrow, narrow), nn.Conv2d(narrow, 3 * LANDMARKS, end)
        )
        self.presence = nn.Sequential(
            Block(last, last, stride=2), Convolution(last, narrow), Block(narrow, narrow), nn.Conv2d(narrow, 1, end)
        )

    def forward(self, crop: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read crops `[B, 3, S, S]`, RGB in 0 to 1.

        Gives the shared map `[B, C, S / 32, S / 32]`, landmarks `[B, 468, 3]` in pixels of the crop (u, v, and a depth
        that is not trained here), and a logit `[B, 1]` of there being a face.
        """
        x = self.fine(self.enter(crop))
        for stage in self.stages:
            x = stage(x)
        return x, self.mesh(x).reshape(-1, LANDMARKS, 3), self.presence(x).flatten(1)

    def convolutions(self) -> Iterator[tuple[nn.Conv2d, nn.PReLU | None]]:
        """Yield every convolution in the order in which it is executed, and the slopes that follow it, if any.

        The order is that of MediaPipe's file as well: trunk, presence, mesh.
        """
        for module in (self.enter, self.fine, self.stages, self.presence, self.mesh):
            yield from _parts(module)


def _parts(module: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.PReLU | None]]:
    if isinstance(module, nn.Sequential | nn.ModuleList):
        for part in module:
            yield from _parts(part)
    elif isinstance(module, Block):
        yield module.deep, None
        yield module.wide, module.slope
    elif isinstance(module, Convolution):
        yield module.conv, module.slope
    else:
        assert isinstance(module, nn.Conv2d)
        yield module, None
