"""`FaceParams`: everything that is known of a face in one frame."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

IDENTITY_SIZE = 80
REFLECTANCE_SIZE = 80
VERTICES = 4956
"""Vertices `V` of the face model."""

EXPRESSION_NAMES: tuple[str, ...] = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight",
    "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""The 52 ARKit blendshapes in the order of `FaceParams.expression`."""

EXPRESSION_SIZE = len(EXPRESSION_NAMES)
EXPRESSION_INDEX = {name: index for index, name in enumerate(EXPRESSION_NAMES)}
BLINKS = [EXPRESSION_INDEX["eyeBlinkLeft"], EXPRESSION_INDEX["eyeBlinkRight"]]
"""Both blinks among the 52 weights."""

Array = NDArray[np.float32]

EXPRESSION_REACH: Array = np.ones(EXPRESSION_SIZE, np.float32)
"""`[52]` weight at which each shape of the face model is as far as people go: ARKit's 1. The model's brows rise by 4 mm
at weight 1, people's by 10; and its pucker is a mild one."""
EXPRESSION_REACH[[index for name, index in EXPRESSION_INDEX.items() if name.startswith("brow")]] = 2.0
EXPRESSION_REACH[EXPRESSION_INDEX["mouthPucker"]] = 2.0
EXPRESSION_REACH.setflags(write=False)

_SHAPES: dict[str, tuple[int, ...]] = {
    "identity": (IDENTITY_SIZE,),
    "expression": (EXPRESSION_SIZE,),
    "reflectance": (REFLECTANCE_SIZE,),
    "illumination": (3, 9),
    "rotation": (3,),
    "translation": (3,),
    "gaze": (2, 2),
}
PACKED_SIZE = sum(int(np.prod(shape)) for shape in _SHAPES.values())


@dataclass(frozen=True, slots=True)
class FaceParams:
    """Parameters of one face, or of a batch of faces with a common leading shape (`...`).

    Symbols are those of Deep Video Portraits (Kim et al., SIGGRAPH 2018).
    """

    identity: Array
    """`[..., 80]` alpha: geometry coefficients in standard deviations."""
    expression: Array
    """`[..., 52]` delta: weights of the ARKit blendshapes, 0 to `EXPRESSION_REACH`, in the order of `EXPRESSION_NAMES`.
    The eight `eyeLook*` are zero here: the face model derives them from `gaze`."""
    reflectance: Array
    """`[..., 80]` beta: albedo coefficients in standard deviations."""
    illumination: Array
    """`[..., 3, 9]` gamma: RGB spherical harmonics of irradiance over pi, bands 0 to 2, linear light."""
    rotation: Array
    """`[..., 3]` T: yaw, pitch, roll in radians (signs in `models/__init__.py`)."""
    translation: Array
    """`[..., 3]` T: origin of the head in the view frame, metres; `z < 0` is in front of the camera."""
    gaze: Array
    """`[..., 2, 2]` e: (left, right) x (yaw, pitch) of the eyeballs in the head frame, radians."""

    def __post_init__(self) -> None:
        leading: tuple[int, ...] | None = None
        for name, shape in _SHAPES.items():
            got = getattr(self, name).shape
            if got[len(got) - len(shape) :] != shape:
                raise ValueError(f"FaceParams.{name}: expected shape [..., {', '.join(map(str, shape))}], got {got}")
            batch = got[: len(got) - len(shape)]
            if leading is not None and batch != leading:
                raise ValueError(f"FaceParams.{name}: expected leading shape {leading}, got {batch}")
            leading = batch

    @classmethod
    def neutral(cls, *, distance_m: float = 0.6) -> Self:
        """Make the average face at rest under white ambient light, `distance_m` in front of the camera."""
        values = {name: np.zeros(shape, np.float32) for name, shape in _SHAPES.items()}
        values["illumination"][:, 0] = 1.0 / SH_BAND0
        values["translation"][2] = -distance_m
        return cls(**values)

    @classmethod
    def unpack(cls, packed: Array) -> Self:
        """Rebuild from `pack()`'s `[..., PACKED_SIZE]` vector. Raises `ValueError` on another size."""
        if packed.shape[-1] != PACKED_SIZE:
            raise ValueError(f"packed FaceParams: expected last dimension {PACKED_SIZE}, got {packed.shape[-1]}")
        values, start = {}, 0
        for name, shape in _SHAPES.items():
            size = int(np.prod(shape))
            values[name] = packed[..., start : start + size].reshape(*packed.shape[:-1], *shape)
            start += size
        return cls(**values)

    @classmethod
    def stack(cls, frames: list[FaceParams]) -> Self:
        """Batch single frames along a new first dimension."""
        return cls(**{name: np.stack([getattr(frame, name) for frame in frames]) for name in _SHAPES})

    def __getitem__(self, index: int | slice) -> FaceParams:
        """Take one frame, or a range of frames, out of a batch."""
        return FaceParams(**{name: getattr(self, name)[index] for name in _SHAPES})

    def pack(self) -> Array:
        """Concatenate all fields to `[..., PACKED_SIZE]` float32."""
        batch = self.identity.shape[:-1]
        return np.concatenate([getattr(self, name).reshape(*batch, -1) for name in _SHAPES], axis=-1, dtype=np.float32)

    def replace(self, **changes: Array) -> FaceParams:
        """Copy with some fields replaced."""
        return dataclasses.replace(self, **changes)

    def fields(self) -> dict[str, Array]:
        """Map field names to arrays, in packing order."""
        return {name: getattr(self, name) for name in _SHAPES}


SH_BAND0 = 0.28209479177387814
"""Constant spherical harmonic `Y_00`: `illumination[c, 0] = 1 / SH_BAND0` is unit white ambient light."""
