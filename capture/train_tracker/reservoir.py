"""A store of training samples between those who make them and the one who draws them, at each one's own pace."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Batch = Mapping[str, NDArray[Any]]

HALVED = ("vertices", "albedo")
"""Arrays that are kept in float16: they are most of a sample, and float16 is finer than what is learned."""


class Reservoir:
    """Keep the newest samples and draw among them at random.

    A thread of its own takes batches from the maker. Where drawing is faster than making, samples are drawn again
    before they are displaced; where making is faster, it waits. `close()` it.
    """

    def __init__(self, batches: Iterator[Batch], capacity: int, names: Collection[str]) -> None:
        """Fill from `batches`, dicts of arrays with a common first dimension; keep `capacity` samples of `names`."""
        self._batches = batches
        self._capacity, self._names = capacity, names
        self._arrays: dict[str, NDArray[Any]] = {}
        self._lock = threading.Condition()
        self._error: BaseException | None = None
        self._ended = self._closing = False
        self.made = 0
        """Samples taken from the maker."""
        self.drawn = 0
        """Samples given out."""
        self._thread = threading.Thread(target=self._fill, name="reservoir", daemon=True)
        self._thread.start()

    def draw(self, count: int, rng: np.random.Generator, *, at_least: int = 0) -> dict[str, NDArray[Any]]:
        """Copy `count` samples, drawn at random; waits until `at_least` were made. Passes the maker's errors on."""
        enough = min(max(count, at_least), self._capacity)
        with self._lock:
            self._lock.wait_for(lambda: self._error or self._ended or self.made >= enough)
            if self._error is not None:
                raise RuntimeError(f"making training samples failed: {self._error}") from self._error
            present = min(self.made, self._capacity)
            if not present:
                raise RuntimeError("making training samples ended before the first one")
            chosen = rng.integers(0, present, count)
            self.drawn += count
            self._lock.notify_all()
            return {name: array[chosen] for name, array in self._arrays.items()}

    def close(self) -> None:
        """Stop taking batches, and the maker."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._thread.join()
        closing = getattr(self._batches, "close", None)
        if closing is not None:
            closing()

    def _fill(self) -> None:
        try:
            for batch in self._batches:
                with self._lock:
                    self._lock.wait_for(lambda: self._closing or self.made - self.drawn < self._capacity)
                    if self._closing:
                        return
                    self._store(batch)
                    self._lock.notify_all()
            with self._lock:
                self._ended = True
                self._lock.notify_all()
        except Exception as error:
            with self._lock:
                self._error = error
                self._lock.notify_all()

    def _store(self, batch: Batch) -> None:
        count = len(batch["confidence"])
        for name in self._names:
            values = batch[name]
            if name not in self._arrays:
                dtype = np.float16 if name in HALVED else values.dtype
                self._arrays[name] = np.zeros((self._capacity, *values.shape[1:]), dtype)
            places = (self.made + np.arange(count)) % self._capacity
            self._arrays[name][places] = values
        self.made += count
