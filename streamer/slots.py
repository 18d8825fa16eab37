"""Slots of capacity one between threads: the newest packet wins, a displaced one is counted, never silently lost."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class LatestSlot(Generic[T]):
    """Hand the newest packet to one consumer thread."""

    def __init__(self, on_displaced: Callable[[], None] = lambda: None) -> None:
        """Call `on_displaced`, in the producer's thread, for every packet that a newer one pushed out."""
        self._on_displaced = on_displaced
        self._condition = threading.Condition()
        self._item: T | None = None
        self._is_woken = False
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """True once `close` was called."""
        return self._is_closed

    def put(self, item: T) -> bool:
        """Offer `item`; return True if it displaced an older one. A closed slot swallows it."""
        with self._condition:
            if self._is_closed:
                return False
            is_displacing = self._item is not None
            self._item = item
            self._condition.notify()
        if is_displacing:
            self._on_displaced()
        return is_displacing

    def wake(self) -> None:
        """Let a waiting `take` return without a packet, so that its thread can look at its orders."""
        with self._condition:
            self._is_woken = True
            self._condition.notify()

    def take(self, timeout_s: float | None = None) -> T | None:
        """Wait for a packet; None after `wake`, `close` or `timeout_s`."""
        with self._condition:
            self._condition.wait_for(lambda: self._item is not None or self._is_woken or self._is_closed, timeout_s)
            item, self._item, self._is_woken = self._item, None, False
            return item

    def close(self) -> None:
        """Drop what is held and release the consumer for good."""
        with self._condition:
            self._is_closed = True
            self._item = None
            self._condition.notify_all()


class LoopSlot(Generic[T]):
    """Hand the newest packet to one coroutine of `loop`; any thread may put."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_displaced: Callable[[], None] = lambda: None) -> None:
        """Call `on_displaced`, in the producer's thread, for every packet that a newer one pushed out."""
        self._loop = loop
        self._on_displaced = on_displaced
        self._lock = threading.Lock()
        self._item: T | None = None
        self._is_closed = False
        self._ready = asyncio.Event()

    def put(self, item: T) -> bool:
        """Offer `item`; return True if it displaced an older one. A closed slot swallows it."""
        with self._lock:
            if self._is_closed:
                return False
            is_displacing = self._item is not None
            self._item = item
        if is_displacing:
            self._on_displaced()  # The consumer was told already and has not come yet.
        else:
            self._tell()
        return is_displacing

    async def take(self) -> T | None:
        """Wait for a packet; None once the slot is closed."""
        while True:
            with self._lock:
                item, self._item = self._item, None
                self._ready.clear()
                if item is not None or self._is_closed:
                    return item
            await self._ready.wait()

    def close(self) -> None:
        """Drop what is held and release the consumer for good."""
        with self._lock:
            self._is_closed = True
            self._item = None
        self._tell()

    def _tell(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._ready.set)
        except RuntimeError:
            # The loop has ended, and with it the only possible consumer.
            pass


class BoundedFifo(Generic[T]):
    """Pass every packet, in order, to one consumer thread; the producer is told when it is full."""

    def __init__(self, capacity: int) -> None:
        """Hold at most `capacity` packets."""
        self._capacity = capacity
        self._condition = threading.Condition()
        self._items: deque[T] = deque()
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """True once `close` was called."""
        return self._is_closed

    def offer(self, item: T) -> bool:
        """Append `item`; False, and nothing happens, if the queue is full or closed."""
        with self._condition:
            if self._is_closed or len(self._items) >= self._capacity:
                return False
            self._items.append(item)
            self._condition.notify()
            return True

    def take(self) -> T | None:
        """Wait for the oldest packet; None once the queue is closed."""
        with self._condition:
            self._condition.wait_for(lambda: bool(self._items) or self._is_closed)
            return None if self._is_closed else self._items.popleft()

    def clear(self) -> int:
        """Drop everything that waits; return how many packets that was."""
        with self._condition:
            dropped = len(self._items)
            self._items.clear()
            return dropped

    def close(self) -> None:
        """Drop everything and release the consumer for good."""
        with self._condition:
            self._is_closed = True
            self._items.clear()
            self._condition.notify_all()
