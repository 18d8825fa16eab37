"""The moving picture of a target: `FaceParams` in its own space to video frames."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.face import FaceModel
from models.face_numbers import face_numbers
from models.params import FaceParams
from reenact.actor import Actor
from reenact.conditioning import CHANNELS, ConditioningRenderer, Scene
from reenact.engines.engine import EngineError
from reenact.engines.select import make_engine, make_fallback
from reenact.moving_frames import moving_frames
from reenact.window import DEFAULT_MAX_GAP_MS, WindowClock, WindowSettings

logger = logging.getLogger(__name__)

Image = NDArray[np.uint8]

CONSENT_S = 1.0
"""How often consent is looked at while pictures are made."""
FORGIVEN_S = 60.0
"""After this long an engine that failed may be tried again: often it is a moment that fails, not an engine."""


@dataclass(slots=True)
class Moment:
    """The target at one moment, on its way to a picture."""

    scene: Scene
    face: NDArray[np.float32]
    """What `face_numbers` says of it."""
    pose_ms: float
    draw_ms: float = 0.0
    """Time that both took."""
    conditioning: NDArray[np.float32] | None = None
    """`[9, S, S]` once it is drawn."""


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
        model = model or FaceModel.load()
        generator = actor.load_generator()
        self._renderer = ConditioningRenderer.of(generator, actor.target.camera, model)
        # Two: one is painted from while the next is drawn. There is one renderer for both.
        self._drawing = threading.Lock()
        self._conditioning = [np.zeros((CHANNELS, size, size), np.float32) for _ in range(2)]
        self._frames = moving_frames(actor.target, generator, model)
        selection = make_engine(generator, engine, precision, threads, frames=self._frames)
        self._engine = selection.engine
        self._threads = threads
        self._failed: dict[tuple[str, str], float] = {}
        self.engine_reason = selection.reason
        """Why it is this engine, for people."""
        self._consent_due_s = 0.0
        self._clock = WindowClock(actor.frame_rate, max_gap_ms)
        self.stages_ms: dict[str, float] = {"render": 0.0, "generate": 0.0}
        """Time that each stage of the last frame took."""

    @property
    def engine_name(self) -> str:
        """What executes the network: torch, openvino."""
        return self._engine.name

    def show(self, params: FaceParams, time_s: float) -> Image:
        """Pose, draw and paint one moment: see `paint`."""
        return self.paint(self.pose(params), time_s)

    def pose(self, params: FaceParams) -> Moment:
        """Begin with a moment. Only one further may be begun before it is painted."""
        began = time.perf_counter()
        scene = self._renderer.pose(params)
        return Moment(scene, face_numbers(params), pose_ms=1000.0 * (time.perf_counter() - began))

    def draw(self, moment: Moment) -> None:
        """Draw what the network reads of `moment`, unless it has been."""
        if moment.conditioning is not None:
            return
        with self._drawing:
            began = time.perf_counter()
            self._conditioning.reverse()
            moment.conditioning = self._renderer.draw(moment.scene, self._conditioning[0])
            moment.draw_ms = 1000.0 * (time.perf_counter() - began)

    def paint(self, moment: Moment, time_s: float) -> Image:
        """Generate the picture `[S, S, 3]` uint8 RGB of one moment; the picture is the caller's own.

        Moments must come in order; a gap, or time running backwards, starts the window anew. The next moment may be
        posed and drawn meanwhile, in another thread. Raises `EngineError` where the engine fails at it, and
        `ConsentError` once the person may be shown no longer.
        """
        self.draw(moment)
        assert moment.conditioning is not None
        began = time.perf_counter()
        if began >= self._consent_due_s:
            self.actor.check_consent()
            self._consent_due_s = began + CONSENT_S
        step = self._clock.advance(time_s)
        try:
            image = self._engine.generate(moment.conditioning, step, moment.face).copy()
        except Exception as error:  # The edge of an engine: each fails in words of its own.
            self._clock.reset()
            raise EngineError(f"{self._engine.name} {self._engine.precision} failed: {error}") from error
        self.stages_ms = {
            "render": moment.pose_ms + moment.draw_ms,
            "generate": 1000.0 * (time.perf_counter() - began),
        }
        return image

    def apply(self, window: WindowSettings) -> None:
        """Let the window see so much of the past from the next frame on."""
        self._clock.set_stride(window.stride)

    @property
    def may_improve(self) -> bool:
        """True while a slower engine runs than could: the one that failed has been forgiven."""
        return bool(self._failed) and time.monotonic() - max(self._failed.values()) > FORGIVEN_S

    def fall_back(self) -> None:
        """Go on with the next engine: this one failed. Raises `EngineError` where all have, within `FORGIVEN_S`."""
        now_s = time.monotonic()
        self._failed[self._engine.name, self._engine.precision] = now_s
        recent = [engine for engine, failed_s in self._failed.items() if now_s - failed_s <= FORGIVEN_S]
        selection = make_fallback(self.actor.load_generator(), recent, self._threads, frames=self._frames)
        failed, self._engine, self.engine_reason = self._engine, selection.engine, selection.reason
        self._clock.reset()
        try:
            failed.close()
        except Exception:  # What has failed may fail at this too.
            logger.exception("the engine %s could not be closed", failed.name)

    def reset(self) -> None:
        """Forget the past: the next picture starts the window anew."""
        self._clock.reset()

    def close(self) -> None:
        """Free the engine."""
        self._engine.close()
