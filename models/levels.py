"""The learned levels of the face model: corrective bases of geometry and of reflectance on top of the fixed ones.

The multi-level face model of Tewari et al., "Self-supervised Multi-level Face Model Learning for Monocular
Reconstruction at over 250 Hz" (CVPR 2018): level 0 is `FaceModel`, whose bases stay as they were baked. Level 1 adds
what is smooth over the face, level 2 what is finer. Each level is linear and learned, and can be left out.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from models.face import FaceModel

Array = NDArray[np.float32]
Level = Literal[0, 1, 2]

DEFAULT_PATH = Path(__file__).parent / "weights" / "face_levels.safetensors"
LEVELS: tuple[Level, ...] = (0, 1, 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelsConfig:
    """How many vectors each corrective basis has."""

    geometry: tuple[int, int] = (32, 64)
    """Vectors of level 1 and of level 2 of the geometry."""
    reflectance: tuple[int, int] = (16, 32)
    """Vectors of level 1 and of level 2 of the reflectance."""

    def __post_init__(self) -> None:
        for name in ("geometry", "reflectance"):
            sizes = getattr(self, name)
            if len(sizes) != 2 or min(sizes) < 1:
                raise ValueError(f"levels: expected two sizes of {name}, one or more, got {sizes}")

    def to_json(self) -> str:
        """Write as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Raises `ValueError` for anything else."""
        try:
            values = json.loads(text)
            return cls(geometry=tuple(values["geometry"]), reflectance=tuple(values["reflectance"]))
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"levels: expected the sizes of geometry and reflectance, got {text!r}") from error


@dataclass(frozen=True)
class FaceLevels:
    """Corrective bases, level 1 and level 2 apart; coefficients are in standard deviations, level 1 first.

    Learned by `reenact train-tracker`. On the eyeballs a corrective of geometry moves and scales, so that they stay
    spheres, and one of reflectance is zero.
    """

    geometry: tuple[Array, Array]
    """`[K1, V, 3]` and `[K2, V, 3]` offsets in metres of one standard deviation."""
    reflectance: tuple[Array, Array]
    """`[K1, V, 3]` and `[K2, V, 3]` offsets of albedo (linear light) of one standard deviation."""

    def __post_init__(self) -> None:
        vertices = {basis.shape[1:] for basis in (*self.geometry, *self.reflectance)}
        if len(vertices) != 1 or len(shape := next(iter(vertices))) != 2 or shape[1] != 3:
            raise ValueError(f"levels: expected four bases [K, V, 3] over the same vertices, got {sorted(vertices)}")

    @classmethod
    def empty(cls, model: FaceModel, config: LevelsConfig | None = None) -> Self:
        """Make bases that change nothing yet."""
        sizes = config or LevelsConfig()
        return cls(
            *(
                (np.zeros((first, *model.mean.shape), np.float32), np.zeros((second, *model.mean.shape), np.float32))
                for first, second in (sizes.geometry, sizes.reflectance)
            )
        )

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Read a levels file. Raises `ValueError` when a basis is missing or is not what the file's config says."""
        with safe_open(path or DEFAULT_PATH, "numpy") as file:
            config = LevelsConfig.from_json((file.metadata() or {}).get("config", ""))
            names, found = set(file.keys()), {}
            for kind in ("geometry", "reflectance"):
                for level, size in enumerate(getattr(config, kind), start=1):
                    name = f"{kind}_{level}"
                    shape = tuple(file.get_slice(name).get_shape()) if name in names else ()
                    if len(shape) != 3 or shape[0] != size or shape[2] != 3:
                        raise ValueError(f"levels: expected {name} [{size}, V, 3], got {list(shape) or 'nothing'}")
                    found[name] = file.get_tensor(name).astype(np.float32)
        return cls(
            (found["geometry_1"], found["geometry_2"]),
            (found["reflectance_1"], found["reflectance_2"]),
        )

    def save(self, path: Path | None = None) -> None:
        """Write what `load` reads, in float16; each level is a tensor of its own."""
        tensors = {
            f"{kind}_{level}": basis.astype(np.float16)
            for kind in ("geometry", "reflectance")
            for level, basis in enumerate(getattr(self, kind), start=1)
        }
        save_file(tensors, path or DEFAULT_PATH, metadata={"config": self.config.to_json()})

    @property
    def config(self) -> LevelsConfig:
        """The sizes of the bases."""
        (a, b), (c, d) = ((len(first), len(second)) for first, second in (self.geometry, self.reflectance))
        return LevelsConfig(geometry=(a, b), reflectance=(c, d))

    def correct_geometry(self, coefficients: Array, level: Level = 2) -> Array:
        """Give the offsets in metres `[V, 3]` of `coefficients [K1+K2]`, of the levels up to `level`."""
        return _correct(self.geometry, coefficients, level)

    def correct_reflectance(self, coefficients: Array, level: Level = 2) -> Array:
        """Give the offsets of albedo `[V, 3]` of `coefficients [K1+K2]`, of the levels up to `level`."""
        return _correct(self.reflectance, coefficients, level)

    def neutral(self, model: FaceModel, identity: Array, coefficients: Array, level: Level = 2) -> Array:
        """Give the head at rest `[V, 3]`, metres, with the levels up to `level`; 0 is the base model's alone.

        `identity [80]` and `coefficients [K1+K2]` are in standard deviations.
        """
        rest = model.neutral(identity)
        return rest if level == 0 else np.asarray(rest + self.correct_geometry(coefficients, level), np.float32)

    def albedo(self, model: FaceModel, reflectance: Array, coefficients: Array, level: Level = 2) -> Array:
        """Give linear albedo `[V, 3]`, clipped to 0 to 1, with the levels up to `level`; 0 is the base model's alone.

        `reflectance [80]` and `coefficients [K1+K2]` are in standard deviations.
        """
        color = model.reflectance_mean + np.tensordot(reflectance, model.reflectance_basis, 1)
        if level:
            color = color + self.correct_reflectance(coefficients, level)
        return np.clip(color, 0.0, 1.0).astype(np.float32)


def _correct(bases: tuple[Array, Array], coefficients: Array, level: int) -> Array:
    size = len(bases[0]) + len(bases[1])
    if coefficients.shape != (size,):
        raise ValueError(f"levels: expected coefficients [{size}], got {list(coefficients.shape)}")
    if level not in LEVELS:
        raise ValueError(f"levels: expected level 0, 1 or 2, got {level}")
    offset = np.zeros(bases[0].shape[1:], np.float32)
    start = 0
    for basis in bases[:level]:
        offset += np.tensordot(coefficients[start : start + len(basis)], basis, 1)
        start += len(basis)
    return offset


def round_eyeballs(model: FaceModel, offsets: Array) -> Array:
    """Replace what `offsets [..., V, 3]` do to each eyeball by the closest motion and scaling of a sphere."""
    result = offsets.copy()
    for projection, (start, stop) in zip(eyeball_projections(model), model.eye_ranges, strict=True):
        flat = offsets[..., start:stop, :].reshape(*offsets.shape[:-2], -1)
        result[..., start:stop, :] = (flat @ projection.T @ projection).reshape(*offsets.shape[:-2], stop - start, 3)
    return result


def eyeball_projections(model: FaceModel) -> tuple[Array, Array]:
    """Give for each eyeball an orthonormal basis `[4, 3 N]` of moving (3) and scaling (1) its `N` vertices."""
    first, second = (_sphere_motions(model.mean[start:stop]) for start, stop in model.eye_ranges)
    return first, second


def _sphere_motions(vertices: Array) -> Array:
    motions = np.zeros((vertices.size, 4))
    for axis in range(3):
        motions[axis::3, axis] = 1.0
    motions[:, 3] = (vertices - vertices.mean(0)).ravel()
    return np.linalg.qr(motions)[0].T.astype(np.float32)
