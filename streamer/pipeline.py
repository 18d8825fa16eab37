"""The topology of a session, and nothing else.

Packets -> `Ingest` (event loop, then decode thread) -> source slot -> inference thread (`streamer.worker`) -> target
slot -> `TargetTrack` (event loop) -> encoder (executor) -> packets. Beside the target slot stand the outlets, for
everybody but the source's own page (`streamer.renditions`).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from capture.personal import Personal
from reenact.credentials import Origin
from reenact.face_change import FaceChange
from streamer.clock import Clock, elapsed_ms
from streamer.ingest import Ingest
from streamer.latency import Departures
from streamer.limits import Bucket
from streamer.metrics import AGE, Meter
from streamer.packets import FaceState, SourceFrame, TargetFrame
from streamer.renditions import Outlets
from streamer.slots import LatestSlot, LoopSlot
from streamer.sound import Sound
from streamer.tracks import TargetTrack

MAX_RESTARTS = 5
"""New starts of the inference thread, or of all engines, that one session may have at once, and in each minute."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineInfo:
    """What runs, as told to the page."""

    actor: str
    engine: str
    engine_reason: str
    tracker: str
    """What reads the source's face: landmarks, regressor or both."""
    tracker_reason: str
    resolution: int
    mark: str
    """What the invisible mark says, hexadecimal: session and actor, as `reenact verify` prints them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """Everything the page asked for since the last frame."""

    settings: Any = None
    """The whole settings, or None if unchanged."""
    actor: str | None = None
    personal: Personal | None = None
    """What the page's browser kept of the source."""
    numbers: FaceChange | None = None
    """What a target that is moved by numbers does from now on."""
    edit: FaceChange | None = None
    """How the target is changed from now on."""
    is_calibration: bool = False
    is_reset: bool = False

    @property
    def is_light(self) -> bool:
        """Whether nothing is asked for that a picture in the making would notice."""
        return self.settings is None and self.actor is None and not self.is_reset


class Orders:
    """Wishes of the page for the inference thread. They merge, so they need no queue and none is lost."""

    def __init__(self, settings: Any, wake: Callable[[], None]) -> None:  # noqa: ANN401 - the targets' settings type
        """Start with `settings` to be applied; call `wake` when there is something new."""
        self._lock = threading.Lock()
        self._wake = wake
        self._settings = settings
        self._pending = Order(settings=settings)
        self.is_mesh_wanted = False
        """Whether the page draws the tracked mesh."""
        self._edit = FaceChange()

    @property
    def settings(self) -> Any:  # noqa: ANN401
        """The newest settings."""
        return self._settings

    def apply(self, settings: Any) -> None:  # noqa: ANN401
        """Ask for other settings."""
        self._settings = settings
        self._merge(settings=settings)

    def switch(self, actor: str) -> None:
        """Ask for another actor."""
        self._merge(actor=actor)

    def calibrate(self) -> None:
        """Ask for a new neutral pose."""
        self._merge(is_calibration=True)

    def puppet(self, numbers: FaceChange) -> None:
        """Ask for a movement by numbers."""
        self._merge(numbers=numbers)

    def edit(self, change: FaceChange) -> None:
        """Ask for a change of what the target shows."""
        self._edit = change
        self._merge(edit=change)

    def restore(self, personal: Personal) -> None:
        """Ask to take over what is known of the source from another session."""
        self._merge(personal=personal)

    def reset(self) -> None:
        """Ask to forget everything about the source."""
        self._merge(is_reset=True)

    def renew(self) -> None:
        """Ask for the newest settings and edit again: another thread or target, which has not heard of them."""
        self._merge(settings=self._settings, edit=self._edit)

    def take(self) -> Order:
        """Return what was asked for since the last call."""
        with self._lock:
            order, self._pending = self._pending, Order()
            return order

    def _merge(
        self,
        *,
        settings: Any = None,  # noqa: ANN401
        actor: str | None = None,
        personal: Personal | None = None,
        numbers: FaceChange | None = None,
        edit: FaceChange | None = None,
        is_calibration: bool = False,
        is_reset: bool = False,
    ) -> None:
        with self._lock:
            old = self._pending
            self._pending = Order(
                settings=old.settings if settings is None else settings,
                actor=old.actor if actor is None else actor,
                personal=old.personal if personal is None else personal,
                numbers=old.numbers if numbers is None else numbers,
                edit=old.edit if edit is None else edit,
                is_calibration=old.is_calibration or is_calibration,
                is_reset=old.is_reset or is_reset,
            )
        self._wake()


class PipelineListener(Protocol):
    """Who is told of what happens in the inference thread; called on the event loop."""

    def on_engine(self, info: EngineInfo) -> None:
        """Hear that an actor is loaded and warm; also after a switch."""
        ...

    def on_mesh(self, message: bytes) -> None:
        """Hear of a tracked mesh, as `streamer.control` puts it into a message."""
        ...

    def on_calibrated(self, personal: Personal) -> None:
        """Hear what a calibration found."""
        ...

    def on_refused(self, code: str, message: str) -> None:
        """Hear that a wish of the page could not be met; the session goes on."""
        ...

    def on_failed(self, code: str, message: str) -> None:
        """Hear that the session cannot go on."""
        ...


class Pipeline:
    """The slots and stages of one session, and how they are joined."""

    def __init__(
        self,
        *,
        session: str,
        name: str,
        actor: str,
        settings: Any,  # noqa: ANN401
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        meter: Meter,
        listener: PipelineListener,
    ) -> None:
        """Join the stages of `session`, called `name` in logs; nothing runs before `connect_source` and a worker."""
        self.session = session
        self.origins: list[Origin] = []
        """Where the pictures come from, since the session began: the newest last."""
        self.actor = actor
        self.meter = meter
        self.face = FaceState()
        self.restarts = Bucket(clock, rate=MAX_RESTARTS / 60.0, burst=MAX_RESTARTS)
        """New starts of its thread, or of all its engines, that it may still have."""
        self._name = name
        self._loop = loop
        self._clock = clock
        self._listener = listener
        self.source: LatestSlot[SourceFrame] = LatestSlot(lambda: meter.drop("ingest"))
        self.target: LoopSlot[TargetFrame] = LoopSlot(loop, lambda: meter.drop("egress"))
        self.outlets = Outlets()
        """Who else gets the target's frames: viewers, recordings, cameras."""
        self.num_published = 0
        self.is_preparing = True
        """Whether its target is being loaded, or waits for its turn: no picture comes before."""
        self.orders = Orders(settings, self.source.wake)
        self.track = TargetTrack(self.target, self._on_sent)
        self.ingest: Ingest | None = None
        self.sound = Sound(loop=loop, clock=clock, meter=meter, picture_pts=self._picture_pts)
        self.last_sent: TargetFrame | None = None
        self.departures = Departures()
        """What the page has not heard yet of the frames that have left."""
        self.sent_timestamp: Callable[[], int] | None = None
        """Gives the RTP timestamp of the last packet sent to the page, once there is a connection."""

    @property
    def is_closed(self) -> bool:
        """True once `close` was called."""
        return self.source.is_closed

    def connect_source(self, codecs: Mapping[int, str]) -> Ingest:
        """Make and start the stage that decodes payload types `codecs`."""
        self.ingest = Ingest(self.source, codecs=codecs, clock=self._clock, meter=self.meter, name=self._name)
        self.ingest.start()
        return self.ingest

    def close(self) -> None:
        """Release every thread and task that waits in the pipeline; `join` waits for the decoder's."""
        if self.ingest is not None:
            self.ingest.close()
        self.source.close()
        self.target.close()
        self.sound.close()

    def join(self, timeout_s: float) -> bool:
        """Wait for the decoder thread; False if it still runs. Blocks."""
        return self.ingest is None or self.ingest.join(timeout_s)

    @contextlib.contextmanager
    def preparing(self) -> Iterator[None]:
        """Let the page know that a target is being loaded: minutes at worst, and no fault."""
        self.is_preparing = True
        try:
            yield
        finally:
            self.is_preparing = False

    def publish(self, frame: TargetFrame) -> None:
        """Send a finished frame out, from the inference thread: to the source's page first, then to everybody else."""
        self.target.put(frame)
        self.outlets.put(frame)
        self.sound.follow(frame)
        self.num_published += 1

    def announce(self, info: EngineInfo) -> None:
        """Tell the listener, from the inference thread, that an actor is ready."""
        self.actor = info.actor
        self._tell(self._listener.on_engine, info)

    def show_mesh(self, message: bytes) -> None:
        """Give the listener, from the inference thread, the tracked mesh."""
        self._tell(self._listener.on_mesh, message)

    def hand_over(self, personal: Personal) -> None:
        """Give the listener, from the inference thread, what a calibration found."""
        self._tell(self._listener.on_calibrated, personal)

    def refuse(self, code: str, message: str) -> None:
        """Tell the listener, from the inference thread, that a wish is refused."""
        self._tell(self._listener.on_refused, code, message)

    def fail(self, code: str, message: str) -> None:
        """Tell the listener, from the inference thread, that this is the end."""
        self._tell(self._listener.on_failed, code, message)

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            # The loop has ended: nobody is left to be told.
            pass

    def _picture_pts(self, timestamp: int) -> int | None:
        return self.ingest.pts_of(timestamp) if self.ingest is not None else None

    def _on_sent(self, frame: TargetFrame) -> None:
        self.last_sent = frame
        now_ns = self._clock.monotonic_ns()
        self.meter.count("sent")
        self.meter.time(AGE, elapsed_ms(frame.captured_ns, now_ns))
        if self.sent_timestamp is not None:
            self.departures.add(frame, self.sent_timestamp(), now_ns)
