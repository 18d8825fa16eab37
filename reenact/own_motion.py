"""What the target does by itself, and what of a source's motion takes its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.params import EXPRESSION_NAMES, FaceParams
from reenact.actor import Actor
from reenact.frame_reader import FrameReader
from reenact.motion import Motion, track_motion
from reenact.square import SquareError, find_square
from reenact.transfer import Transfer

MODES = ("head", "face", "dub")
DUBBED = np.array([i for i, n in enumerate(EXPRESSION_NAMES) if n.startswith(("jaw", "mouth", "cheekPuff", "tongue"))])
"""Shapes that speech needs: what a dub takes over. Sneers and squints stay the target's, as the eyes do."""
CENTER_SHARE = 0.02
"""How far from the middle of its frames, as a share of their width, a target's camera may point."""


def combine(driven: FaceParams, own: FaceParams, mode: str) -> FaceParams:
    """Take from `driven` what `mode` lets go over, and the rest from the target's own motion."""
    if mode == "head":
        return driven
    if mode == "face":
        return own.replace(expression=driven.expression, gaze=driven.gaze)
    if mode != "dub":
        raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")
    expression = own.expression.copy()
    expression[DUBBED] = driven.expression[DUBBED]
    return own.replace(expression=expression)


class OwnMotion:
    """What the target does by itself: its own video, played forwards and backwards in turn, or rest."""

    def __init__(self, actor: Actor, video: Path | None, folder: Path) -> None:
        """Track the target's own video, going on from what an interrupted run left in `folder`; None is rest.

        Where the video's frames are those that the target was cut out of, its motion is taken as it is; of any other
        video, what it does relative to its own rest. Raises `VideoError`.
        """
        self._rest = actor.target.neutral
        self._motion: Motion | None = None
        self._shown: list[FaceParams] = [self._rest]
        self.kind = "rest"
        """rest; exact: the target's own frames; transferred: those of another view."""
        if video is None:
            return
        focal_px = _focal_px(actor, video)
        # Its own frames are posed as those that it was trained on: what is drawn must lie on what is there.
        self._motion = motion = track_motion(video, folder, focal_px=focal_px, is_dense=focal_px is not None)
        if focal_px is not None:
            self.kind = "exact"
            who = {name: getattr(self._rest, name) for name in ("identity", "reflectance", "illumination")}
            self._shown = [params.replace(**who) for params in motion.faces]
        else:
            self.kind = "transferred"
            transfer = Transfer(actor.target)
            self._shown = [transfer(params, motion.neutral, motion.camera) for params in motion.faces]
        self._motion = Motion(
            time_s=motion.time_s, params=FaceParams.stack(self._shown), states=motion.states, neutral=motion.neutral,
            camera=motion.camera,
        )  # fmt: skip

    def frame(self, time_s: float) -> int:
        """Give the frame of the video that is shown `time_s` after the start."""
        return 0 if self._motion is None else self._motion.nearest(self._motion.back_and_forth(time_s))

    def at_frame(self, time_s: float) -> FaceParams:
        """Give the parameters of that frame."""
        return self._shown[self.frame(time_s)]

    def at(self, time_s: float) -> FaceParams:
        """Give the parameters at `time_s` after the start, between frames on the way from one to the next."""
        return self._rest if self._motion is None else self._motion.at(self._motion.back_and_forth(time_s))


def _focal_px(actor: Actor, video: Path) -> float | None:
    """Give the focal length that the target's own frames are tracked with; None for a view that is not its own."""
    with FrameReader(video) as reader:
        height, width = reader.at(0).shape[:2]
    try:
        camera = find_square(actor, width, height).frame_camera(actor.target.camera)
    except SquareError:
        return None
    middle = np.array([width / 2, height / 2])
    # A tracked video is seen by a camera that points at its middle: one that does not saw something else.
    return camera.focal_px if np.abs(middle - camera.center_px).max() <= CENTER_SHARE * width else None
