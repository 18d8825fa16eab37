from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reenact.actor import Actor
from reenact.label import DisclosureSettings
from reenact.mark.message import Message
from reenact.mark.read import read
from reenact.stamp import Stamp
from tests.unit.reenact.make import make_actor
from tests.unit.reenact.mark.make import FPS, excerpt_of, moving_pictures


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Actor:
    return make_actor(tmp_path_factory.mktemp("actors"))


@pytest.mark.parametrize("is_shown", [True, False])
def test_the_mark_is_there_with_and_without_label(actor: Actor, is_shown: bool) -> None:
    pictures = moving_pictures(4 * FPS, 96)
    stamp = Stamp("a session", actor, DisclosureSettings(reason="a test of this", is_shown=is_shown))
    for index, picture in enumerate(pictures):
        stamp.apply(picture, index / FPS)
    reading = read(excerpt_of(pictures))
    assert reading is not None
    assert reading.message == stamp.message == Message.of("a session", actor.fingerprint)
    assert stamp.stages_ms["mark"] > 0


def test_the_label_changes_while_it_runs(actor: Actor) -> None:
    stamp = Stamp("a session", actor)

    def corner() -> float:
        picture = np.full((128, 128, 3), 90, np.uint8)
        stamp.apply(picture, 0.0)
        return float(picture[-20:, :60, 0].std())

    assert corner() > 20
    stamp.change(DisclosureSettings(place="top right"))
    assert corner() == 0
    stamp.change(DisclosureSettings(reason="a test of this", is_shown=False))
    assert corner() == 0
    assert (stamp.origin.label, stamp.origin.label_reason) == (None, "a test of this")
    stamp.change(DisclosureSettings())
    assert corner() > 20


def test_the_fingerprint_is_that_of_the_weights(actor: Actor, tmp_path: Path) -> None:
    import hashlib

    assert actor.fingerprint == hashlib.sha256((actor.folder / "generator.safetensors").read_bytes()).hexdigest()
