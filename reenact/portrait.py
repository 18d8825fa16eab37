"""The moving picture of a target: `FaceParams` in its own space to video frames."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from models.face import FaceModel
from models.params import FaceParams
from reenact.actor import Actor
from reenact.conditioning import CHANNELS, ConditioningRenderer
from reenact.engines.select import make_engine
from reenact.window import DEFAULT_MAX_GAP_MS, WindowClock

Image = NDArray[np.uint8]


class Portrait:
    """Render, window and generate, for one target, from one thread."""

    def __init__(
        self,
        actor: Actor,
        *,
        engine: str = "auto",
        precision: str = "auto",
        threads: int = 0,
        max_gap_ms: float = DEFAULT_MAX_GAP_MS,
        model: FaceModel | None = None,
    ) -> None:
        """Load the target's network and make its engine ready. Raises `ActorError`, `EngineError`, `ValueError`."""
        size = actor.resolution
        self.actor = actor
        self._renderer = ConditioningRenderer(model or FaceModel.load(), actor.target.camera.scaled(size, size))
        self._conditioning = np.zeros((CHANNELS, size, size), np.float32)
        selection = make_engine(actor.load_generator(), engine, precision, threads)
        self._engine = selection.engine
        self.engine_reason = selection.reason
        """Why it is this engine, for people."""
        self._clock = WindowClock(actor.frame_rate, max_gap_ms)
        self.stages_ms: dict[str, float] = {"render": 0.0, "generate": 0.0}
        """Time that each stage of the last frame took."""

    @property
    def engine_name(self) -> str:
        """What executes the network: torch, openvino."""
        return self._engine.name

    def show(self, params: FaceParams, time_s: float) -> Image:
        """Generate the picture `[S, S, 3]` uint8 RGB of one moment; the picture is the caller's own.

        Moments must come in order; a gap, or time running backwards, starts the window anew.
        """
        began = time.perf_counter()
        self._renderer.render(params, self._conditioning)
        rendered = time.perf_counter()
        image = self._engine.generate(self._conditioning, self._clock.advance(time_s)).copy()
        self.stages_ms = {
            "render": 1000.0 * (rendered - began),
            "generate": 1000.0 * (time.perf_counter() - rendered),
        }
        return image

    def reset(self) -> None:
        """Forget the past: the next picture starts the window anew."""
        self._clock.reset()

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()
