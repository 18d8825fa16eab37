"""The window of time that the generator sees: a ring of stem outputs, and the rule of what enters it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.options import check_options, option

Array = NDArray[np.float32]

DEFAULT_MAX_GAP_MS = 250.0
SLACK = 6
"""The ring's memory is this many windows long, so that it is moved back to its start only that rarely."""
MIN_STEP_SHARE = 0.75
"""Frames closer than this share of the target's frame interval do not lengthen the past: a 60 fps source of a 30 fps
target would otherwise show it half the time it was trained on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowSettings:
    """What the network sees of the past."""

    stride: int = option(
        1, "Frames of the target's rate from one frame of the window to the next: more is a longer, coarser past.",
        minimum=1, maximum=4,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_options(self)


class Step(enum.Enum):
    """How a frame enters the window."""

    APPEND = "append"
    """The frame before becomes the past."""
    REPLACE = "replace"
    """The frame before is too close in time to its past to be kept."""
    RESTART = "restart"
    """The past is forgotten, and filled with this frame."""


class WindowClock:
    """Decide by presentation time how each frame enters the window."""

    def __init__(self, frame_rate: float, max_gap_ms: float = DEFAULT_MAX_GAP_MS) -> None:
        """Take the target's `frame_rate` in frames a second, and the longest gap that is bridged."""
        if not frame_rate > 0 or not max_gap_ms > 0:
            raise ValueError(f"expected frame_rate > 0 and max_gap_ms > 0, got {frame_rate} and {max_gap_ms}")
        self._frame_rate = frame_rate
        self.set_stride(1)
        self._max_gap_s = max_gap_ms / 1000.0
        self._current_s: float | None = None
        self._past_s = 0.0

    def set_stride(self, stride: int) -> None:
        """Keep one frame of the past for every `stride` of the target's frame intervals."""
        self._min_step_s = (stride - 1 + MIN_STEP_SHARE) / self._frame_rate

    def advance(self, time_s: float) -> Step:
        """Take the next frame's time; a gap, or time running backwards, restarts."""
        current, self._current_s = self._current_s, time_s
        if current is None or not 0.0 <= time_s - current <= self._max_gap_s:
            self._past_s = time_s
            return Step.RESTART
        if current - self._past_s < self._min_step_s:
            return Step.REPLACE
        self._past_s = current
        return Step.APPEND

    def reset(self) -> None:
        """Forget everything: the next frame restarts."""
        self._current_s = None


class StemRing:
    """Stem outputs `[h, w, S]` of the last `length` frames, as one contiguous view without copying.

    A frame's place is `current`; the engine fills it, before `past`, oldest first, is what came before it.
    """

    def __init__(self, length: int, shape: tuple[int, int, int]) -> None:
        """Make room for a window of `length` frames, the current one included."""
        if length < 1:
            raise ValueError(f"window: expected at least 1 frame, got {length}")
        self._past_length = length - 1
        self._memory = np.zeros((length * SLACK, *shape), np.float32)
        self._index = self._past_length

    @property
    def past(self) -> Array:
        """View `[1, length - 1, h, w, S]` of the frames before the current one."""
        return self._memory[None, self._index - self._past_length : self._index]

    @property
    def current(self) -> Array:
        """View `[1, h, w, S]` of the current frame's place."""
        return self._memory[self._index : self._index + 1]

    def append(self) -> None:
        """Make the current frame the newest of the past."""
        self._index += 1
        if self._index == len(self._memory):
            self._memory[: self._past_length] = self._memory[self._index - self._past_length : self._index]
            self._index = self._past_length

    def fill(self) -> None:
        """Make all of the past equal to the current frame."""
        self._memory[self._index - self._past_length : self._index] = self._memory[self._index]
