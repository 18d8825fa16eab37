"""What a target's network is fed as the target moves: measured on, where a network is made for it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.face import FaceModel
from models.generator import SpaceTimeGenerator
from models.params import FaceParams
from reenact.conditioning import ConditioningRenderer
from reenact.target import LIMITED, Target

Array = NDArray[np.float32]

POSES = 7
STEPS = 4
"""Frames from one pose to the next."""
SHAPES = 6
"""Expressions at work in one pose: all at once make no face."""


def moving_frames(target: Target, generator: SpaceTimeGenerator, model: FaceModel) -> Callable[[], list[Array]]:
    """Give what renders the conditioning `[9, S, S]` that `generator` sees of a target that moves within its limits.

    From pose to pose, always the same ones; rendered when it is called for.
    """

    def render() -> list[Array]:
        rng = np.random.default_rng(2018)
        renderer = ConditioningRenderer.of(generator, target.camera, model)
        poses = [target.neutral, *(_pose(target, rng) for _ in range(POSES - 1))]
        return [
            renderer.render(_between(before, after, step / STEPS))
            for before, after in pairwise(poses)
            for step in range(STEPS)
        ]

    return render


def _pose(target: Target, rng: np.random.Generator) -> FaceParams:
    """Draw a pose within the limits of `target`."""
    drawn = {
        name: (target.low[name] + rng.random(target.low[name].shape) * (target.high[name] - target.low[name]))
        for name in LIMITED
    }
    rest = rng.permutation(drawn["expression"].size)[SHAPES:]
    drawn["expression"][rest] = target.neutral.expression[rest]
    return target.neutral.replace(**{name: values.astype(np.float32) for name, values in drawn.items()})


def _between(before: FaceParams, after: FaceParams, share: float) -> FaceParams:
    mixed = {name: (1 - share) * getattr(before, name) + share * getattr(after, name) for name in LIMITED}
    return after.replace(**{name: values.astype(np.float32) for name, values in mixed.items()})
