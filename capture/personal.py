"""What is known of a person after a calibration, in the form in which their own browser keeps it.

Nothing of it is stored here: the browser sends it back with its next session, and what comes from there is checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from capture.landmarks import COUNT
from models.params import EXPRESSION_SIZE, IDENTITY_SIZE

Array = NDArray[np.float32]

VERSION = 1
OFFSET_UNIT_M = 1e-5
"""Offsets travel as whole numbers of this: a hundredth of a millimetre."""
REACH_M = 0.05
"""Furthest that an offset may go."""
TRACKERS = ("landmarks", "regressor")


@dataclass(frozen=True, slots=True)
class Personal:
    """A person's face and its rest, as one tracker measured them."""

    tracker: str
    """landmarks or regressor: the other one would read the numbers otherwise."""
    identity: Array
    """`[80]` standard deviations."""
    expression: Array
    """`[52]` at rest."""
    rotation: Array
    """`[3]` yaw, pitch and roll at rest, radians."""
    translation: Array
    """`[3]` place at rest, metres."""
    gaze: Array
    """`[2, 2]` at rest, radians."""
    gain: Array
    """`[52]` on each expression's distance from rest."""
    offsets: Array | None = None
    """`[478, 3]` metres, of the landmarks from the model's; None from the regressor, which knows no landmarks."""

    def to_json(self) -> dict[str, Any]:
        """Turn into JSON values, eight thousand characters with offsets; all within what `from_json` takes."""
        offsets = None
        if self.offsets is not None:
            offsets = np.round(np.clip(self.offsets, -REACH_M, REACH_M) / OFFSET_UNIT_M).astype(int).ravel().tolist()
        numbers = {
            name: np.round(np.clip(getattr(self, name).astype(float), low, high), 4).ravel().tolist()
            for name, (_, low, high) in _BOUNDS.items()
        }
        return {"version": VERSION, "tracker": self.tracker, **numbers, "offsets": offsets}

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Read what `to_json` gave. Raises `ValueError` naming the field at fault: it comes from outside."""
        if not isinstance(values, dict):
            raise ValueError("calibration: expected an object")
        unknown = set(values) - {"version", "tracker", "offsets", *_BOUNDS}
        if unknown:
            raise ValueError(f"calibration: unknown field {sorted(map(str, unknown))[0]!r}")
        if values.get("version") != VERSION or isinstance(values["version"], bool):
            raise ValueError(f"calibration: expected version {VERSION}, got {values.get('version')!r}")
        tracker = values.get("tracker")
        if tracker not in TRACKERS:
            raise ValueError(f"calibration: expected a tracker of {' or '.join(TRACKERS)}, got {tracker!r}")
        fields = {
            name: _numbers(name, values.get(name), shape, low, high) for name, (shape, low, high) in _BOUNDS.items()
        }
        if not fields["translation"][2] < 0.0:
            raise ValueError("calibration: translation must lie in front of the camera")
        offsets = None
        if values.get("offsets") is not None:
            reach = REACH_M / OFFSET_UNIT_M
            offsets = _numbers("offsets", values["offsets"], (COUNT, 3), -reach, reach) * np.float32(OFFSET_UNIT_M)
        if (offsets is None) != (tracker == "regressor"):
            raise ValueError("calibration: offsets belong to the landmarks, and to them alone")
        return cls(tracker=tracker, offsets=offsets, **fields)


_BOUNDS: dict[str, tuple[tuple[int, ...], float, float]] = {
    "identity": ((IDENTITY_SIZE,), -12.0, 12.0),
    "expression": ((EXPRESSION_SIZE,), 0.0, 1.0),
    "rotation": ((3,), -1.6, 1.6),
    "translation": ((3,), -10.0, 10.0),
    "gaze": ((2, 2), -1.6, 1.6),
    "gain": ((EXPRESSION_SIZE,), 0.5, 2.0),
}
"""Shape and limits of each field."""


def _numbers(name: str, value: object, shape: tuple[int, ...], low: float, high: float) -> Array:
    count = int(np.prod(shape))
    if not isinstance(value, list) or len(value) != count:
        raise ValueError(f"calibration: {name} must be a list of {count} numbers")
    for number in value:
        # Written so that NaN, which compares false with everything, is refused too; true and false are no numbers.
        if isinstance(number, bool) or not isinstance(number, int | float) or not low <= number <= high:
            raise ValueError(f"calibration: {name} must hold numbers from {low:g} to {high:g}")
    return np.array(value, np.float32).reshape(shape)
