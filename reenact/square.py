"""Which square of a larger video a target's pictures are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from models.camera import Camera
from reenact.actor import Actor

KEY = "square"
"""Name in the package's training report."""
MAX_FRAME_PX = 16384


class SquareError(ValueError):
    """A video's frames do not fit a target; the message is one sentence for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Square:
    """A square part of a video's frames, in whole pixels."""

    left: int
    top: int
    side: int
    frame_width: int
    frame_height: int

    def __post_init__(self) -> None:
        for name in ("left", "top", "side", "frame_width", "frame_height"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_FRAME_PX:
                raise ValueError(f"{KEY}.{name}: expected a whole number from 0 to {MAX_FRAME_PX}, got {value!r}")
        if not 16 <= self.side <= min(self.frame_width - self.left, self.frame_height - self.top):
            raise ValueError(
                f"{KEY}: expected a square within {self.frame_width} x {self.frame_height} pixels,"
                f" got {self.side} at ({self.left}, {self.top})"
            )

    @classmethod
    def from_json(cls, values: Any) -> Self:  # noqa: ANN401 - a package may say anything
        """Read `to_json()`. Raises `ValueError` naming the field at fault."""
        if not isinstance(values, Mapping) or set(values) != set(cls.__slots__):
            raise ValueError(f"{KEY}: expected {', '.join(cls.__slots__)}")
        return cls(**values)

    def to_json(self) -> dict[str, int]:
        """Turn into plain JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def is_whole(self) -> bool:
        """Whether it leaves nothing of the frame out."""
        return self.side == self.frame_width == self.frame_height

    def scaled(self, width: int, height: int) -> Square:
        """Give the same part of frames of another size. Raises `SquareError` for another aspect ratio."""
        factor = width / self.frame_width
        if abs(self.frame_height * factor - height) > 1.0:
            raise SquareError(
                f"the target was cut out of frames of {self.frame_width} x {self.frame_height} pixels, and these have"
                f" {width} x {height}"
            )
        side = min(round(self.side * factor), width, height)
        left, top = min(round(self.left * factor), width - side), min(round(self.top * factor), height - side)
        return Square(left=left, top=top, side=side, frame_width=width, frame_height=height)

    def frame_camera(self, camera: Camera) -> Camera:
        """Give the camera of whole frames, where `camera` is that of the pictures in the square."""
        factor = self.side / camera.width
        return Camera(
            width=self.frame_width,
            height=self.frame_height,
            focal_px=camera.focal_px * factor,
            center_px=(self.left + camera.center_px[0] * factor, self.top + camera.center_px[1] * factor),
        )


def find_square(actor: Actor, width: int, height: int) -> Square:
    """Find where in frames of `width` x `height` the pictures of `actor` lie.

    Its package says so; of one that does not, the pictures of square frames are the whole, and those of other frames
    are where the target's camera and that of a webcam agree. Raises `SquareError` where they agree nowhere.
    """
    if KEY in actor.training:
        try:
            return Square.from_json(actor.training[KEY]).scaled(width, height)
        except SquareError:
            raise
        except ValueError as error:
            raise SquareError(f"the package of {actor.name} does not make sense: {error}") from None
    if width == height:
        return Square(left=0, top=0, side=width, frame_width=width, frame_height=height)
    pictures, frames = actor.target.camera, Camera.webcam(width, height)
    factor = frames.focal_px / pictures.focal_px
    left, top = (frames.center_px[axis] - pictures.center_px[axis] * factor for axis in (0, 1))
    try:
        return Square(
            left=round(left), top=round(top), side=round(pictures.width * factor), frame_width=width,
            frame_height=height,
        )  # fmt: skip
    except ValueError:
        raise SquareError(
            f"frames of {width} x {height} pixels hold no part that the pictures of {actor.name} could be"
        ) from None
