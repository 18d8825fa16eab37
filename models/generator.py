"""The space-time generator: a window of conditioning frames to the current video frame, in streaming form.

After the rendering-to-video network of Deep Video Portraits (Kim et al., SIGGRAPH 2018, section 5), rebuilt so that a
live frame costs one frame and not eleven: `stem` reduces each conditioning frame once, a ring keeps the last results,
and `decode` turns the ring and the current frame into a picture. The correspondence image addresses a learned texture
(after Thies et al., "Deferred Neural Rendering", SIGGRAPH 2019), and a learned plate holds the still background.

This is what all designs of the network have in common. Those that there are lie in `lean_generator`, `photo_generator`
and `full_generator`; `build_generator` makes the one that a config asks for.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.halo import HEAD_MIDDLE, Halo
from models.params import VERTICES

CONDITIONING_CHANNELS = 9
SURFACE_EXTRA = 4
"""Channels of the surface behind those of the texture: whether the head covers the pixel, eyes and gaze."""
SLOPE = 0.1
"""Negative slope of the leaky rectifiers."""
DESIGNS = ("photo", "lean", "full")
FULL_SIZES: dict[str, Any] = {"stem_channels": 24, "widths": (32, 64, 96, 128, 128)}
"""What the full design is trained with."""
PHOTO_DROPPED = ("diffuse",)
"""Conditioning images that the photo design does without: who begins as the person's own colours gains nothing by
those of a shaded model (docs/targets.md)."""
CHANGE_SIZE = (64, 96)
"""Sides of the maps of change in texels: colours change in patches, creases, lips, lids; what is fine stays."""
FIRST_DESIGN: dict[str, Any] = {"design": "full", "magnification": 1, "fine_channels": 1}
"""What a config means that was written before there was a choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneratorConfig:
    """Sizes of a `SpaceTimeGenerator`."""

    resolution: int = 256
    """Width and height of conditioning and output, pixels; a multiple of 128 times the magnification."""
    window: int = 11
    """Conditioning frames seen at once, the current one last."""
    design: str = "lean"
    """photo: begins as the person's own colours, laid over head and hair; lean; full: the first, at twice the time."""
    magnification: int = 1
    """1, or 2: all but the full design compute as for half the resolution, and add what is finer to the result."""
    stem_channels: int = 16
    """Channels of the small feature map kept of each frame, at 1/8 of the magnified resolution."""
    widths: tuple[int, ...] = (24, 48, 64, 96, 128)
    """Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the magnified resolution."""
    texture_channels: int = 12
    """Channels of the learned texture."""
    texture_size: tuple[int, int] = (256, 384)
    """Height and width of the learned texture, texels."""
    detail_channels: int = 8
    """Channels that the full design hands to its last, full-resolution layers."""
    fine_channels: int = 16
    """Channels of the layer that adds what is finer, where the magnification is 2."""
    change_size: tuple[int, ...] = ()
    """Height and width of the maps of how the photo design's colours change with the face, texels; empty for none."""
    dropped: tuple[str, ...] = ()
    """Conditioning images replaced by zeros: any of diffuse, correspondence, gaze."""
    has_own_eyes: bool = False
    """Whether eyeballs have texels of their own, see `models.eyeballs`; targets from before share the lids'."""

    def __post_init__(self) -> None:
        if self.design not in DESIGNS:
            raise ValueError(f"design: expected one of {', '.join(DESIGNS)}, got {self.design!r}")
        if self.magnification not in ((1,) if self.design == "full" else (1, 2)):
            raise ValueError(f"magnification: expected 1, or 2 but of the full design, got {self.magnification}")
        if self.resolution % (128 * self.magnification) or self.resolution <= 0:
            raise ValueError(f"resolution: expected a multiple of {128 * self.magnification}, got {self.resolution}")
        if self.window < 1:
            raise ValueError(f"window: expected at least 1, got {self.window}")
        if len(self.widths) != 5 or len(self.texture_size) != 2:
            raise ValueError(f"expected 5 widths and 2 sides of a texture, got {self.widths}, {self.texture_size}")
        if self.change_size and (self.design != "photo" or len(self.change_size) != 2):
            raise ValueError(f"change_size: expected 2 sides, of the photo design alone, got {self.change_size}")
        unknown = set(self.dropped) - {"diffuse", "correspondence", "gaze"}
        if unknown:
            raise ValueError(f"dropped: unknown conditioning images {sorted(unknown)}")

    @classmethod
    def of_size(cls, resolution: int, *, design: str = "", **changes: Any) -> Self:  # noqa: ANN401 - fields of several types
        """Give what suits a `resolution`; photo, where no `design` is asked for, and from 512 on as for half of it."""
        design = design or "photo"
        if design == "full":
            changes = {**FULL_SIZES, **changes}
        elif resolution >= 512:
            changes = {"magnification": 2, "texture_size": (384, 576), **changes}
        if design == "photo":
            changes = {"change_size": CHANGE_SIZE, "dropped": PHOTO_DROPPED, "has_own_eyes": True, **changes}
        return cls(resolution=resolution, design=design, **changes)

    @property
    def trunk_size(self) -> int:
        """Width and height that all but the last layers compute for, pixels."""
        return self.resolution // self.magnification

    @property
    def is_shaded(self) -> bool:
        """Whether the diffuse colour is seen, so that the head must be shaded."""
        return "diffuse" not in self.dropped

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
        if "design" not in values:
            values = {**FIRST_DESIGN, **values}
        clean: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        for name, value in clean.items():
            if name in ("dropped", "design"):
                continue
            if name == "has_own_eyes":
                if not isinstance(value, bool):
                    raise ValueError(f"generator config: {name} must be true or false, got {value!r}")
                continue
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(n, int) and 0 < n <= 4096 for n in numbers):
                raise ValueError(f"generator config: {name} must be whole numbers from 1 to 4096, got {value!r}")
        return cls(**clean)


def convolution(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> nn.Conv2d:
    """Make a convolution that keeps the size but for its stride, ready to be followed by `activate`."""
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2)
    nn.init.kaiming_normal_(conv.weight, SLOPE)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def activate(x: Tensor) -> Tensor:
    """Apply the leaky rectifier that is used throughout."""
    return functional.leaky_relu(x, SLOPE)


class ResidualBlock(nn.Module):
    """Two convolutions added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = convolution(channels, channels)
        with torch.no_grad():
            self.second.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to the same shape."""
        return activate(x + self.second(activate(self.first(x))))


class SpaceTimeGenerator(nn.Module):
    """Conditioning window to video frame; see the module's text. Runs on any device, float32 or bfloat16."""

    keep: Tensor
    own_shape: Tensor
    """`[V, 3]` metres by which the person's head lies off the face model of their identity; a tensor, so that it stays
    with the weights."""
    teeth_rise: Tensor
    """`[2]` metres by which their upper and lower teeth lie higher than the model's; a tensor for the same reason."""
    may_lack: tuple[str, ...] = ("own_shape", "teeth_rise")
    """Tensors that weights of an earlier version do without: they are as in a new network then."""
    block: int
    """Pixels, across and down, that lie together as channels in `surface` and in what is painted."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        size, stem = config.resolution, config.stem_channels
        self.stem_first = convolution(CONDITIONING_CHANNELS, stem)
        self.stem_second = convolution(stem, stem, stride=2)
        self.texture = nn.Parameter(0.1 * torch.randn(1, config.texture_channels, *config.texture_size))
        self.plate = nn.Parameter(torch.full((1, 3, size, size), 0.5))
        keep = torch.ones(1, CONDITIONING_CHANNELS, 1, 1)
        for index, name in enumerate(("diffuse", "correspondence", "gaze")):
            if name in config.dropped:
                keep[:, 3 * index : 3 * index + 3] = 0
        self.register_buffer("keep", keep, persistent=False)
        self.register_buffer("own_shape", torch.zeros(VERTICES, 3))
        self.register_buffer("teeth_rise", torch.zeros(2))
        self.register_load_state_dict_pre_hook(_keep_as_it_was)  # type: ignore[no-untyped-call]

    def _add_trunk(self, surface: int = 0) -> None:
        """Make the layers of `encode_levels`, of what enters it, and those that lead up again.

        `surface` channels enter beside the frame, where there are any.
        """
        config, widths = self.config, self.config.widths
        side = config.trunk_size // 4
        self.fuse = convolution(config.stem_channels * config.window, widths[2], size=1)
        self.canvas = nn.Parameter(torch.zeros(1, widths[1], side, side))
        self.enter = convolution(CONDITIONING_CHANNELS * 4, widths[0], size=1)
        if surface:
            self.enter_surface = convolution(surface, widths[0], size=1)
        self.down = nn.ModuleList(convolution(a, b, stride=2) for a, b in itertools.pairwise(widths))
        self.encode = nn.ModuleList(ResidualBlock(width) for width in widths[2:])
        # One pixel wide and before the enlargement: the same function as behind it, at a quarter of the work.
        self.up = nn.ModuleList(convolution(b, a, size=1) for a, b in itertools.pairwise(widths))

    def encode_levels(self, entered: Tensor, window: Tensor) -> list[Tensor]:
        """Go down from what entered at half the size, `[B, C, h, w]`; gives every level's features, the deepest last.

        `window` is that of `decode`: the past joins at an eighth.
        """
        context = self.fuse(self.fuse_window(window))
        levels = [entered, activate(self.down[0](entered) + self.canvas)]
        for index, (down, block) in enumerate(zip(list(self.down)[1:], self.encode, strict=True)):
            x = down(levels[-1])
            levels.append(block(activate(x + context if index == 0 else x)))
        return levels

    @property
    def halo(self) -> Halo | None:
        """The card around the head that its conditioning is drawn with."""
        return None

    def _add_summary(self, widths: tuple[int, ...]) -> None:
        """Make the layers of `summarize` for levels of these `widths`."""
        # The head decides where neck and shoulders are: a global summary reaches every place of every level.
        self._shift_widths = list(widths)
        self.summary = convolution(self.config.widths[-1], 16, size=1)
        self.summary_hidden = nn.Linear(16 * (self.config.trunk_size // 32) ** 2, 128)
        self.summary_out = nn.Linear(128, sum(widths))
        nn.init.zeros_(self.summary_out.weight)
        nn.init.zeros_(self.summary_out.bias)

    def summarize(self, deepest: Tensor) -> list[Tensor]:
        """Give what the deepest level says to all places of each level, `[B, C, 1, 1]`."""
        code = activate(self.summary_hidden(activate(self.summary(deepest)).flatten(1)))
        return list(torch.split(self.summary_out(code)[:, :, None, None], self._shift_widths, 1))

    @property
    def last_features(self) -> nn.Module:
        """The module that gives the last features before they are painted."""
        raise NotImplementedError

    @property
    def is_softened(self) -> bool:
        """Whether its pictures are averaged at the edges of the correspondence (`models.photo_generator.soften`)."""
        return False

    @property
    def stem_shape(self) -> tuple[int, int, int]:
        """Shape `[h, w, S]` of one frame's stem."""
        side = self.config.trunk_size // 8
        return side, side, self.config.stem_channels

    @property
    def reduction(self) -> int:
        """Pixels, across and down, that the stem sees as one."""
        return 4 * self.config.magnification

    def stem(self, conditioning: Tensor) -> Tensor:
        """Reduce one conditioning frame `[B, 9, H, W]` to `[B, h, w, S]`, an eighth of the trunk's size."""
        return self.stem_reduced(functional.avg_pool2d(conditioning, self.reduction))

    def stem_reduced(self, reduced: Tensor) -> Tensor:
        """Do the rest of `stem` on a frame already averaged over `reduction` pixels each way, `[B, 9, 2 h, 2 w]`."""
        stem = activate(self.stem_second(activate(self.stem_first(reduced * self.keep))))
        return stem.permute(0, 2, 3, 1)

    def decode(self, conditioning: Tensor, window: Tensor, face: Tensor | None = None) -> Tensor:
        """Turn the current frame `[B, 9, H, W]` and all stems, current last, into a picture `[B, 3, H, W]` in 0 to 1.

        `window` is `[B, L, h, w, S]`, with the shape of `stem`'s result behind the window's length. `face [B, F]` is
        what `models.face_numbers` says of the current frame.
        """
        conditioning = conditioning * self.keep
        surface = torch.cat([self.sample_texture(conditioning[:, 3:6], face), conditioning[:, 6:9]], 1)
        magnification = self.config.magnification
        frame = conditioning
        surfaces = [into_blocks(surface, self.block)]
        if magnification > 1:
            frame = functional.avg_pool2d(conditioning, magnification)
            surfaces.insert(0, into_blocks(functional.avg_pool2d(surface, magnification), self.block))
        painted = self.paint_prepared(functional.pixel_unshuffle(frame, 2), surfaces, window)
        painted = out_of_blocks(painted, self.block)
        mask = painted[:, 3:]
        return painted[:, :3] * mask + self.plate * (1 - mask)

    def paint_prepared(self, unshuffled: Tensor, surfaces: list[Tensor], window: Tensor) -> Tensor:
        """Do `decode` up to the plate, with the current frame laid out as the network reads it.

        `unshuffled` is `[B, 36, h, w]`: each 2 x 2 pixels, at the trunk's size, as channels. `surfaces`, from the
        trunk's size up to the picture's, are `[B, b * b * (C + 4), H / b, W / b]`: the texture, its coverage, and the
        eye and gaze image, as `into_blocks` arranges them. Gives, arranged alike, `[B, b * b * 4, H / b, W / b]`: the
        paint and, last, its mask, the share of it that hides the plate, each in 0 to 1.
        """
        raise NotImplementedError

    def paint_live(self, unshuffled: Tensor, surface: Tensor, window: Tensor) -> Tensor:
        """Do `paint_prepared` for a live engine: one `surface`, in blocks of blocks as large as the magnification.

        Gives `[B, h * w, C]`: arranged alike, channels last.
        """
        return self.paint_prepared(unshuffled, [surface], window).flatten(2).transpose(1, 2)

    def fuse_window(self, window: Tensor) -> Tensor:
        """Lay the stems of a window `[B, L, h, w, S]` side by side as channels, `[B, L * S, h, w]`."""
        batch, length, height, width, channels = window.shape
        # Channels last throughout: no value travels further than a frame's own channels.
        joined = window.permute(0, 2, 3, 1, 4).reshape(batch, height, width, length * channels)
        return joined.permute(0, 3, 1, 2)

    def change_of(self, face: Tensor | None) -> Tensor | None:
        """Give what faces of the numbers `[B, F]` add to the texture's first channels, `[B, 3, h', w']` over all of it.

        None where that is nothing.
        """
        return None

    def sample_texture(self, correspondence: Tensor, face: Tensor | None = None) -> Tensor:
        """Look the texture up at codes `[B, 3, H, W]`: features and, last, coverage, `[B, texture + 1, H, W]`.

        `face` is as for `decode`.
        """
        covered = (correspondence.sum(1, keepdim=True) > 1e-3).to(correspondence.dtype)
        grid = texture_places(correspondence).float()
        sampled = _sample(self.texture, grid)
        if (change := self.change_of(face)) is not None:
            sampled = torch.cat([sampled[:, :3] + _sample(change, grid), sampled[:, 3:]], 1)
        return torch.cat([sampled.to(correspondence.dtype) * covered, covered], 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Turn a whole window `[B, L, 9, H, W]`, oldest first, into the last frame's picture `[B, 3, H, W]` in 0..1."""
        if frames.shape[1] != self.config.window:
            raise ValueError(f"frames: expected a window of {self.config.window}, got {frames.shape[1]}")
        stems = torch.stack([self.stem(frames[:, index]) for index in range(frames.shape[1])], 1)
        return self.decode(frames[:, -1], stems)


def _keep_as_it_was(network: SpaceTimeGenerator, weights: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Let a target stay as it was whose weights lack what came later."""
    for name in network.may_lack:
        if hasattr(network, name):
            weights.setdefault(prefix + name, network.get_buffer(name))


def _sample(texture: Tensor, grid: Tensor) -> Tensor:
    """Look `texture`, `[1, C, h, w]` or one for each of a batch, up at places `[B, H, W, 2]`: `[B, C, H, W]`."""
    texture = texture.float().expand(len(grid), -1, -1, -1)
    return functional.grid_sample(texture, grid, "bilinear", "border", align_corners=False)


def texture_places(correspondence: Tensor) -> Tensor:
    """Say where codes `[B, 3, H, W]` lie in the texture: `[B, H, W, 2]`, across and up, from -1 to 1."""
    across, depth = correspondence[:, 0] - 0.5, correspondence[:, 2] - HEAD_MIDDLE
    # The "diamond angle" around the head's vertical axis: as good as atan2 here, and cheap on every engine.
    share = across.abs() / (across.abs() + depth.abs() + 1e-4)
    around = torch.where(depth > 0, share, 2 - share) * 0.5
    around = torch.where(across > 0, around, -around)
    return torch.stack([around, correspondence[:, 1] * 2 - 1], -1)


def build_generator(config: GeneratorConfig) -> SpaceTimeGenerator:
    """Make the network that `config` asks for, untrained."""
    from models.full_generator import FullGenerator
    from models.lean_generator import LeanGenerator
    from models.photo_generator import PhotoGenerator

    designs = {"photo": PhotoGenerator, "lean": LeanGenerator, "full": FullGenerator}
    return designs[config.design](config)


def into_blocks(image: Tensor, side: int) -> Tensor:
    """Lay each `side` x `side` pixels of `[B, C, H, W]` behind each other, a pixel's channels side by side.

    Gives `[B, side * side * C, H / side, W / side]`; each pixel stays in one piece, as memory is read.
    """
    if side == 1:
        return image
    batch, channels, height, width = image.shape
    parts = image.reshape(batch, channels, height // side, side, width // side, side).permute(0, 3, 5, 1, 2, 4)
    blocks = parts.reshape(batch, side * side * channels, height // side, width // side)
    return blocks.contiguous(memory_format=torch.channels_last)


def out_of_blocks(blocks: Tensor, side: int) -> Tensor:
    """Undo `into_blocks`."""
    if side == 1:
        return blocks
    batch, channels, height, width = blocks.shape
    parts = blocks.reshape(batch, side, side, channels // side**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(batch, channels // side**2, height * side, width * side)


class StreamingStep(nn.Module):
    """One live frame as one network: what an engine executes."""

    def __init__(self, generator: SpaceTimeGenerator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, conditioning: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Take a frame `[1, 9, H, W]` and past stems `[1, L - 1, h, w, S]`; give a picture and the frame's stem."""
        stem = self.generator.stem(conditioning)
        return self.generator.decode(conditioning, torch.cat([past, stem[:, None]], 1)), stem
