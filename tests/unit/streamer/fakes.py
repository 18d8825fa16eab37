"""Small hand-written stand-ins for the room below and for time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capture.personal import Personal
from models.options import check_options, option
from reenact.credentials import Origin
from reenact.face_change import FaceChange
from reenact.mark.message import Message
from streamer.errors import ServiceError
from streamer.targets import ActorCard, unknown_actor


class FakeClock:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def monotonic_ns(self) -> int:
        return self.now_ns

    def advance_ms(self, ms: float) -> None:
        self.now_ns += int(ms * 1e6)


@dataclass(frozen=True, kw_only=True, slots=True)
class FakeSmoothing:
    min_cutoff_hz: float = option(1.5, "Lower is steadier.", minimum=0.1, maximum=10.0, unit="Hz")

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class FakeTransfer:
    mouth_gain: float = option(1.0, "How far the mouth opens.", minimum=0.0, maximum=2.0)
    is_mirrored: bool = option(True, "Left and right exchanged.")
    mode: str = option("head", "What follows.", choices=("head", "face"))
    steps: int = option(3, "How many.", minimum=1, maximum=9)

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class FakeSettings:
    smoothing: FakeSmoothing = field(default_factory=FakeSmoothing)
    transfer: FakeTransfer = field(default_factory=FakeTransfer)
    tracker: str = option("auto", "What reads the face.", choices=("auto", "landmarks", "regressor"))

    def __post_init__(self) -> None:
        check_options(self)
        if self.tracker == "regressor":
            raise ValueError("The tracker 'regressor' has no weights here.")


def make_personal(tracker: str = "landmarks") -> Personal:
    """Make a calibration of the average face."""
    return Personal(
        tracker=tracker,
        identity=np.zeros(80, np.float32),
        expression=np.zeros(52, np.float32),
        rotation=np.zeros(3, np.float32),
        translation=np.array([0.0, 0.0, -0.6], np.float32),
        gaze=np.zeros((2, 2), np.float32),
        gain=np.ones(52, np.float32),
        offsets=np.zeros((478, 3), np.float32) if tracker == "landmarks" else None,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class FakeLooked:
    image: NDArray[np.uint8]
    time_s: float
    state: str = "tracked"
    confidence: float = 0.9
    num_faces: int = 1
    is_calibrating: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FakeReenacted:
    image: NDArray[np.uint8]
    stages_ms: dict[str, float] = field(
        default_factory=lambda: {"track": 1.0, "transfer": 0.1, "render": 0.2, "generate": 2.0, "mark": 0.1}
    )


class FakeReenactor:
    """Echo the source, cropped or padded to the resolution; remember every call and its thread."""

    engine_name = "fake"
    engine_reason = "a test runs"
    tracker_name = "landmarks"
    tracker_reason = "asked for by a test"
    coverage: dict[str, float] | None = None
    may_improve = False

    def __init__(self, actor: str, resolution: int = 256) -> None:
        self.actor = actor
        self.resolution = resolution
        self.calls: list[tuple[str, Any]] = []
        self.threads: set[int] = set()
        self.painters: set[int] = set()
        self.on_process: Callable[[NDArray[np.uint8]], None] = lambda _: None
        self.on_learn: Callable[[], object] = lambda: None
        self.on_fall_back: Callable[[], object] = lambda: None
        self.is_calibrating = False
        self.known: Personal | None = None
        self.origin = Origin(
            actor=actor,
            actor_title=actor.title(),
            actor_sha256="abcdef" + "0" * 58,
            consent={"person": "nobody", "purpose": "tests", "until": None},
            mark="12345678-abcdef",
            label="AI-generated",
            label_reason="",
        )

    def _note(self, name: str, value: Any = None) -> None:
        self.calls.append((name, value))
        self.threads.add(threading.get_ident())

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def warm_up(self) -> None:
        self._note("warm_up")

    def begin(self, session: str) -> Message:
        self._note("begin", session)
        return Message.of(session, "abcdef" + "0" * 58)

    def look(self, image: NDArray[np.uint8], time_s: float) -> FakeLooked:
        self.threads.add(threading.get_ident())
        return FakeLooked(image=image, time_s=time_s, is_calibrating=self.is_calibrating)

    def show(self, looked: FakeLooked) -> FakeReenacted:
        return self.process(looked.image, looked.time_s)

    def process(self, image: NDArray[np.uint8], time_s: float) -> FakeReenacted:
        """What `show` does, for tests to change."""
        self.calls.append(("process", (image.shape, time_s)))
        self.painters.add(threading.get_ident())
        self.on_process(image)
        out = np.zeros((self.resolution, self.resolution, 3), np.uint8)
        height, width = min(self.resolution, image.shape[0]), min(self.resolution, image.shape[1])
        out[:height, :width] = image[:height, :width]
        return FakeReenacted(image=out)

    def puppet(self, numbers: FaceChange) -> None:
        if numbers.values:
            self._note("puppet", numbers)

    def edit(self, change: FaceChange) -> None:
        if change.values:
            self._note("edit", change)

    def learn(self) -> None:
        self._note("learn")
        self.on_learn()

    def apply(self, settings: Any) -> None:
        self._note("apply", settings)

    def calibrate(self) -> None:
        self._note("calibrate")

    def mesh(self) -> NDArray[np.float32] | None:
        self._note("mesh")
        return np.array([[0.5, 0.25], [1.5, -0.5]], np.float32)

    def personal(self) -> Personal | None:
        return self.known

    def restore(self, personal: Personal) -> None:
        self._note("restore", personal)
        if personal.tracker != self.tracker_name:
            raise ValueError("The calibration is of another tracker.")

    def fall_back(self) -> None:
        self._note("fall_back")
        self.on_fall_back()

    def reset(self) -> None:
        self._note("reset")

    def close(self) -> None:
        self._note("close")


class FakeTargets:
    """Two good actors, `milo` and `nora` (at 128), and a damaged one, `broken`."""

    def __init__(self) -> None:
        self.opened: list[FakeReenactor] = []
        self.on_process: Callable[[NDArray[np.uint8]], None] = lambda _: None

    def cards(self) -> list[ActorCard]:
        return [
            ActorCard(name="milo", title="Milo", resolution=256, frame_rate=30, license="CC0-1.0"),
            ActorCard(name="nora", title="Nora", resolution=128, frame_rate=30, license="CC0-1.0"),
        ]

    def card(self, name: str) -> ActorCard:
        if name == "broken":
            raise ServiceError(
                409, "actor_refused", "The actor 'broken' is damaged: generator.safetensors has changed."
            )
        cards = {card.name: card for card in self.cards()}
        if name not in cards:
            raise unknown_actor(name, list(cards))
        return cards[name]

    def open(self, name: str) -> FakeReenactor:
        reenactor = FakeReenactor(name, self.card(name).resolution)
        reenactor.on_process = self.on_process
        self.opened.append(reenactor)
        return reenactor
