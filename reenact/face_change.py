"""A change of a face by numbers, each under a name: what sliders, files and strangers' packets say of a face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from models.camera import rotation_angles, rotation_matrix
from models.face import LOOK_DOWN_RAD, LOOK_UP_RAD, LOOK_YAW_RAD
from models.params import EXPRESSION_INDEX, EXPRESSION_NAMES, EXPRESSION_REACH, FaceParams

POSE_LIMITS = {
    "yaw": 60.0, "pitch": 60.0, "roll": 60.0, "x": 50.0, "y": 50.0, "z": 50.0, "gazeYaw": 45.0, "gazePitch": 45.0,
    "blink": 1.0,
}  # fmt: skip
"""Largest change of what is no blendshape: degrees (signs in `models/__init__.py`), centimetres, and both lids."""
LIMITS = {**POSE_LIMITS, **dict.fromkeys(EXPRESSION_NAMES, 1.0)}
"""Largest change, either way, under each name that is known: the 52 of ARKit, where 1 is as far as people go, and those
of `POSE_LIMITS`."""
_LOOK = {"Out": (0, 1.0), "In": (0, -1.0), "Up": (1, 1.0), "Down": (1, -1.0)}


@dataclass(frozen=True, slots=True)
class FaceChange:
    """Numbers that are added to a face; a name that is missing changes nothing."""

    values: Mapping[str, float] = field(default_factory=dict)
    """Within `LIMITS`."""

    @classmethod
    def of(cls, values: Any) -> Self:  # noqa: ANN401 - from strangers
        """Check numbers by name; those beyond their limit are brought to it. Raises `ValueError` naming the field."""
        if not isinstance(values, Mapping):
            raise ValueError("values: expected an object of numbers by name")
        checked: dict[str, float] = {}
        for name, value in values.items():
            if name not in LIMITS:
                raise ValueError(f"values: there is no {str(name)[:40]!r}; names are those of ARKit, yaw, pitch, ...")
            if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e9:  # NaN too
                raise ValueError(f"values.{name}: expected a number, got {str(value)[:40]}")
            checked[name] = min(max(float(value), -LIMITS[name]), LIMITS[name])
        return cls(checked)

    def apply(self, params: FaceParams) -> FaceParams:
        """Give a face, one frame, with the change made; shapes keep within reach, angles are turned one on another."""
        if not self.values:
            return params
        get = self.values.get
        expression, gaze = params.expression.copy(), params.gaze.copy()
        for name, value in self.values.items():
            if name in EXPRESSION_INDEX and not name.startswith("eyeLook"):
                expression[EXPRESSION_INDEX[name]] += value * EXPRESSION_REACH[EXPRESSION_INDEX[name]]
        for side, name in enumerate(("Left", "Right")):
            expression[EXPRESSION_INDEX["eyeBlink" + name]] += get("blink", 0.0)
            gaze[side] += np.deg2rad([get("gazeYaw", 0.0), get("gazePitch", 0.0)])
            outward = 1.0 if name == "Left" else -1.0
            reach = {
                "Out": LOOK_YAW_RAD * outward,
                "In": LOOK_YAW_RAD * outward,
                "Up": LOOK_UP_RAD,
                "Down": LOOK_DOWN_RAD,
            }
            for way, (axis, sign) in _LOOK.items():
                gaze[side, axis] += sign * reach[way] * get(f"eyeLook{way}{name}", 0.0)
        turn = np.deg2rad(np.array([get("yaw", 0.0), get("pitch", 0.0), get("roll", 0.0)])).astype(np.float32)
        moved = np.array([get("x", 0.0), get("y", 0.0), get("z", 0.0)], np.float32) / 100.0
        return params.replace(
            expression=np.clip(expression, 0.0, EXPRESSION_REACH).astype(np.float32),
            gaze=gaze.astype(np.float32),
            rotation=rotation_angles(rotation_matrix(params.rotation) @ rotation_matrix(turn)),
            translation=(params.translation + moved).astype(np.float32),
        )

    def blend(self, other: FaceChange, share: float) -> FaceChange:
        """Go `share` of the way to another change."""
        names = {*self.values, *other.values}
        mixed = {n: (1 - share) * self.values.get(n, 0.0) + share * other.values.get(n, 0.0) for n in sorted(names)}
        return FaceChange({name: value for name, value in mixed.items() if value != 0.0})
