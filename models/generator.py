"""The space-time generator: a window of conditioning frames to the current video frame, in streaming form.

After the rendering-to-video network of Deep Video Portraits (Kim et al., SIGGRAPH 2018, section 5), rebuilt so that a
live frame costs one frame and not eleven: `stem` reduces each conditioning frame once, a ring keeps the last results,
and `decode` turns the ring and the current frame into a picture. The correspondence image addresses a learned texture
(after Thies et al., "Deferred Neural Rendering", SIGGRAPH 2019), and a learned plate holds the still background.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

CONDITIONING_CHANNELS = 9
SLOPE = 0.1
"""Negative slope of the leaky rectifiers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """Sizes of a `SpaceTimeGenerator`."""

    resolution: int = 256
    """Width and height of conditioning and output, pixels; a multiple of 128."""
    window: int = 11
    """Conditioning frames seen at once, the current one last."""
    stem_channels: int = 24
    """Channels of the small feature map kept of each frame, at 1/8 of the resolution."""
    widths: tuple[int, ...] = (32, 64, 96, 128, 128)
    """Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution."""
    texture_channels: int = 12
    """Channels of the learned texture."""
    texture_size: tuple[int, int] = (256, 384)
    """Height and width of the learned texture, texels."""
    detail_channels: int = 8
    """Channels that the decoder hands to the last, full-resolution layers."""
    dropped: tuple[str, ...] = ()
    """Conditioning images replaced by zeros, for ablation: any of diffuse, correspondence, gaze."""

    def __post_init__(self) -> None:
        if self.resolution % 128 or self.resolution <= 0:
            raise ValueError(f"resolution: expected a multiple of 128, got {self.resolution}")
        if self.window < 1:
            raise ValueError(f"window: expected at least 1, got {self.window}")
        unknown = set(self.dropped) - {"diffuse", "correspondence", "gaze"}
        if unknown:
            raise ValueError(f"dropped: unknown conditioning images {sorted(unknown)}")

    def to_json(self) -> dict[str, Any]:
        """Turn into plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Rebuild from `to_json()`. Raises `ValueError` on unknown or ill-typed fields."""
        fields = {field.name for field in dataclasses.fields(cls)}
        unknown = set(values) - fields
        if unknown:
            raise ValueError(f"generator config: unknown fields {sorted(unknown)}")
        clean: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        for name, value in clean.items():
            numbers = value if isinstance(value, tuple) and name != "dropped" else (value,)
            if name != "dropped" and not all(isinstance(n, int) and 0 < n <= 4096 for n in numbers):
                raise ValueError(f"generator config: {name} must be whole numbers from 1 to 4096, got {value!r}")
        return cls(**clean)


def _conv(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2)
    nn.init.kaiming_normal_(conv.weight, SLOPE)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def _activate(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, SLOPE)


class ResidualBlock(nn.Module):
    """Two convolutions added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = _conv(channels, channels)
        with torch.no_grad():
            self.second.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to the same shape."""
        return _activate(x + self.second(_activate(self.first(x))))


class SpaceTimeGenerator(nn.Module):
    """Conditioning window to video frame; see the module's text. Runs on any device, float32 or bfloat16."""

    keep: Tensor

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        size, widths, stem = config.resolution, config.widths, config.stem_channels
        self.stem_first = _conv(CONDITIONING_CHANNELS, stem)
        self.stem_second = _conv(stem, stem, stride=2)
        self.fuse = _conv(stem * config.window, widths[2], size=1)
        self.canvas = nn.Parameter(torch.zeros(1, widths[1], size // 4, size // 4))
        self.enter = _conv(CONDITIONING_CHANNELS * 4, widths[0], size=1)
        self.down = nn.ModuleList(_conv(a, b, stride=2) for a, b in itertools.pairwise(widths))
        self.encode = nn.ModuleList(ResidualBlock(width) for width in widths[2:])
        # One pixel wide and before the enlargement: the same function as behind it, at a quarter of the work.
        self.up = nn.ModuleList(_conv(b, a, size=1) for a, b in itertools.pairwise(widths))
        self.decode_blocks = nn.ModuleList(ResidualBlock(width) for width in widths[1:-1])
        # The head decides where neck and shoulders are: a global summary reaches every place of every level.
        self.summary = _conv(widths[-1], 16, size=1)
        self.summary_hidden = nn.Linear(16 * (size // 32) ** 2, 128)
        self.summary_out = nn.Linear(128, sum(widths[1:-1]))
        nn.init.zeros_(self.summary_out.weight)
        nn.init.zeros_(self.summary_out.bias)
        self.detail = _conv(widths[0], config.detail_channels * 4)
        self.texture = nn.Parameter(0.1 * torch.randn(1, config.texture_channels, *config.texture_size))
        self.mix = _conv(config.detail_channels + config.texture_channels + 4, 16)
        self.paint = _conv(16, 4, size=1)
        with torch.no_grad():
            # Begin with the network's own paint everywhere: a mask that begins shut may never learn to open.
            self.paint.weight.mul_(0.1)
            self.paint.bias[3] = 2.0  # type: ignore[index]
        self.plate = nn.Parameter(torch.full((1, 3, size, size), 0.5))
        keep = torch.ones(1, CONDITIONING_CHANNELS, 1, 1)
        for index, name in enumerate(("diffuse", "correspondence", "gaze")):
            if name in config.dropped:
                keep[:, 3 * index : 3 * index + 3] = 0
        self.register_buffer("keep", keep, persistent=False)

    @property
    def stem_shape(self) -> tuple[int, int, int]:
        """Shape `[S, h, w]` of one frame's stem."""
        side = self.config.resolution // 8
        return self.config.stem_channels, side, side

    def stem(self, conditioning: Tensor) -> Tensor:
        """Reduce one conditioning frame `[B, 9, H, W]` to `[B, S, H / 8, W / 8]`."""
        return self.stem_reduced(functional.avg_pool2d(conditioning, 4))

    def stem_reduced(self, reduced: Tensor) -> Tensor:
        """Do the rest of `stem` on a frame already averaged over 4 x 4 pixels, `[B, 9, H / 4, W / 4]`."""
        return _activate(self.stem_second(_activate(self.stem_first(reduced * self.keep))))

    def decode(self, conditioning: Tensor, window: Tensor) -> Tensor:
        """Turn the current frame `[B, 9, H, W]` and all stems, current last, into a picture `[B, 3, H, W]` in 0 to 1.

        `window` is `[B, L, S, h, w]`, with the shape of `stem`'s result behind the window's length.
        """
        conditioning = conditioning * self.keep
        surface = torch.cat([self._sample_texture(conditioning[:, 3:6]), conditioning[:, 6:9]], 1)
        painted = self.paint_prepared(functional.pixel_unshuffle(conditioning, 2), surface, window)
        mask = painted[:, 3:]
        return painted[:, :3] * mask + self.plate * (1 - mask)

    def paint_prepared(self, unshuffled: Tensor, surface: Tensor, window: Tensor) -> Tensor:
        """Do `decode` up to the plate, with the current frame laid out as the network reads it.

        `unshuffled` is `[B, 36, H / 2, W / 2]`, each 2 x 2 pixels as channels. `surface` is `[B, C + 4, H, W]`:
        the texture, its coverage, and the eye and gaze image. Gives `[B, 4, H, W]`: the paint and, last, its mask, the
        share of it that hides the plate, each in 0 to 1.
        """
        batch, length, channels, height, width = window.shape
        context = self.fuse(window.reshape(batch, length * channels, height, width))
        x = _activate(self.enter(unshuffled))
        skips = [x]
        x = _activate(self.down[0](x) + self.canvas)
        skips.append(x)
        for level, (down, block) in enumerate(zip(list(self.down)[1:], self.encode, strict=True)):
            x = down(x)
            x = block(_activate(x + context if level == 0 else x))
            skips.append(x)
        shifts = self._summarize(x)
        x = skips.pop()
        for level in range(len(self.up) - 1, -1, -1):
            x = functional.interpolate(self.up[level](x), scale_factor=2.0, mode="nearest")
            x = _activate(x + skips.pop())
            if level > 0:
                x = self.decode_blocks[level - 1](x + shifts[level - 1])
        detail = _activate(functional.pixel_shuffle(self.detail(x), 2))
        # One convolution over both, without putting them into one tensor first: at full size that costs as much.
        split = detail.shape[1]
        mixed = functional.conv2d(detail, self.mix.weight[:, :split], self.mix.bias, padding=1)
        mixed = _activate(mixed + functional.conv2d(surface, self.mix.weight[:, split:], padding=1))
        return torch.sigmoid(self.paint(mixed))

    def _summarize(self, x: Tensor) -> list[Tensor]:
        code = _activate(self.summary_hidden(_activate(self.summary(x)).flatten(1)))
        shifts = self.summary_out(code)[:, :, None, None]
        return list(torch.split(shifts, list(self.config.widths[1:-1]), 1))

    def _sample_texture(self, correspondence: Tensor) -> Tensor:
        """Look the texture up at codes `[B, 3, H, W]`: features and, last, coverage, `[B, texture + 1, H, W]`."""
        across, depth = correspondence[:, 0] - 0.5, correspondence[:, 2] - 0.35
        covered = (correspondence.sum(1, keepdim=True) > 1e-3).to(correspondence.dtype)
        # The "diamond angle" around the head's vertical axis: as good as atan2 here, and cheap on every engine.
        share = across.abs() / (across.abs() + depth.abs() + 1e-4)
        around = torch.where(depth > 0, share, 2 - share) * 0.5
        around = torch.where(across > 0, around, -around)
        grid = torch.stack([around, correspondence[:, 1] * 2 - 1], -1)
        texture = self.texture.expand(len(grid), -1, -1, -1)
        sampled = functional.grid_sample(texture.float(), grid.float(), "bilinear", "border", align_corners=False)
        return torch.cat([sampled.to(correspondence.dtype) * covered, covered], 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Turn a whole window `[B, L, 9, H, W]`, oldest first, into the last frame's picture `[B, 3, H, W]` in 0..1."""
        if frames.shape[1] != self.config.window:
            raise ValueError(f"frames: expected a window of {self.config.window}, got {frames.shape[1]}")
        stems = torch.stack([self.stem(frames[:, index]) for index in range(frames.shape[1])], 1)
        return self.decode(frames[:, -1], stems)


class StreamingStep(nn.Module):
    """One live frame as one network: what an engine executes."""

    def __init__(self, generator: SpaceTimeGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, conditioning: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Take a frame `[1, 9, H, W]` and past stems `[1, L - 1, S, h, w]`; give a picture and the frame's stem."""
        stem = self.generator.stem(conditioning)
        return self.generator.decode(conditioning, torch.cat([past, stem[:, None]], 1)), stem
