"""What a training tells while it runs: curves and a grid of pictures, for the page and for TensorBoard."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

CURVE = "curve.jsonl"
"""One JSON object a line: `step`, `minutes` of training, and the values."""
GRID = "grid.png"
EVENTS = "tensorboard"
INTERVAL_S = 4.0
"""Least time between two notes of the losses; what was measured on held-out frames is always written."""


class Journal:
    """Write a training's curves and pictures into its folder. Use as a context manager.

    Curves stand in `curve.jsonl`, the newest pictures in `grid.png`, and both, with every picture that there was, as
    TensorBoard's event files in `tensorboard/`. Raises `OSError` where the disk takes no more, as a checkpoint would.
    """

    def __init__(self, folder: Path, step: int = 0, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Go on at `step`: what an interrupted run noted beyond its last checkpoint is done again, and forgotten."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._path, self._clock = folder / CURVE, clock
        self._noted = -INTERVAL_S
        (folder / EVENTS).mkdir(parents=True, exist_ok=True)
        kept = [line for line in _lines(self._path) if step and json.loads(line)["step"] <= step]
        self._path.write_text("".join(kept))
        self._event = Event
        # Written here and not by the library's own thread, which a full disk would end without a word.
        self._events = EventsWriter(str(folder / EVENTS / "events"), f".{time.time_ns()}")
        self._write(step, session_log=SessionLog(status=SessionLog.START))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def note(self, step: int, minutes: float, losses: Mapping[str, float]) -> None:
        """Note the running losses, if the last note is old enough."""
        if self._clock() - self._noted >= INTERVAL_S:
            self._noted = self._clock()
            self._add("loss", step, minutes, losses)

    def score(self, step: int, minutes: float, scores: Mapping[str, float]) -> None:
        """Note what was measured on held-out frames."""
        self._add("held_out", step, minutes, scores)

    def show(self, step: int, picture: Path) -> None:
        """Add a picture that lies in a file."""
        from tensorboardX import summary

        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("RGB"))
        self._write(step, summary=summary.image("held_out/truth_output_error", pixels, dataformats="HWC"))

    def close(self) -> None:
        """Complete the event file."""
        self._events.close()

    def _add(self, group: str, step: int, minutes: float, values: Mapping[str, float]) -> None:
        from tensorboardX import summary

        named = {name: round(float(value), 6) for name, value in values.items()}
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, "minutes": round(minutes, 3), group: named}) + "\n")
        for name, value in named.items():
            self._write(step, summary=summary.scalar(f"{group}/{name}", value))

    def _write(self, step: int, **what: Any) -> None:  # noqa: ANN401 - a protobuf message
        self._events.write_event(self._event(wall_time=time.time(), step=step, **what))
        self._events.flush()


def read_curve(folder: Path, most: int = 400) -> list[dict[str, Any]]:
    """Read a training's curve, thinned to about `most` points; of held-out scores all. Empty where there is none."""
    lines = _lines(folder / CURVE)
    every = max(1, len(lines) // most)
    newest = len(lines) - 1
    kept = [line for index, line in enumerate(lines) if (newest - index) % every == 0 or "held_out" in line]
    return [json.loads(line) for line in kept]


def _lines(path: Path) -> list[str]:
    """Give the whole lines of a file; one that was cut off by the end of a process is no line."""
    try:
        return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("}\n")]
    except OSError:
        return []
