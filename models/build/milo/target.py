"""Describe a synthetic target: shape, parts, skin, hair, clothes, camera and background, read from one TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

DEFAULT_TARGET = Path(__file__).with_name("milo.toml")

Color = tuple[float, float, float]
"""Linear RGB, 0 to 1."""
Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """How the body stands."""

    arm_down_deg: float = 38.0
    """How far the arms hang down from the pose in which they are modelled."""
    clavicle_down_deg: float = 3.0
    """The same of the shoulders."""
    upper_teeth_drop_m: float = 0.0
    """How far the upper teeth are moved down: the stock teeth sit too high behind the lip."""
    lower_teeth_drop_m: float = 0.0
    """The same of the lower teeth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Skin:
    """The skin texture and what is painted on it."""

    texture: str
    """Photographic skin in MakeHuman's texture layout."""
    detail: float = 0.55
    """How much the fine structure of the photograph is raised."""
    redness: float = 1.0
    """Blood in cheeks, nose, chin and ears."""
    beard: float = 0.0
    """Shadow of a shaven beard, 1 for a dark one."""
    moles: int = 0
    """Number of moles and freckles."""
    scalp_tint: Color = (0.72, 0.76, 0.80)
    """How much darker, per channel, the scalp is below hair, so that no pale skin shows between strands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Eyes:
    """Iris and sclera."""

    texture: str
    brightness: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Hair:
    """Hair of the head: grown strands, a textured MakeHuman piece, or none."""

    style: str
    """`strands`, `piece` (the part `hair`, with `texture`) or `none`."""
    texture: str = ""
    """Texture of the piece."""
    strands: int = 55000
    points: int = 9
    """Points of each strand."""
    root_color: Color = (0.008, 0.005, 0.003)
    """Colour of the darkest strands."""
    tip_color: Color = (0.12, 0.072, 0.040)
    """Colour of the brightest strands."""
    length_m: float = 0.013
    """Length at the sides and back."""
    top_length_m: float = 0.046
    """Additional length on top."""
    fringe_length_m: float = 0.020
    """Additional length above the forehead."""
    parting_m: float = 0.045
    """Where the parting lies: distance to the target's own left of the middle."""
    hairline: tuple[Point, ...] = ()
    """Half of the outline of the hair, in face pixels (`texture.py`), from the forehead's middle over the target's own
    right temple to the back; the other half mirrors it."""

    def __post_init__(self) -> None:
        if self.style not in ("strands", "piece", "none"):
            raise ValueError(f"hair.style: expected strands, piece or none, got {self.style!r}")
        if self.style == "strands" and (len(self.hairline) < 3 or self.strands < 100 or self.points < 3):
            raise ValueError("hair: strands need a hairline of 3 points or more, 100 strands and 3 points each")


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """Hair painted on a surface: brows, lashes."""

    texture: str
    color: Color


@dataclass(frozen=True, kw_only=True, slots=True)
class Mouth:
    """Inside of the mouth."""

    teeth_texture: str
    tongue_texture: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cloth:
    """The shirt: plain cloth with folds."""

    color: Color
    normal_texture: str
    thickness_m: float = 0.0028


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """The camera, looking along +y."""

    look_at_m: tuple[float, float, float]
    """Point in the middle of the picture, from the point between the eyes at rest."""
    focal_mm: float = 85.0
    sensor_mm: float = 36.0
    view_height_m: float = 0.39
    """Height of the picture at that point."""

    @property
    def distance_m(self) -> float:
        """Distance of the camera from the point it looks at."""
        return self.view_height_m * self.focal_mm / self.sensor_mm

    def target_point(self, between_eyes: NDArray[np.float64]) -> tuple[float, float, float]:
        """Give the world point in the middle of the picture, metres."""
        x, y, z = (between_eyes + np.array(self.look_at_m)).tolist()
        return x, y, z

    def position(self, between_eyes: NDArray[np.float64]) -> tuple[float, float, float]:
        """Give the camera's world position, metres."""
        x, y, z = self.target_point(between_eyes)
        return x, y - self.distance_m, z

    def focal_px(self, size: int) -> float:
        """Focal length for a square picture of `size` pixels."""
        return self.focal_mm / self.sensor_mm * size


@dataclass(frozen=True, kw_only=True, slots=True)
class Background:
    """A wall lit from one side: a gradient fixed to the picture."""

    center: Point = (0.5, 0.5)
    """Brightest point, 0 to 1 from the lower left corner."""
    inner_color: Color = (0.20, 0.225, 0.25)
    outer_color: Color = (0.028, 0.034, 0.042)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A synthetic person, as far as it is not performance."""

    name: str
    seed: int
    phenotype: dict[str, float]
    shape: dict[str, float]
    parts: dict[str, str]
    """`.mhclo` files by part: eyes, brows, lashes, teeth, tongue, shirt, and hair where it is a piece."""
    skin: Skin
    eyes: Eyes
    hair: Hair
    brows: Card
    lashes: Card
    mouth: Mouth
    cloth: Cloth
    camera: View
    body: Body = field(default_factory=Body)
    background: Background = field(default_factory=Background)

    def __post_init__(self) -> None:
        wanted = {"eyes", "brows", "lashes", "teeth", "tongue", "shirt"}
        if self.hair.style == "piece":
            wanted.add("hair")
        if set(self.parts) != wanted:
            raise ValueError(f"parts: expected {', '.join(sorted(wanted))}, got {', '.join(sorted(self.parts))}")

    @classmethod
    def load(cls, path: Path = DEFAULT_TARGET) -> Target:
        """Read a TOML file. Raises `ValueError` naming the field that is unknown, missing or of another type."""
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
            target = _read(cls, table, "")
        except (tomllib.TOMLDecodeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error
        assert isinstance(target, Target)
        return target


def _read(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - the type is `kind`
    """Turn a TOML value into `kind`: a dataclass, a dict, a tuple or a scalar."""
    if dataclasses.is_dataclass(kind):
        return _read_section(kind, value, where)
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin is dict and isinstance(value, dict):
        return {key: _read(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(value):
            return tuple(_read(item_kind, item, where) for item_kind, item in zip(kinds, value, strict=True))
    if origin is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if origin in (int, str) and type(value) is origin:
        return value
    expected = str(kind) if isinstance(kind, types.GenericAlias) else getattr(kind, "__name__", kind)
    raise ValueError(f"{where}: expected {expected}, got {value!r}")


def _read_section(kind: Any, table: Any, where: str) -> Any:  # noqa: ANN401
    prefix = f"{where}." if where else ""
    if not isinstance(table, dict):
        raise ValueError(f"{where}: expected a table, got {table!r}")
    hints = get_type_hints(kind)
    if unknown := set(table) - set(hints):
        raise ValueError(f"{prefix}{min(unknown)}: unknown field")
    for entry in dataclasses.fields(kind):
        has_default = entry.default is not dataclasses.MISSING or entry.default_factory is not dataclasses.MISSING
        if entry.name not in table and not has_default:
            raise ValueError(f"{prefix}{entry.name}: missing")
    return kind(**{name: _read(hints[name], value, prefix + name) for name, value in table.items()})
