"""Transfer: the source's motion in the target's parameter space (Deep Video Portraits, section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.camera import Camera, ray_rotation, rotation_angles, rotation_matrix
from models.options import check_options, option
from models.params import EXPRESSION_INDEX, EXPRESSION_NAMES, EXPRESSION_REACH, FaceParams
from reenact.target import Target

Array = NDArray[np.float32]

KNEE = 0.3
"""Share of the way from rest to a limit that is bent: before it motion passes unchanged, within it motion saturates."""
MAX_NEUTRAL = 0.5
"""A source whose face at rest shows more of a shape than this is not stretched further, for noise would be too."""
MIRROR = np.diag([-1.0, 1.0, 1.0]).astype(np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferSettings:
    """How much of each kind of motion goes over to the target."""

    rotation_gain: float = option(
        1.0, "How far the target turns its head for a turn of yours; 0 keeps it still.", minimum=0.0, maximum=2.0
    )
    translation_gain: float = option(
        1.0, "How far the target moves in its picture when you move in yours.", minimum=0.0, maximum=2.0
    )
    mouth_gain: float = option(
        1.0, "How strongly mouth, jaw and cheeks follow; more exaggerates.", minimum=0.0, maximum=2.0
    )
    brows_gain: float = option(1.0, "How strongly the brows follow; more exaggerates.", minimum=0.0, maximum=2.0)
    eyes_gain: float = option(1.0, "How strongly lids follow: blinks, squints, wide eyes.", minimum=0.0, maximum=2.0)
    gaze_gain: float = option(1.0, "How far the eyes turn for a glance of yours.", minimum=0.0, maximum=2.0)
    is_mirrored: bool = option(False, "Move the target as your mirror image: your left is its right.")

    def __post_init__(self) -> None:
        check_options(self)


def expression_group(name: str) -> str:
    """Name the group, and so the gain, of an ARKit blendshape: mouth, brows or eyes."""
    if name.startswith("brow"):
        return "brows"
    return "eyes" if name.startswith("eye") else "mouth"


GROUP_INDICES = {
    group: np.array([i for i, name in enumerate(EXPRESSION_NAMES) if expression_group(name) == group])
    for group in ("mouth", "brows", "eyes")
}


def _other_side(name: str) -> str:
    if name.endswith("Left"):
        return name.removesuffix("Left") + "Right"
    return name.removesuffix("Right") + "Left" if name.endswith("Right") else name


MIRRORED_EXPRESSION = np.array([EXPRESSION_INDEX[_other_side(name)] for name in EXPRESSION_NAMES])
"""Where each blendshape's mirror image is found."""


class Transfer:
    """Carry the motion of a source over to one target."""

    def __init__(self, target: Target, settings: TransferSettings | None = None) -> None:
        self._target = target
        self._settings = settings or TransferSettings()
        self._gains = self._expression_gains()

    def apply(self, settings: TransferSettings) -> None:
        """Use other settings from the next frame on."""
        self._settings = settings
        self._gains = self._expression_gains()

    def __call__(self, source: FaceParams, source_neutral: FaceParams, source_camera: Camera) -> FaceParams:
        """Give the target's parameters for one frame of the source, each relative to its face at rest.

        `source_camera` is the camera that `source` was tracked with: both then move by the same share of the picture.
        """
        if self._settings.is_mirrored:
            source, source_neutral = mirrored(source), mirrored(source_neutral)
        neutral = self._target.neutral
        translation = self._translation(source.translation, source_neutral.translation, source_camera)
        return neutral.replace(
            expression=self._expression(source.expression, source_neutral.expression),
            rotation=self._rotation(source, source_neutral, translation),
            translation=translation,
            gaze=self._soften("gaze", neutral.gaze + self._settings.gaze_gain * (source.gaze - source_neutral.gaze)),
        )

    def _expression(self, source: Array, source_neutral: Array) -> Array:
        change = source - source_neutral
        # Eyes that are half closed at rest must still close: what is left above rest is stretched to the whole.
        room = 1.0 - np.clip(source_neutral, 0.0, MAX_NEUTRAL)
        change = np.where(change > 0, change / room, change)
        moved = np.clip(self._target.neutral.expression + self._gains * change, 0.0, EXPRESSION_REACH)
        return np.minimum(moved, self._target.high["expression"]).astype(np.float32)

    def _rotation(self, source: FaceParams, source_neutral: FaceParams, translation: Array) -> Array:
        """Turn as seen from the camera (allocentric): who faces it from the edge of the picture has the target face it.

        The same share of the picture is another angle for each camera, so that the turn in space would not do.
        """
        rest = self._target.neutral
        # Relative in the frame of the head at rest: nodding stays nodding where a camera looks from the side.
        turn = rotation_angles(_seen_rotation(source_neutral).T @ _seen_rotation(source))
        turned = _seen_rotation(rest) @ rotation_matrix(self._settings.rotation_gain * turn)
        return self._soften("rotation", rotation_angles(ray_rotation(translation) @ turned))

    def _translation(self, source: Array, source_neutral: Array, source_camera: Camera) -> Array:
        """Move by the same share of the picture: sideways as an angle of view, in depth as a change of scale."""
        gain, rest = self._settings.translation_gain, self._target.neutral.translation
        depth, rest_depth = max(-float(source[2]), 1e-3), max(-float(source_neutral[2]), 1e-3)
        share = source[:2] / depth - source_neutral[:2] / rest_depth
        widening = _view_share(source_camera) / _view_share(self._target.camera)
        moved_depth = rest[2] * (depth / rest_depth) ** gain
        side = (rest[:2] / -rest[2] + gain * widening * share) * -moved_depth
        return self._soften("translation", np.array([side[0], side[1], moved_depth], np.float32))

    def _soften(self, name: str, values: Array) -> Array:
        rest, target = getattr(self._target.neutral, name), self._target
        return soft_limit(values, rest, target.low[name], target.high[name])

    def _expression_gains(self) -> Array:
        gains = np.ones(len(EXPRESSION_NAMES), np.float32)
        for group, indices in GROUP_INDICES.items():
            gains[indices] = getattr(self._settings, f"{group}_gain")
        return gains


def soft_limit(values: Array, rest: Array, low: Array, high: Array) -> Array:
    """Bend `values` so that they never pass `low` or `high` and are unchanged near `rest`: monotonic and smooth."""
    offset = np.asarray(values, np.float64) - rest
    reach = np.maximum(np.where(offset >= 0, high - rest, rest - low), 0.0).astype(np.float64)
    knee = np.maximum(KNEE * reach, 1e-9)
    straight = reach - knee
    excess = np.maximum(np.abs(offset) - straight, 0.0)
    bent = np.minimum(np.abs(offset), straight) + knee * np.tanh(excess / knee)
    return np.asarray(rest + np.sign(offset) * bent, np.float32)


def mirrored(params: FaceParams) -> FaceParams:
    """Reflect a face in the plane `x = 0`: left and right change places; yaw, roll and x change sign."""
    turned = MIRROR @ rotation_matrix(params.rotation) @ MIRROR
    return params.replace(
        expression=params.expression[MIRRORED_EXPRESSION],
        rotation=rotation_angles(turned),
        translation=MIRROR @ params.translation,
        gaze=params.gaze[::-1] * np.array([-1.0, 1.0], np.float32),
    )


def _seen_rotation(params: FaceParams) -> NDArray[np.float64]:
    """Give the head's rotation `[3, 3]` against the line of sight to it."""
    return ray_rotation(params.translation).T @ rotation_matrix(params.rotation)


def _view_share(camera: Camera) -> float:
    """Share of the picture that a metre sideways covers at a metre's distance."""
    return camera.focal_px / max(camera.width, camera.height)
