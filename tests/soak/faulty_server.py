"""`reenact serve` in which things go wrong by chance: the engine fails, the inference thread ends."""

from __future__ import annotations

import os
import random
import sys
import time
from typing import Any

from reenact.engines.openvino_engine import OpenVinoEngine
from reenact.engines.torch_engine import TorchEngine
from reenact.reenactor import Reenactor
from streamer.cli import main

HURRY = float(os.environ.get("SOAK_HURRY", "1"))
"""How much more often than in an hour's run: a minute must see some of each."""
FAILURE_S = 25.0 / HURRY
"""Mean time between failures of each engine."""
FAILURES = 4
"""Frames at which it fails then: enough for the next engine to take over."""
END_S = 35.0 / HURRY
"""Mean time between frames that end their thread, as nothing in Python should."""
LONGEST_FRAME_S = 0.5
"""What is longer between two frames is a pause, in which nothing can fail."""


class Chance:
    """Something that comes true now and then, whatever the frame rate, while there are frames."""

    is_on = False

    def __init__(self, mean_s: float) -> None:
        self._mean_s = mean_s
        self._left_s = self._draw()
        self._asked_s = time.monotonic()

    def _draw(self) -> float:
        return self._mean_s * random.uniform(0.3, 1.7)

    def comes(self) -> bool:
        """Say whether it is time, once each time; never before the first session, when engines are on trial."""
        now_s, before_s = time.monotonic(), self._asked_s
        self._asked_s = now_s
        if Chance.is_on:
            self._left_s -= min(now_s - before_s, LONGEST_FRAME_S)
        if self._left_s > 0:
            return False
        self._left_s = self._draw()
        return True


def make_faulty(engine: Any, chance: Chance) -> None:
    """Let an engine fail by chance."""
    generate = engine.generate
    left = 0

    def faulty(self: Any, *arguments: Any) -> Any:
        nonlocal left
        if chance.comes():
            left = FAILURES
        if left > 0:
            left -= 1
            raise RuntimeError("a soak test wants this engine to fail")
        return generate(self, *arguments)

    engine.generate = faulty


def make_deadly(reenactor: Any, chance: Chance) -> None:
    """Let a reenactor end its thread by chance."""
    look = reenactor.look

    def deadly(self: Any, image: Any, time_s: float) -> Any:
        if chance.comes():
            raise SystemExit("a soak test ends this thread")
        return look(self, image, time_s)

    begin = reenactor.begin

    def begun(self: Any, session: str) -> Any:
        Chance.is_on = True
        return begin(self, session)

    reenactor.look, reenactor.begin = deadly, begun


if __name__ == "__main__":
    for made in (OpenVinoEngine, TorchEngine):
        make_faulty(made, Chance(FAILURE_S))
    make_deadly(Reenactor, Chance(END_S))
    sys.exit(main())
