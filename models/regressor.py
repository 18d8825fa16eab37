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

from models.eye_windows import EYE_POINTS, EyeWindows
from models.framing import ANCHOR_M, HEAD_M
from models.mesh_trunk import LANDMARKS, MeshTrunk
from models.params import (
    EXPRESSION_INDEX,
    EXPRESSION_REACH,
    EXPRESSION_SIZE,
    IDENTITY_SIZE,
    REFLECTANCE_SIZE,
    SH_BAND0,
)
from models.pointing import PointHead

DEFAULT_PATH = Path(__file__).parent / "weights" / "regressor.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressorConfig:
    """Sizes of a `FaceRegressor`."""

    size: int = 192
    """Width and height of the crop, pixels; a multiple of 64."""
    widths: tuple[int, ...] = (16, 32, 64, 128)
    """Channels of the trunk at 1/2, 1/4, 1/8 and from 1/16 on."""
    narrow: int = 32
    """Channels from which the trunk reads the mesh's landmarks."""
    eye_window: tuple[int, int] = (32, 48)
    """Height and width of the window on an eye, pixels; multiples of 4."""
    eye_widths: tuple[int, ...] = (24, 40, 64)
    """Channels of the eyes' path at 1/1, 1/2 and 1/4 of the window."""
    summary_channels: tuple[int, int] = (48, 16)
    """Channels to which the last map of the face and of an eye is reduced before it is read as a whole."""
    code: tuple[int, int] = (224, 96)
    """Numbers in which the face and each eye are summed up."""
    solver: tuple[int, int, int] = (512, 512, 512)
    """Widths of the solver from landmarks to parameters; a layer as wide as the one before it adds to that."""
    eye_head: int = 96
    """Width of the layer that turns what is known of one eye into its gaze and lids."""
    geometry_levels: tuple[int, int] = (32, 64)
    """Coefficients of the corrective levels 1 and 2 of geometry."""
    reflectance_levels: tuple[int, int] = (16, 32)
    """Coefficients of the corrective levels 1 and 2 of reflectance."""

    def __post_init__(self) -> None:
        if self.size % 64 or self.size <= 0:
            raise ValueError(f"size: expected a multiple of 64, got {self.size}")
        if len(self.widths) != 4 or len(self.eye_widths) != 3:
            raise ValueError("widths, eye_widths: expected 4 and 3 numbers")
        if any(side % 4 or side <= 0 for side in self.eye_window):
            raise ValueError(f"eye_window: expected multiples of 4, got {self.eye_window}")

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
    """`[B, 52]`, 0 to `EXPRESSION_REACH`."""
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


def _of_eyes(config: RegressorConfig) -> Tensor:
    """Say where what is read of each eye belongs, `[10, D]`: yaw (mirrored back), pitch, blink, squint and wide."""
    where = torch.zeros(2, 5, config.outputs)
    gaze, expression = config.fields["gaze"].start, config.fields["expression"].start
    for eye, side in enumerate(("Left", "Right")):
        where[eye, 0, gaze + 2 * eye] = (-1.0, 1.0)[eye]
        where[eye, 1, gaze + 2 * eye + 1] = 1.0
        for index, name in enumerate(("Blink", "Squint", "Wide")):
            where[eye, 2 + index, expression + EXPRESSION_INDEX[f"eye{name}{side}"]] = 1.0
    return where.flatten(0, 1)


_MIRRORED = [[1.0, -1.0, -1.0, -1.0, 1.0, 1.0], [1.0] * 6]
"""Signs of two columns of a rotation, x first, in a mirror, as the left eye's window is one, and outside of it."""

_OFFSETS = {"expression": 0.08, "confidence": 0.0}
_SCALES = {
    "identity": 1.0, "expression": 0.2, "reflectance": 1.0, "illumination": 0.5, "rotation": 0.3, "place": 0.1,
    "gaze": 0.2, "geometry_levels": 1.0, "reflectance_levels": 1.0, "confidence": 2.0,
}  # fmt: skip
"""Units of each raw output and what its zero means: about one standard deviation around the mean of the targets."""


class _Layer(nn.Module):
    """Convolution, normalisation over the batch (folded into it by every engine), rectifier."""

    def __init__(self, inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> None:
        super().__init__()
        # The normalisation behind it has the bias.
        self.conv = nn.Conv2d(inputs, outputs, size, stride, (size - 1) // 2, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm(self.conv(x)))


class _Dense(nn.Module):
    """Every number in, rectifier; added to what came in where that is as wide (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self._is_added = inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.linear(x))
        return x + y if self._is_added else y


class FaceRegressor(nn.Module):
    """Face crop to raw outputs of about unit size; `split` gives them their meaning.

    The trunk finds the mesh's landmarks; by them, windows are laid on both eyes, because gaze and lids are matters of
    single pixels, and one network looks into both. What a solver makes of all landmarks is completed by what trunk and
    eyes, read as a whole, say beyond them.
    """

    offset: Tensor
    scale: Tensor
    usual: Tensor
    to_raw: Tensor
    reach: Tensor

    def __init__(self, config: RegressorConfig | None = None) -> None:
        """Make a network with fresh weights that begins at the average face."""
        super().__init__()
        self.config = config = config or RegressorConfig()
        first, second, third = config.eye_widths
        rows, columns = config.eye_window
        points = len(EYE_POINTS[0])
        a, b, c, d = config.widths
        self.trunk = MeshTrunk(config.size, (a, b, c, d), config.narrow)
        self.summary = _Layer(d, config.summary_channels[0], size=1)
        self.face_code = nn.Linear(config.summary_channels[0] * (config.size // 32) ** 2, config.code[0])
        self.eyes = nn.Sequential(_Layer(3, first), _Layer(first, second, stride=2), _Layer(second, second))
        self.eye_points = PointHead(second, points, (rows // 2, columns // 2), 2.0, (-columns / 2, -rows / 2))
        self.eye_summary = nn.Sequential(
            _Layer(second, third, stride=2), _Layer(third, config.summary_channels[1], size=1)
        )
        self.eye_code = nn.Linear(config.summary_channels[1] * (rows // 4) * (columns // 4), config.code[1])
        inputs = (2 * LANDMARKS + 4 * points, *config.solver)
        self.solve = nn.Sequential(*(_Dense(a, b) for a, b in itertools.pairwise(inputs)))
        codes = config.code[0] + 2 * config.code[1] + config.solver[-1] + 1
        self.read = nn.Linear(codes, codes)
        self.out = nn.Linear(codes, config.outputs)
        self.solved = nn.Linear(config.solver[-1], config.outputs)
        self.of_eye = nn.Sequential(
            nn.Linear(config.code[1] + 2 * points + 6, config.eye_head), nn.ReLU(), nn.Linear(config.eye_head, 5)
        )
        with torch.no_grad():
            for last in (self.out, self.solved, self.of_eye[2]):
                assert isinstance(last, nn.Linear)
                last.weight.mul_(0.1)
                last.bias.zero_()
        # The landmarks of a fresh network lie in the middle; `settle` says where they usually are.
        self.register_buffer("usual", torch.full((LANDMARKS, 2), config.size / 2))
        offset, scale = torch.zeros(config.outputs), torch.ones(config.outputs)
        for name, where in config.fields.items():
            offset[where], scale[where] = _OFFSETS.get(name, 0.0), _SCALES[name]
        offset[config.fields["rotation"]] = torch.tensor([1.0, 0, 0, 0, 1, 0])
        offset[config.fields["illumination"]] = torch.tensor([0.9 / SH_BAND0, *[0.0] * 8]).repeat(3)
        self.register_buffer("offset", offset)
        self.register_buffer("scale", scale)
        self.register_buffer("to_raw", _of_eyes(config), persistent=False)
        self.register_buffer("reach", torch.tensor(EXPRESSION_REACH), persistent=False)

    @torch.no_grad()
    def settle(self, landmarks_px: Tensor) -> None:
        """Expect landmarks at `landmarks_px [478, 2]`, pixels of the crop, from now on."""
        self.usual.copy_(landmarks_px[:LANDMARKS])
        windows = EyeWindows.around(self.usual[None], self.config.eye_window[1])
        points = windows.from_crop(landmarks_px[torch.tensor(EYE_POINTS)][None])
        self.eye_points.settle(points[0].mean(0))

    def forward(self, crop: Tensor) -> Tensor:
        """Map crops `[B, 3, S, S]`, RGB in 0 to 1, to raw outputs `[B, D]`."""
        size = self.config.size
        if crop.shape[1:] != (3, size, size):
            raise ValueError(f"crop: expected [B, 3, {size}, {size}], got {list(crop.shape)}")
        shared, mesh, presence = self.trunk(crop)
        mesh_px = self.mesh_px(mesh)
        windows = EyeWindows.around(mesh_px.detach(), self.config.eye_window[1])
        fine = self.eyes(4.0 * windows.look(crop, self.config.eye_window) - 2.0)
        points = self.eye_points(fine).reshape(-1, 2, len(EYE_POINTS[0]), 2)
        face = functional.relu(self.face_code(self.summary(shared).flatten(1)))
        eyes = functional.relu(self.eye_code(self.eye_summary(fine).flatten(1))).reshape(-1, 2, self.config.code[1])
        solution = self._solution(mesh_px, points)
        code = torch.cat([face, eyes.flatten(1), solution, presence], 1)
        raw = self.out(code + functional.relu(self.read(code))) + self.solved(solution)
        # What a window shows of an eye's turn in the head depends on the head's own, mirrored like the window.
        turn = self.values(raw.detach())[:, self.config.fields["rotation"]]
        turns = turn[:, None] * turn.new_tensor(_MIRRORED)
        each = self.of_eye(torch.cat([eyes, points.flatten(2), turns], 2))
        return raw + each.flatten(1) @ self.to_raw

    def mesh_px(self, mesh: Tensor) -> Tensor:
        """Take the places `[B, 468, 2]`, pixels, out of what the trunk says of the mesh."""
        return mesh[:, :, :2]

    def _solution(self, mesh_px: Tensor, eye_points: Tensor) -> Tensor:
        mesh = (mesh_px - self.usual) * (24.0 / self.config.size)
        return self.solve(torch.cat([mesh.flatten(1), eye_points.flatten(1)], 1))

    def from_points(self, mesh_px: Tensor, eyes_px: Tensor) -> Tensor:
        """Give raw outputs `[B, D]` by the solver alone.

        Of landmarks `[B, 468, 2]` in the crop, and `[B, 2, K, 2]` in the windows that these frame, pixels from their
        middle.
        """
        points = self.eye_points.deviations(eyes_px.flatten(0, 1)).reshape(eyes_px.shape)
        return self.solved(self._solution(mesh_px, points))

    def values(self, raw: Tensor) -> Tensor:
        """Give raw outputs `[B, D]` their units, in the same order, unbounded: rotation still six numbers."""
        return self.offset + self.scale * raw

    def split(self, raw: Tensor) -> Regressed:
        """Give raw outputs `[B, D]` their meaning. Expression is cut off at its reach, but its gradient is not."""
        values = self.values(raw.float())
        part = {name: values[:, where] for name, where in self.config.fields.items()}
        expression = part["expression"]
        # Straight through (Bengio et al. 2013): a weight that is wrongly beyond a bound can come back.
        bounded = torch.minimum(expression.clamp(min=0.0), self.reach.to(expression))
        expression = expression + (bounded - expression).detach()
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
