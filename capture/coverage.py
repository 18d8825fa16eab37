"""How much of what a face can do has been seen: what a recording of a target should show, and how far it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capture.track import Track
from models.params import EXPRESSION_INDEX

LONGEST_STEP_S = 0.25
"""What one frame can count for: a gap in the video shows nothing."""


@dataclass(frozen=True, slots=True)
class Movement:
    """One frame of a face, relative to the same face at rest."""

    rotation: NDArray[np.float32]
    """`[3]` yaw, pitch, roll, degrees."""
    gaze: NDArray[np.float32]
    """`[2]` yaw, pitch of both eyes together, degrees."""
    expression: NDArray[np.float32]
    """`[52]`."""
    jaw_speed: float
    """How fast the jaw opens or shuts, of its whole way in a second."""

    def of(self, *names: str) -> float:
        """Average some expressions."""
        return float(np.mean([self.expression[EXPRESSION_INDEX[name]] for name in names]))


@dataclass(frozen=True, slots=True)
class Aim:
    """Something that a recording should show."""

    group: str
    """pose, expression or gaze."""
    is_met: Callable[[Movement], bool]
    """Whether a frame shows it."""
    seconds: float
    """How long it should be seen in all."""


AIMS: Mapping[str, Aim] = {
    "left": Aim("pose", lambda m: m.rotation[0] > 12, 1.0),
    "right": Aim("pose", lambda m: m.rotation[0] < -12, 1.0),
    "up": Aim("pose", lambda m: m.rotation[1] > 7, 1.0),
    "down": Aim("pose", lambda m: m.rotation[1] < -7, 1.0),
    "tilt_left": Aim("pose", lambda m: m.rotation[2] > 7, 0.6),
    "tilt_right": Aim("pose", lambda m: m.rotation[2] < -7, 0.6),
    "speech": Aim("expression", lambda m: m.jaw_speed > 0.5, 4.0),
    "open_mouth": Aim("expression", lambda m: m.of("jawOpen") > 0.5, 0.6),
    "smile": Aim("expression", lambda m: m.of("mouthSmileLeft", "mouthSmileRight") > 0.3, 1.0),
    "pucker": Aim("expression", lambda m: max(m.of("mouthPucker"), m.of("mouthFunnel")) > 0.5, 0.6),
    "blink": Aim("expression", lambda m: m.of("eyeBlinkLeft", "eyeBlinkRight") > 0.7, 0.6),
    "brows_up": Aim("expression", lambda m: max(m.of("browInnerUp"), m.of("browOuterUpLeft")) > 0.8, 0.8),
    "brows_down": Aim("expression", lambda m: m.of("browDownLeft", "browDownRight") > 0.4, 0.6),
    "look_left": Aim("gaze", lambda m: m.gaze[0] > 10, 0.6),
    "look_right": Aim("gaze", lambda m: m.gaze[0] < -10, 0.6),
    "look_up": Aim("gaze", lambda m: m.gaze[1] > 6, 0.5),
    "look_down": Aim("gaze", lambda m: m.gaze[1] < -6, 0.5),
}
"""Left and right are the person's own. The bounds are within what a relaxed person reaches without effort."""
GROUPS = ("pose", "expression", "gaze")


class Coverage:
    """Count, frame by frame, how long each of `AIMS` was seen."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self._seen_s = dict.fromkeys(AIMS, 0.0)
        self._last_s: float | None = None
        self._jaw = 0.0

    def add(self, track: Track, time_s: float) -> None:
        """Take in what was tracked at `time_s`; frames without a face count for nothing."""
        if track.state != "tracked":
            self._last_s = None
            return
        expression = track.params.expression - track.neutral.expression
        jaw = float(expression[EXPRESSION_INDEX["jawOpen"]])
        elapsed_s = 0.0 if self._last_s is None else min(max(time_s - self._last_s, 0.0), LONGEST_STEP_S)
        speed = abs(jaw - self._jaw) / elapsed_s if elapsed_s > 0 else 0.0
        self._last_s, self._jaw = time_s, jaw
        movement = Movement(
            rotation=np.degrees(track.params.rotation - track.neutral.rotation),
            gaze=np.degrees((track.params.gaze - track.neutral.gaze).mean(0)),
            expression=expression,
            jaw_speed=speed,
        )
        for name, aim in AIMS.items():
            if aim.is_met(movement):
                self._seen_s[name] += elapsed_s

    def shares(self) -> dict[str, float]:
        """Give how much of each aim was seen, 0 to 1, in steps of a hundredth."""
        return {name: math.floor(100 * min(self._seen_s[name] / aim.seconds, 1.0)) / 100 for name, aim in AIMS.items()}


def by_group(shares: Mapping[str, float]) -> dict[str, float]:
    """Average the aims of each group."""
    return {
        group: float(np.mean([share for name, share in shares.items() if AIMS[name].group == group]))
        for group in GROUPS
    }
