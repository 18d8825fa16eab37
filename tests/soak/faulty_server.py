"""`reenact serve` in which things go wrong by chance: the engine fails, the inference thread ends."""

from __future__ import annotations

import random
import sys
from typing import Any

from reenact.engines.openvino_engine import OpenVinoEngine
from reenact.engines.torch_engine import TorchEngine
from reenact.reenactor import Reenactor
from streamer.cli import main

FAILURE = 1 / 900
"""Chance that a generated frame is the first of a few at which the engine fails."""
FAILURES = 4
"""How many those are: enough for the next engine to take over."""
END = 1 / 900
"""Chance that a frame ends the thread, as nothing in Python should: about every half minute at 30 fps."""


def make_faulty(engine: Any) -> None:
    """Let an engine fail by chance."""
    generate = engine.generate
    left = 0

    def faulty(self: Any, *arguments: Any) -> Any:
        nonlocal left
        if left == 0 and random.random() < FAILURE:
            left = FAILURES
        if left > 0:
            left -= 1
            raise RuntimeError("a soak test wants this engine to fail")
        return generate(self, *arguments)

    engine.generate = faulty


def make_deadly(reenactor: Any) -> None:
    """Let a reenactor end its thread by chance."""
    process = reenactor.process

    def deadly(self: Any, image: Any, time_s: float) -> Any:
        if random.random() < END:
            raise SystemExit("a soak test ends this thread")
        return process(self, image, time_s)

    reenactor.process = deadly


if __name__ == "__main__":
    random.seed(2018)
    for made in (OpenVinoEngine, TorchEngine):
        make_faulty(made)
    make_deadly(Reenactor)
    sys.exit(main())
