"""The regressor: one small convolutional network from a face crop to everything that is known of the face.

After Tewari et al., "Self-supervised Multi-level Face Model Learning for Monocular Reconstruction at over 250 Hz"
(CVPR 2018): one feed-forward pass gives identity, expression, reflectance, illumination, pose and the coefficients of
the corrective levels; gaze and a confidence are added here. On the way it finds landmarks, and a small solver inside it
turns their places into pose, expression and gaze. Rotation is given in the continuous six numbers of Zhou et
al., "On the Continuity of Rotation Representations in Neural Networks" (CVPR 2019, equation 15).
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from models.framing import ANCHOR_M, HEAD_M
from models.params import EXPRESSION_SIZE, IDENTITY_SIZE, REFLECTANCE_SIZE, SH_BAND0
from models.pointing import PointHead

DEFAULT_PATH = Path(__file__).parent / "weights" / "regressor.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressorConfig:
    """Sizes of a `FaceRegressor`."""

    size: int = 128
    """Width and height of the crop, pixels; a multiple of 32."""
    widths: tuple[int, ...] = (16, 32, 48, 96, 160)
    """Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the crop."""
    blocks: tuple[int, ...] = (0, 0, 1, 2, 0)
    """Residual blocks at each of these scales."""
    eye_widths: tuple[int, ...] = (24, 40, 64)
    """Channels of the eye branch at 1/2, 1/4 and 1/8 of the crop."""
    eye_rows: tuple[int, int] = (8, 32)
    """First and one past the last row of the eye branch's band, at half the resolution of a 128-pixel crop."""
    summary_channels: tuple[int, int] = (32, 16)
    """Channels to which the last map of the face and of the eyes is reduced before it is read as a whole."""
    code: tuple[int, int] = (192, 128)
    """Numbers in which the face and the eyes are summed up."""
    points: tuple[int, int] = (72, 26)
    """Landmarks that are found on the face, at 1/8 of the crop, and on the eyes, at 1/4."""
    map_channels: int = 64
    """Channels of the map on which the face's landmarks are found."""
    solver: tuple[int, int] = (256, 192)
    """Widths of the solver from landmarks to parameters."""
    geometry_levels: tuple[int, int] = (32, 64)
    """Coefficients of the corrective levels 1 and 2 of geometry."""
    reflectance_levels: tuple[int, int] = (16, 32)
    """Coefficients of the corrective levels 1 and 2 of reflectance."""

    def __post_init__(self) -> None:
        if self.size % 32 or self.size <= 0:
            raise ValueError(f"size: expected a multiple of 32, got {self.size}")
        if len(self.widths) != 5 or len(self.blocks) != 5 or len(self.eye_widths) != 3:
            raise ValueError("widths, blocks, eye_widths: expected 5, 5 and 3 numbers")
        if not 0 <= self.eye_rows[0] < self.eye_rows[1] <= 64 or any(row % 8 for row in self.eye_rows):
            raise ValueError(f"eye_rows: expected two rising multiples of 8 up to 64, got {self.eye_rows}")

    def to_json(self) -> dict[str, Any]:
        """Turn into plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Rebuild from `to_json()`. Raises `ValueError` on unknown or ill-typed fields."""
        fields = {field.name: field.default for field in dataclasses.fields(cls)}
        if unknown := set(values) - set(fields):
            raise ValueError(f"regressor config: unknown fields {sorted(unknown)}")
        clean: dict[str, Any] = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in values.items()}
        for name, value in clean.items():
            default = fields[name]
            numbers = value if isinstance(value, tuple) else (value,)
            expected = len(default) if isinstance(default, tuple) else 1
            if isinstance(default, tuple) != isinstance(value, tuple) or len(numbers) != expected:
                raise ValueError(f"regressor config: {name} must have {expected} numbers, got {value!r}")
            if not all(type(n) is int and 0 <= n <= 4096 for n in numbers):
                raise ValueError(f"regressor config: {name} must be whole numbers from 0 to 4096, got {value!r}")
        return cls(**clean)

    @property
    def fields(self) -> dict[str, slice]:
        """Where each output lies in the raw vector, in order."""
        sizes = {
            "identity": IDENTITY_SIZE, "expression": EXPRESSION_SIZE, "reflectance": REFLECTANCE_SIZE,
            "illumination": 27, "rotation": 6, "place": 3, "gaze": 4,
            "geometry_levels": sum(self.geometry_levels), "reflectance_levels": sum(self.reflectance_levels),
            "confidence": 1,
        }  # fmt: skip
        ends = itertools.accumulate(sizes.values())
        return {name: slice(end - sizes[name], end) for name, end in zip(sizes, ends, strict=True)}

    @property
    def outputs(self) -> int:
        """Length `D` of the raw vector."""
        return self.fields["confidence"].stop


@dataclass(frozen=True, slots=True)
class Regressed:
    """What the regressor says of a batch of crops, in the units of `FaceParams`, pose in the camera of the crop."""

    identity: Tensor
    """`[B, 80]` standard deviations."""
    expression: Tensor
    """`[B, 52]`, 0 to 1."""
    reflectance: Tensor
    """`[B, 80]` standard deviations."""
    illumination: Tensor
    """`[B, 3, 9]` in the view frame of the crop."""
    rotation: Tensor
    """`[B, 3, 3]` rotation matrices from the head to the crop's view frame."""
    place: Tensor
    """`[B, 3]`: right and up from the middle of the crop to the anchor of the head, in half widths of the crop; natural
    logarithm of the head's size against one that fills the crop as `HEAD_M` does. See `translation`."""
    gaze: Tensor
    """`[B, 2, 2]` radians."""
    geometry_levels: Tensor
    """`[B, K1 + K2]` coefficients of the corrective geometry, level 1 first."""
    reflectance_levels: Tensor
    """`[B, K1r + K2r]` coefficients of the corrective reflectance, level 1 first."""
    confidence: Tensor
    """`[B]` logit: whether the crop shows a face that is well centred and mostly visible."""

    def translation(self, focal_px: Tensor | float, size: int) -> Tensor:
        """Give the head's origin `[B, 3]`, metres, in the view frame of crops `size` pixels wide."""
        return translation(self.place, self.rotation, focal_px, size)


def translation(place: Tensor, rotation: Tensor, focal_px: Tensor | float, size: int) -> Tensor:
    """Do `models.framing.translation_in_crop` for a batch: `[B, 3]` of `place [B, 3]` and `rotation [B, 3, 3]`.

    `focal_px` is `[B]` or one number.
    """
    focal = torch.as_tensor(focal_px, dtype=place.dtype, device=place.device)
    depth = HEAD_M * focal / (size * torch.exp(place[:, 2]))
    sideways = place[:, :2] * (0.5 * size * depth / focal)[:, None]
    anchor = torch.cat([sideways, -depth[:, None]], 1)
    return anchor - rotation @ place.new_tensor(ANCHOR_M)


def place(translation: Tensor, rotation: Tensor, focal_px: Tensor | float, size: int) -> Tensor:
    """Invert `translation`: `[B, 3]` metres and `[B, 3, 3]` to `place [B, 3]`."""
    focal = torch.as_tensor(focal_px, dtype=translation.dtype, device=translation.device)
    anchor = translation + rotation @ translation.new_tensor(ANCHOR_M)
    depth = -anchor[:, 2]
    sideways = anchor[:, :2] * (2.0 * focal / (size * depth))[:, None]
    return torch.cat([sideways, torch.log(HEAD_M * focal / (size * depth))[:, None]], 1)


def rotation_from_six(six: Tensor) -> Tensor:
    """Orthonormalise two columns `[B, 6]` (x first) to rotation matrices `[B, 3, 3]` (Zhou et al., equation 15)."""
    x = functional.normalize(six[:, :3], dim=1)
    y = six[:, 3:] - (x * six[:, 3:]).sum(1, keepdim=True) * x
    y = functional.normalize(y, dim=1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], 2)


_OFFSETS = {"expression": 0.08, "confidence": 0.0}
_SCALES = {
    "identity": 1.0, "expression": 0.2, "reflectance": 1.0, "illumination": 0.5, "rotation": 0.3, "place": 0.1,
    "gaze": 0.2, "geometry_levels": 1.0, "reflectance_levels": 1.0, "confidence": 2.0,
}  # fmt: skip
"""Units of each raw output and what its zero means: about one standard deviation around the mean of the targets."""


def _conv(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> nn.Conv2d:
    # Size 4 at stride 2 sees each pixel equally often; the normalisation behind it has the bias.
    conv = nn.Conv2d(inputs, outputs, size, stride, (size - 1) // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return conv


class _Layer(nn.Module):
    """Convolution, normalisation over the batch (folded into it by every engine), rectifier."""

    def __init__(self, inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = _conv(inputs, outputs, size=size, stride=stride)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv(x)))


class _Linear(nn.Sequential):
    """Convolution of one pixel and normalisation over the batch."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(_conv(inputs, outputs, size=1), nn.BatchNorm2d(outputs))


class _Block(nn.Module):
    """Two convolutions added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _Layer(channels, channels)
        self.second = _conv(channels, channels)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.constant_(self.norm.weight, 0.2)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.norm(self.second(self.first(x))))


class FaceRegressor(nn.Module):
    """Face crop to raw outputs of about unit size; `split` gives them their meaning.

    Two paths share the first layer: the face, down to 1/32, and the band of the eyes, which stays finer, because gaze
    and lids are matters of single pixels. Landmarks are found on both, and what the solver makes of their places is
    completed by what each path, read as a whole, says beyond them.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, config: RegressorConfig | None = None) -> None:
        """Make a network with fresh weights that begins at the average face."""
        super().__init__()
        self.config = config = config or RegressorConfig()
        widths, side = config.widths, config.size // 32
        self.enter = _Layer(3, widths[0], size=4, stride=2)
        stages = []
        for (inputs, outputs), count in zip(itertools.pairwise(widths), config.blocks[1:], strict=True):
            stages.append(nn.Sequential(_Layer(inputs, outputs, stride=2), *(_Block(outputs) for _ in range(count))))
        stages[0] = nn.Sequential(*(_Block(widths[0]) for _ in range(config.blocks[0])), *stages[0])
        self.stages = nn.ModuleList(stages)
        self.summary = _Layer(widths[-1], config.summary_channels[0], size=1)
        # What lies around a landmark, and at a quarter of the resolution where in the face that is.
        self.near, self.far = (_Linear(widths[level], config.map_channels) for level in (2, 3))
        # The same for the eyes, which are as like as mirror images.
        self.context = _Linear(config.map_channels, config.eye_widths[1])
        first, second, third = config.eye_widths
        self.eyes = nn.Sequential(_Layer(widths[0], first), _Layer(first, second, stride=2), _Layer(second, second))
        self.eye_summary = nn.Sequential(
            _Layer(second, third, stride=2), _Layer(third, config.summary_channels[1], size=1)
        )
        rows = (config.eye_rows[1] - config.eye_rows[0]) * config.size // 128
        self.face_points = PointHead(config.map_channels, config.points[0], (4 * side, 4 * side), 8.0)
        self.eye_points = PointHead(
            second, config.points[1], (rows // 2, 8 * side), 4.0, config.eye_rows[0] * 2 * config.size / 128
        )
        self.face_code = nn.Linear(config.summary_channels[0] * side * side, config.code[0])
        self.eye_code = nn.Linear(config.summary_channels[1] * (rows // 4) * (config.size // 8), config.code[1])
        self.solve = nn.Sequential(
            nn.Linear(2 * sum(config.points), config.solver[0]), nn.ReLU(), nn.Linear(*config.solver), nn.ReLU()
        )
        codes = sum(config.code) + config.solver[1]
        self.read = nn.Linear(codes, codes)
        self.out = nn.Linear(codes, config.outputs)
        self.solved = nn.Linear(config.solver[1], config.outputs)
        with torch.no_grad():
            for last in (self.out, self.solved):
                last.weight.mul_(0.1)
                last.bias.zero_()
        offset, scale = torch.zeros(config.outputs), torch.ones(config.outputs)
        for name, where in config.fields.items():
            offset[where], scale[where] = _OFFSETS.get(name, 0.0), _SCALES[name]
        offset[config.fields["rotation"]] = torch.tensor([1.0, 0, 0, 0, 1, 0])
        offset[config.fields["illumination"]] = torch.tensor([0.9 / SH_BAND0, *[0.0] * 8]).repeat(3)
        self.register_buffer("offset", offset)
        self.register_buffer("scale", scale)

    def forward(self, crop: Tensor) -> Tensor:
        """Map crops `[B, 3, S, S]`, RGB in 0 to 1, to raw outputs `[B, D]`."""
        size = self.config.size
        if crop.shape[1:] != (3, size, size):
            raise ValueError(f"crop: expected [B, 3, {size}, {size}], got {list(crop.shape)}")
        x = self.enter(4.0 * crop - 2.0)
        first, last = (row * size // 128 for row in self.config.eye_rows)
        fine = self.eyes(x[:, :, first:last])
        maps = [x := stage(x) for stage in self.stages]
        around = functional.relu(self.near(maps[1]) + functional.interpolate(self.far(maps[2]), scale_factor=2.0))
        band = around[:, :, first // 4 : last // 4]
        placed = functional.relu(fine + functional.interpolate(self.context(band), scale_factor=2.0))
        points = torch.cat([self.face_points(around), self.eye_points(placed)], 1)
        face = functional.relu(self.face_code(self.summary(x).flatten(1)))
        eyes = functional.relu(self.eye_code(self.eye_summary(fine).flatten(1)))
        solution = self.solve(points.flatten(1))
        code = torch.cat([face, eyes, solution], 1)
        return self.out(code + functional.relu(self.read(code))) + self.solved(solution)

    def from_points(self, face_px: Tensor, eyes_px: Tensor) -> Tensor:
        """Give raw outputs `[B, D]` by the solver alone, of landmarks `[B, K, 2]` in the crop, pixels."""
        points = torch.cat([self.face_points.deviations(face_px), self.eye_points.deviations(eyes_px)], 1)
        return self.solved(self.solve(points.flatten(1)))

    def values(self, raw: Tensor) -> Tensor:
        """Give raw outputs `[B, D]` their units, in the same order, unbounded: rotation still six numbers."""
        return self.offset + self.scale * raw

    def split(self, raw: Tensor) -> Regressed:
        """Give raw outputs `[B, D]` their meaning. Expression is cut off at 0 and 1, but its gradient is not."""
        values = self.values(raw.float())
        part = {name: values[:, where] for name, where in self.config.fields.items()}
        expression = part["expression"]
        # Straight through (Bengio et al. 2013): a weight that is wrongly beyond a bound can come back.
        expression = expression + (expression.clamp(0.0, 1.0) - expression).detach()
        return Regressed(
            identity=part["identity"],
            expression=expression,
            reflectance=part["reflectance"],
            illumination=part["illumination"].reshape(-1, 3, 9),
            rotation=rotation_from_six(part["rotation"]),
            place=part["place"],
            gaze=part["gaze"].reshape(-1, 2, 2),
            geometry_levels=part["geometry_levels"],
            reflectance_levels=part["reflectance_levels"],
            confidence=part["confidence"][:, 0],
        )

    def save(self, path: Path, **notes: str) -> None:
        """Write the weights, float16, with the config and `notes` in the file's metadata."""
        tensors = {
            name: (value.half() if value.is_floating_point() else value).cpu().contiguous()
            for name, value in self.state_dict().items()
        }
        scratch = path.with_name(path.name + ".new")
        save_file(tensors, scratch, {"config": json.dumps(self.config.to_json()), **notes})
        scratch.replace(path)

    @classmethod
    def load(cls, path: Path | None = None) -> FaceRegressor:
        """Read weights written by `save`, in evaluation mode.

        Raises `FileNotFoundError` where there is no file and `ValueError` for one that is no regressor.
        """
        path = path or DEFAULT_PATH
        if not path.is_file():
            raise FileNotFoundError(f"There are no weights of the regressor: {path} is missing.")
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            config = RegressorConfig.from_json(json.loads(metadata["config"]))
            regressor = cls(config)
            regressor.load_state_dict({name: v.float() if v.is_floating_point() else v for name, v in tensors.items()})
        except (SafetensorError, KeyError, TypeError, RuntimeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} holds no regressor: {error}") from error
        if not all(torch.isfinite(value).all() for value in regressor.state_dict().values()):
            raise ValueError(f"{path} holds weights that are not finite.")
        return regressor.eval()
