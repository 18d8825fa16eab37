"""The live path whole: a frame of the source in, a frame of the target out.

track -> transfer -> render -> window -> generate -> mark, in this order. The first three are `look`, the others `show`:
while one frame is shown, the next may be looked at, on another thread.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from capture.face_tracker import FaceTracker
from capture.personal import Personal
from capture.select_tracker import TRACKERS, TrackerChoice, make_tracker, refusal
from capture.smoothing import SmoothingSettings
from models.camera import Camera
from models.face import FaceModel
from models.options import check_options, option
from models.params import FaceParams
from reenact.actor import Actor
from reenact.credentials import Origin
from reenact.engines.engine import EngineError
from reenact.engines.select import ENGINES, PRECISIONS
from reenact.face_change import FaceChange
from reenact.label import DisclosureSettings
from reenact.mark.message import Message
from reenact.portrait import Moment, Portrait
from reenact.stamp import Stamp
from reenact.transfer import Transfer, TransferSettings
from reenact.window import WindowSettings

logger = logging.getLogger(__name__)

NEWEST = 0.1
"""Say of the newest frame in how long frames take."""
Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSettings:
    """What executes the network. A change loads it anew, which takes a second or two."""

    name: str = option(
        "auto", "What executes the network; auto takes the fastest that works.", choices=("auto", *ENGINES)
    )
    precision: str = option(
        "auto",
        "Number format of the network; auto takes the fastest whose pictures are the same to the eye.",
        choices=PRECISIONS,
    )
    threads: int = option(0, "CPU threads of the network; 0 lets the engine choose.", minimum=0, maximum=256)

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReenactSettings:
    """What a person may change while it runs."""

    smoothing: SmoothingSettings = field(default_factory=SmoothingSettings)
    """How calm the tracked motion is."""
    transfer: TransferSettings = field(default_factory=TransferSettings)
    """How much of it goes over to the target."""
    disclosure: DisclosureSettings = field(default_factory=DisclosureSettings)
    """What the picture says of itself."""
    source: str = option(
        "camera", "Who moves the target: the face that the camera sees, or numbers: sliders, OSC, Live Link Face.",
        choices=("camera", "numbers"),
    )  # fmt: skip
    engine: EngineSettings = field(default_factory=EngineSettings)
    """What executes the network."""
    window: WindowSettings = field(default_factory=WindowSettings)
    """What the network sees of the past."""
    tracker: str = option(
        "auto", "What reads your face: landmarks, the regressor or both; auto is what was measured to be the best.",
        choices=TRACKERS,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_options(self)
        if reason := refusal(self.tracker):
            raise ValueError(reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """What was seen of the source in one frame, and what the target's network reads of it."""

    time_s: float
    moment: Moment
    """The target as it will be shown; to be shown before the `look` after the next."""
    state: str
    confidence: float
    num_faces: int
    is_calibrating: bool
    """These as in `Reenacted`."""
    stages_ms: dict[str, float]
    """Time that each stage took: track, transfer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reenacted:
    """One frame of the target, and what is known of the source's."""

    image: Image
    """`[S, S, 3]` uint8 RGB."""
    state: str
    """tracked, holding, easing or absent: see `capture.track.Track`; numbers where no camera is looked at."""
    confidence: float
    """0 to 1: how well the face was found."""
    num_faces: int
    """Faces seen in the source's frame."""
    is_calibrating: bool
    """Whether the source's face at rest is being measured."""
    stages_ms: dict[str, float]
    """Time that each stage took: track, transfer, render, generate, mark."""


class Balance:
    """Which of two threads draws: the one that looks, or the one that shows, whichever makes the longer one shorter."""

    def __init__(self) -> None:
        self._look_ms = self._draw_ms = self._show_ms = 0.0

    @property
    def leaves_drawing(self) -> bool:
        """Whether `show` draws."""
        drawn_early = max(self._look_ms + self._draw_ms, self._show_ms)
        return max(self._look_ms, self._show_ms + self._draw_ms) < drawn_early

    def note(self, look_ms: float, draw_ms: float, show_ms: float) -> None:
        """Note how long the parts of a frame took, drawing apart from the others."""
        self._look_ms += NEWEST * (look_ms - self._look_ms)
        self._draw_ms += NEWEST * (draw_ms - self._draw_ms)
        self._show_ms += NEWEST * (show_ms - self._show_ms)


class Reenactor:
    """Animate one actor with one source.

    One call at a time, but for `look` and `learn`, which may run while another thread is in `show`.
    """

    coverage: Mapping[str, float] | None = None
    """How much of the source's face was seen is not counted here."""

    def __init__(
        self,
        actor: Actor,
        *,
        engine: str = "auto",
        precision: str = "auto",
        threads: int = 0,
        settings: ReenactSettings | None = None,
    ) -> None:
        """Remember what to run; `warm_up()` loads it."""
        self.actor = actor
        self._engine = EngineSettings(name=engine, precision=precision, threads=threads)
        # As the settings begin, they change nothing of what runs.
        self._settings = dataclasses.replace(settings or ReenactSettings(), engine=self._engine)
        self._transfer = Transfer(actor.target, self._settings.transfer)
        self._stamp = Stamp(secrets.token_hex(16), actor, self._settings.disclosure)
        self._balance = Balance()
        self._tracker: FaceTracker | None = None
        self._choice: TrackerChoice | None = None
        self._seen_px = (1, 1)
        self._portrait: Portrait | None = None
        self._numbers = self._edit = FaceChange()

    @property
    def resolution(self) -> int:
        """Width and height of the pictures, pixels."""
        return self.actor.resolution

    @property
    def engine_name(self) -> str:
        """What executes the network: torch, openvino; empty before `warm_up()`."""
        return self._portrait.engine_name if self._portrait else ""

    @property
    def engine_reason(self) -> str:
        """Why it is this engine; empty before `warm_up()`."""
        return self._portrait.engine_reason if self._portrait else ""

    @property
    def tracker_name(self) -> str:
        """What reads the face: landmarks or regressor; empty before `warm_up()`."""
        return self._choice.name if self._choice else ""

    @property
    def tracker_reason(self) -> str:
        """Why it is this tracker; empty before `warm_up()`."""
        return self._choice.reason if self._choice else ""

    @property
    def origin(self) -> Origin:
        """What content credentials say of the pictures from here on; the same object until something changes."""
        return self._stamp.origin

    def warm_up(self) -> None:
        """Load everything, compile, and run once on an empty frame. Raises `ActorError` and `EngineError`."""
        if self._portrait is not None and self._tracker is not None:
            return
        model = FaceModel.load()
        self._portrait = self._make_portrait(self._engine, model)
        self._tracker, self._choice = make_tracker(self._settings.tracker, self._settings.smoothing, model=model)
        self._try()
        self.reset()

    def _try(self) -> None:
        """Run once on an empty frame; an engine that fails at it gives way to the next. Raises `EngineError`."""
        while True:
            try:
                self.process(np.zeros((self.resolution, self.resolution, 3), np.uint8), 0.0)
            except EngineError as error:
                logger.warning("the engine fails at its first frame, the next one takes over: %s", error)
                self.fall_back()
            else:
                return

    def begin(self, session: str) -> Message:
        """Mark every picture from here on as made in `session`; gives what the mark says."""
        self._stamp = Stamp(session, self.actor, self._settings.disclosure)
        return self._stamp.message

    def process(self, image: Image, time_s: float) -> Reenacted:
        """Reenact one frame of the source, `[H, W, 3]` uint8 RGB, seen at `time_s`. No face is no error.

        Raises `EngineError` where the engine fails: `fall_back` goes on with another.
        """
        return self.show(self.look(image, time_s))

    def look(self, image: Image, time_s: float) -> Looked:
        """Do what needs the source's frame, `[H, W, 3]` uint8 RGB, seen at `time_s`."""
        self.warm_up()
        assert self._tracker is not None
        assert self._portrait is not None
        height, width = image.shape[:2]
        self._seen_px = (width, height)
        camera = Camera.webcam(width, height)

        began = time.perf_counter()
        track = self._tracker.process(image, time_s, camera) if self._settings.source == "camera" else None
        tracked = time.perf_counter()
        rest = FaceParams.neutral()
        moved, neutral = (self._numbers.apply(rest), rest) if track is None else (track.params, track.neutral)
        params = self._edit.apply(self._transfer(moved, neutral, camera))
        transferred = time.perf_counter()
        moment = self._portrait.pose(params)
        if not self._balance.leaves_drawing:
            self._portrait.draw(moment)

        return Looked(
            time_s=time_s,
            moment=moment,
            state=track.state if track is not None else "numbers",
            confidence=track.confidence if track is not None else 1.0,
            num_faces=track.num_faces if track is not None else 0,
            is_calibrating=track is not None and self._tracker.is_calibrating,
            stages_ms={
                "track": 1000.0 * (tracked - began),
                "transfer": 1000.0 * (transferred - tracked),
            },
        )

    def show(self, looked: Looked) -> Reenacted:
        """Do the rest, in the order of the frames. Raises as `process` does, and `ConsentError`."""
        assert self._portrait is not None
        picture = self._portrait.paint(looked.moment, looked.time_s)
        self._stamp.apply(picture, looked.time_s)
        made_ms = {**self._portrait.stages_ms, **self._stamp.stages_ms}
        look_ms = sum(looked.stages_ms.values()) + looked.moment.pose_ms
        self._balance.note(look_ms, looked.moment.draw_ms, sum(made_ms.values()) - made_ms["render"])
        return Reenacted(
            image=picture,
            state=looked.state,
            confidence=looked.confidence,
            num_faces=looked.num_faces,
            is_calibrating=looked.is_calibrating,
            stages_ms={**looked.stages_ms, **made_ms},
        )

    def puppet(self, numbers: FaceChange) -> None:
        """Move by `numbers` from now on, relative to rest, where the setting `source` asks for numbers."""
        self._numbers = numbers

    def edit(self, change: FaceChange) -> None:
        """Change what the target shows from now on, whoever moves it: added after transfer."""
        self._edit = change

    def learn(self) -> None:
        """Learn of the source from the last frame, for the next ones: to be called once that frame is on its way."""
        if self._tracker is not None:
            self._tracker.learn()

    def generate(self, params: FaceParams, time_s: float) -> Image:
        """Show the target with parameters in its own space: no source, no transfer."""
        self.warm_up()
        assert self._portrait is not None
        picture = self._portrait.show(params, time_s)
        self._stamp.apply(picture, time_s)
        return picture

    def apply(self, settings: ReenactSettings) -> None:
        """Use other settings from the next frame on; another tracker meets the source anew.

        Raises `ValueError` or `RegressorEngineError` for a tracker that does not run, and `EngineError` for such an
        engine: the one before goes on.
        """
        self._transfer.apply(settings.transfer)
        self._stamp.change(settings.disclosure)
        if self._tracker is not None:
            if settings.tracker != self._settings.tracker:
                tracker, self._choice = make_tracker(settings.tracker, settings.smoothing)
                self._tracker.close()
                self._tracker = tracker
            self._tracker.apply(settings.smoothing)
        if self._portrait is not None:
            if settings.engine != self._engine:
                self._change_engine(settings.engine)
            self._portrait.apply(settings.window)
        self._engine = settings.engine
        self._settings = settings

    def _make_portrait(self, engine: EngineSettings, model: FaceModel | None = None) -> Portrait:
        portrait = Portrait(
            self.actor, engine=engine.name, precision=engine.precision, threads=engine.threads, model=model
        )
        portrait.apply(self._settings.window)
        return portrait

    def _change_engine(self, engine: EngineSettings) -> None:
        """Load the network anew; what ran before goes on where that fails. Raises `EngineError`."""
        portrait, self._portrait = self._portrait, self._make_portrait(engine)
        if portrait is not None:
            portrait.close()

    def mesh(self) -> NDArray[np.float32] | None:
        """Give the source's tracked landmarks `[478, 2]` as shares of the last frame's width and height, or None."""
        points_px = self._tracker.mesh_px() if self._tracker is not None else None
        return None if points_px is None else (points_px / np.array(self._seen_px)).astype(np.float32)

    def personal(self) -> Personal | None:
        """Give what is known of the source, for `restore` in another session; None before a face was seen."""
        return self._tracker.personal() if self._tracker is not None else None

    def restore(self, personal: Personal) -> None:
        """Take over what another session knew of the source. Raises `ValueError` for one of another tracker."""
        self.warm_up()
        assert self._tracker is not None
        self._tracker.restore(personal)

    def calibrate(self) -> None:
        """Start to measure the source's face at rest; it takes about a second of frames."""
        self.warm_up()
        assert self._tracker is not None
        self._tracker.calibrate()

    @property
    def may_improve(self) -> bool:
        """True while it runs on a slower engine than a new one would, for a failure that was long ago."""
        return self._portrait is not None and self._portrait.may_improve

    def fall_back(self) -> None:
        """Go on with the next engine, as this one fails. Raises `EngineError` where none is left."""
        self.warm_up()
        assert self._portrait is not None
        self._portrait.fall_back()

    def reset(self) -> None:
        """Forget the source: identity, face at rest, and the window."""
        if self._tracker is not None:
            self._tracker.reset()
        if self._portrait is not None:
            self._portrait.reset()

    def close(self) -> None:
        """Free networks and engine."""
        if self._portrait is not None:
            self._portrait.close()
            self._portrait = None
        if self._tracker is not None:
            self._tracker.close()
            self._tracker = None
