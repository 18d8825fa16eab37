"""What every tracker gives of a frame, and how it goes on while no face is seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from capture.rotation import blend_rotations
from models.camera import rotation_angles, rotation_matrix
from models.params import FaceParams

State = Literal["tracked", "holding", "easing", "absent"]

HOLD_S = 0.5
"""Without a face the last pose stays this long: a hand before the face, a sneeze."""
EASE_TO_NEUTRAL_S = 1.0
RETURN_S = 0.15
"""A face that returns elsewhere is blended in over this long."""
FORGET_S = 0.2
"""After a longer gap a face is met anew."""


@dataclass(frozen=True, slots=True)
class Track:
    """What one frame gave."""

    params: FaceParams
    """Smoothed parameters; expression, pose and gaze are absolute, to be taken relative to `neutral`."""
    state: State
    """`tracked`; without a face first `holding` the last pose, then `easing` to neutral, then `absent` at neutral."""
    confidence: float
    """0 to 1: how sure the tracker is of what it says of the face; 0 without a face."""
    num_faces: int
    """Faces in the image."""
    neutral: FaceParams
    """The person at rest."""
    landmarks_px: NDArray[np.float32] | None
    """`[478, 2]` detected landmarks, None without a face or a detection."""


class Bridge:
    """Carry what is shown over the frames without a face, and back when one returns."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the past, as before the first frame."""
        self._shown = self._gap_from = FaceParams.neutral()
        self._last_s: float | None = None
        self._seen_s: float | None = None
        self._return_s = -np.inf

    @property
    def is_first(self) -> bool:
        """Whether no face was seen yet."""
        return self._seen_s is None

    def advance(self, time_s: float) -> float:
        """Begin a frame; give the seconds since the last one."""
        elapsed_s = 0.0 if self._last_s is None else max(time_s - self._last_s, 0.0)
        self._last_s = time_s
        return elapsed_s

    def meet(self, time_s: float) -> bool:
        """Note a face in this frame; true where it is met anew, so that nothing of the past holds for it."""
        first = self._seen_s is None
        is_new = self._seen_s is None or time_s - self._seen_s > FORGET_S
        if is_new:
            # Before the first face nothing was shown that it could be blended from.
            self._return_s, self._gap_from = (-np.inf if first else time_s), self._shown
        self._seen_s = time_s
        return is_new

    def show(self, params: FaceParams, time_s: float, elapsed_s: float) -> FaceParams:
        """Give what to show of a tracked frame: for a moment after a gap a blend from what was shown before."""
        share = min((time_s - self._return_s + elapsed_s) / RETURN_S, 1.0)
        self._shown = blend(self._gap_from, params, share)
        return self._shown

    def without_face(self, time_s: float, neutral: FaceParams) -> tuple[FaceParams, State]:
        """Give what to show of a frame without a face."""
        absent_s = np.inf if self._seen_s is None else time_s - self._seen_s
        state: State
        if absent_s <= HOLD_S:
            state, self._gap_from = "holding", self._shown
        elif absent_s <= HOLD_S + EASE_TO_NEUTRAL_S:
            state = "easing"
            share = (absent_s - HOLD_S) / EASE_TO_NEUTRAL_S
            self._shown = blend(self._gap_from, neutral, share * share * (3.0 - 2.0 * share))
        else:
            state, self._shown = "absent", neutral
        return self._shown, state


def blend(start: FaceParams, end: FaceParams, share: float) -> FaceParams:
    """Go `share` of the way from one frame to another; rotation on its shortest path, who and light as at the end."""
    if share >= 1.0:
        return end
    turned = blend_rotations(
        rotation_matrix(start.rotation).astype(np.float64), rotation_matrix(end.rotation).astype(np.float64), share
    )
    moved = {
        name: ((1.0 - share) * getattr(start, name) + share * getattr(end, name)).astype(np.float32)
        for name in ("expression", "translation", "gaze")
    }
    return end.replace(rotation=rotation_angles(turned.astype(np.float32)), **moved)
