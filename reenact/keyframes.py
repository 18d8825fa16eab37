"""Changes of a face over time, as the editor saves them: keyframes, and the way from one to the next."""

from __future__ import annotations

import bisect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from reenact.face_change import FaceChange

VERSION = 1
MAX_KEYS = 1000
MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Keyframes:
    """Keys in order of time; `web/edit_keys.js` does the same in the page."""

    times_s: tuple[float, ...]
    changes: tuple[FaceChange, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of the editor. Raises `ValueError` naming what is wrong."""
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ValueError(f"more than {MAX_BYTES >> 20} MiB")
            return cls.of(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} holds no edits: {getattr(error, 'strerror', None) or error}") from None

    @classmethod
    def of(cls, values: Any) -> Self:  # noqa: ANN401 - from a file
        """Check `{"version": 1, "keys": [{"time_s": ..., "values": {...}}, ...]}`. Raises `ValueError`."""
        if not isinstance(values, dict) or values.get("version") != VERSION:
            raise ValueError(f"expected version {VERSION}")
        keys = values.get("keys")
        if not isinstance(keys, list) or not 1 <= len(keys) <= MAX_KEYS:
            raise ValueError(f"keys: expected 1 to {MAX_KEYS}")
        read: dict[float, FaceChange] = {}
        for index, key in enumerate(keys):
            time_s = key.get("time_s") if isinstance(key, dict) else None
            if not isinstance(time_s, int | float) or isinstance(time_s, bool) or not 0 <= time_s < 1e6:  # NaN too
                raise ValueError(f"keys[{index}].time_s: expected seconds, got {time_s!r}")
            try:
                read[float(time_s)] = FaceChange.of(key.get("values"))
            except ValueError as error:
                raise ValueError(f"keys[{index}].{error}") from None
        times = tuple(sorted(read))
        return cls(times, tuple(read[time_s] for time_s in times))

    def at(self, time_s: float) -> FaceChange:
        """Give the change at a moment: eased between two keys; before the first and after the last it is theirs."""
        after = bisect.bisect_right(self.times_s, time_s)
        if after in (0, len(self.times_s)):
            return self.changes[min(after, len(self.times_s) - 1)]
        start, stop = self.times_s[after - 1], self.times_s[after]
        place = (time_s - start) / (stop - start)
        return self.changes[after - 1].blend(self.changes[after], place * place * (3 - 2 * place))
