"""Everything beside the source's own answer: each way of encoding the output runs once, for all who take it.

Target slot for the page, and next to it `Outlets`: inference thread -> a rendition's slot -> encoder (executor) ->
`SharedFrame` to every subscriber (event loop). A rendition nobody takes does not exist and costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Protocol

from streamer.clock import NS_PER_S, Clock
from streamer.metrics import Meter
from streamer.packets import SharedFrame, TargetFrame
from streamer.slots import LoopSlot

logger = logging.getLogger(__name__)

KEY_FRAME_PAUSE_S = 0.5
"""Least time between two key frames: a viewer on a bad line, who asks for one after another, does not spend the
bitrate of the others on them."""
RATE_WINDOW_S = 1.0


class FrameSink(Protocol):
    """Anything that takes target frames, from the inference thread."""

    def put(self, item: TargetFrame) -> bool:
        """Take one frame without waiting."""
        ...


class Outlets:
    """Who gets the target's frames beside the source's page. Any thread may add, remove and put."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sinks: tuple[FrameSink, ...] = ()

    def __len__(self) -> int:
        return len(self._sinks)

    def add(self, sink: FrameSink) -> None:
        """Give every later frame to `sink` too."""
        with self._lock:
            self._sinks = (*self._sinks, sink)

    def remove(self, sink: FrameSink) -> None:
        """Give `sink` no more; nothing happens if it had gone."""
        with self._lock:
            self._sinks = tuple(other for other in self._sinks if other is not sink)

    def put(self, frame: TargetFrame) -> None:
        """Give one frame to all."""
        for sink in self._sinks:
            sink.put(frame)


class SharedEncoder(Protocol):
    """One way of encoding. `encode` runs in a worker thread, one frame after the other, and never raises."""

    def encode(self, frame: TargetFrame, is_key: bool) -> SharedFrame | None:
        """Encode one frame, as a key frame if so asked; None if it had to be dropped."""
        ...

    def close(self) -> None:
        """Let go of everything; called on the event loop, after the last frame."""
        ...


class Subscriber(Protocol):
    """Somebody who takes a rendition; called on the event loop, and must not wait."""

    def take(self, rendition: Rendition, frame: SharedFrame) -> None:
        """Take one encoded frame."""
        ...

    def end(self) -> None:
        """Hear that no more will come."""
        ...


class Rendition:
    """The output encoded in one way, for any number of subscribers. All methods run on the event loop."""

    def __init__(
        self,
        name: str,
        encoder: SharedEncoder,
        outlets: Outlets,
        *,
        clock: Clock,
        meter: Meter,
        on_unused: Callable[[], None],
    ) -> None:
        """Encode what `outlets` give; `on_unused` hears when the last subscriber has gone."""
        self.name = name
        self._encoder = encoder
        self._outlets = outlets
        self._clock = clock
        self._on_unused = on_unused
        self._subscribers: tuple[Subscriber, ...] = ()
        self._slot: LoopSlot[TargetFrame] = LoopSlot(asyncio.get_running_loop(), lambda: meter.drop("rendition"))
        self._is_key_wanted = True
        self._last_key_ns = -NS_PER_S
        self._sizes: list[tuple[int, int]] = []
        outlets.add(self._slot)
        self._task = asyncio.create_task(self._run(), name=f"rendition-{name}")

    @property
    def num_subscribers(self) -> int:
        """How many take this rendition."""
        return len(self._subscribers)

    @property
    def rate_bps(self) -> float:
        """What it took over the last second, bit/s."""
        since_ns = self._clock.monotonic_ns() - int(RATE_WINDOW_S * NS_PER_S)
        return sum(8 * size for at_ns, size in self._sizes if at_ns > since_ns) / RATE_WINDOW_S

    def add(self, subscriber: Subscriber) -> None:
        """Give every later frame to `subscriber`, who can begin at the next key frame: it is asked for."""
        self._subscribers = (*self._subscribers, subscriber)
        self.request_key_frame()

    def remove(self, subscriber: Subscriber) -> None:
        """Give `subscriber` no more; nothing happens if it had gone."""
        before = len(self._subscribers)
        self._subscribers = tuple(other for other in self._subscribers if other is not subscriber)
        if before and not self._subscribers:
            self._on_unused()

    def request_key_frame(self) -> None:
        """Make the next frame a key frame, or the first one after `KEY_FRAME_PAUSE_S`."""
        self._is_key_wanted = True

    def close(self) -> None:
        """Encode no more and tell the subscribers."""
        self._outlets.remove(self._slot)
        self._slot.close()
        subscribers, self._subscribers = self._subscribers, ()
        for subscriber in subscribers:
            subscriber.end()

    async def wait_closed(self) -> None:
        """Wait for the encoder to let go of its last frame."""
        await self._task
        self._encoder.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while (frame := await self._slot.take()) is not None:
            now_ns = self._clock.monotonic_ns()
            is_key = self._is_key_wanted and now_ns - self._last_key_ns >= KEY_FRAME_PAUSE_S * NS_PER_S
            if is_key:
                self._is_key_wanted = False
            try:
                encoded = await loop.run_in_executor(None, self._encoder.encode, frame, is_key)
            except Exception:  # The edge of a rendition: the session and the other renditions go on.
                logger.exception("rendition %s ends", self.name)
                self._on_unused()
                return
            if encoded is not None:
                self._hand_out(encoded)

    def _hand_out(self, encoded: SharedFrame) -> None:
        now_ns = self._clock.monotonic_ns()
        if encoded.is_key:
            self._last_key_ns = now_ns
        self._sizes = [(at, size) for at, size in self._sizes if now_ns - at <= RATE_WINDOW_S * NS_PER_S]
        self._sizes.append((now_ns, len(encoded.data)))
        for subscriber in self._subscribers:
            subscriber.take(self, encoded)


class Renditions:
    """The renditions of one session, by name: made when first asked for, closed when nobody takes them any more."""

    def __init__(self, outlets: Outlets, *, clock: Clock, meter: Meter) -> None:
        self._outlets = outlets
        self._clock = clock
        self._meter = meter
        self._renditions: dict[str, Rendition] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @property
    def num_encoders(self) -> int:
        """How many encoders run."""
        return len(self._renditions)

    def get(self, name: str, make: Callable[[], SharedEncoder]) -> Rendition:
        """Return the rendition `name`, made with `make` if it does not run yet; raise `RuntimeError` once closed."""
        if self._is_closed:
            raise RuntimeError("the session has ended")
        rendition = self._renditions.get(name)
        if rendition is None:
            rendition = self._renditions[name] = Rendition(
                name,
                make(),
                self._outlets,
                clock=self._clock,
                meter=self._meter,
                on_unused=lambda: self._drop(name),
            )
        return rendition

    def _drop(self, name: str) -> None:
        rendition = self._renditions.pop(name, None)
        if rendition is not None:
            rendition.close()
            task = asyncio.create_task(rendition.wait_closed(), name=f"close-{name}")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def close(self) -> None:
        """End every rendition; `wait_closed` waits for their encoders."""
        self._is_closed = True
        for name in list(self._renditions):
            self._drop(name)

    async def wait_closed(self) -> None:
        """Wait until no encoder works any more."""
        await asyncio.gather(*self._closing)
