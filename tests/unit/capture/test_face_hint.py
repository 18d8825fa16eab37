from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from capture.face_hint import FaceHint
from capture.landmarks import LandmarkDetector
from capture.mesh import Mesh
from capture.regressor_engines import RegressorEngine
from capture.tracker import Tracker
from models import regressor
from models.camera import Camera, rotation_angles, rotation_matrix
from models.face import FaceModel
from models.params import FaceParams
from tests.unit.capture.discs import CAMERA, FRAME_S, Finder, Image, Seer, head, picture


@pytest.fixture
def seer() -> Seer:
    return Seer()


@pytest.fixture
def hint(seer: Seer) -> FaceHint:
    hint = FaceHint(engine=cast(RegressorEngine, seer))
    assert hint.wait().is_ready
    seer.runs = 0
    return hint


def ask(hint: FaceHint, shown: FaceParams | None, followed: FaceParams) -> float | None:
    """Give the roll in degrees that is read of a picture."""
    hint.look(picture(shown), CAMERA)
    seen = hint.reading(followed, CAMERA)
    return None if seen is None else float(np.rad2deg(rotation_angles(rotation_matrix(seen.rotation))[2]))


def test_reads_the_rotation_of_the_head_that_is_followed(hint: FaceHint, seer: Seer) -> None:
    upright, tilted = head(300.0, 220.0), head(310.0, 225.0, tilt=0.2)
    assert ask(hint, upright, upright) is None  # it was not known where to look
    assert seer.runs == 0
    expected = float(np.rad2deg(rotation_angles(rotation_matrix(tilted.rotation))[2]))
    assert ask(hint, tilted, upright) == pytest.approx(expected, abs=1.0)
    assert ask(hint, tilted, tilted) == pytest.approx(expected, abs=1.0)


def test_says_nothing_of_what_is_no_face_or_another_one_and_looks_again_where_it_is_followed(
    hint: FaceHint, seer: Seer
) -> None:
    here, there = head(200.0), head(480.0)
    ask(hint, here, here)
    assert ask(hint, None, here) is None
    assert ask(hint, here, here) is not None
    # The followed face is another one now: what is read of the first does not count, then the other is read.
    assert ask(hint, here, there) is None
    assert ask(hint, there, there) is not None
    runs = seer.runs
    hint.forget()
    assert ask(hint, there, there) is None
    assert seer.runs == runs


def test_another_size_of_frame_is_not_read_where_the_face_was_in_this_one(hint: FaceHint, seer: Seer) -> None:
    here = head(200.0)
    ask(hint, here, here)
    hint.look(np.zeros((720, 1280, 3), np.uint8), Camera.webcam(1280, 720))
    assert hint.reading(here, Camera.webcam(1280, 720)) is None
    assert seer.runs == 0


def test_a_tracker_asks_it_for_each_frame_and_closes_it(
    model: FaceModel, mesh: Mesh, hint: FaceHint, seer: Seer
) -> None:
    finder = Finder(mesh)
    tracker = Tracker(model=model, detects=False, hint=hint)
    tracker._detector = cast(LandmarkDetector, finder)
    finder.head = shown = head(330.0, 250.0)
    for step in range(4):
        assert tracker.process(picture(shown), step * FRAME_S, CAMERA).state == "tracked"
    assert seer.runs == 2  # two frames until it is known where to look
    finder.head = None
    tracker.process(picture(None), 4 * FRAME_S, CAMERA)
    finder.head = shown
    runs = seer.runs
    tracker.process(picture(shown), 5 * FRAME_S, CAMERA)
    assert seer.runs == runs  # what was read before the face went is not asked for
    tracker.close()
    assert seer.is_closed
    assert finder.is_closed


def test_until_it_is_loaded_it_says_nothing_and_keeps_nobody_waiting() -> None:
    go = threading.Event()

    class Slow(Seer):
        def run(self, crop: Image) -> NDArray[np.float32]:
            assert go.wait(30.0)
            return super().run(crop)

    hint, here = FaceHint(engine=cast(RegressorEngine, Slow())), head(200.0)
    for _ in range(3):
        assert ask(hint, here, here) is None
    go.set()
    assert hint.wait().is_ready
    assert ask(hint, here, here) is None
    assert ask(hint, here, here) is not None
    hint.close()


def test_an_engine_that_fails_is_not_asked_again(
    hint: FaceHint, seer: Seer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here = head(200.0)
    ask(hint, here, here)

    def fail(crop: Image) -> NDArray[np.float32]:
        seer.runs += 1
        raise RuntimeError("out of memory")

    monkeypatch.setattr(seer, "run", fail)
    for _ in range(3):
        assert ask(hint, here, here) is None
    assert seer.runs == 1
    assert "not asked again" in caplog.text
    hint.close()
    assert seer.is_closed


def test_where_it_cannot_be_loaded_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(regressor, "DEFAULT_PATH", tmp_path / "regressor.safetensors")
    (tmp_path / "regressor.safetensors").write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING):
        hint = FaceHint()
        with pytest.raises(ValueError, match="holds no regressor"):
            hint.wait()
    here = head(200.0)
    for _ in range(3):
        assert ask(hint, here, here) is None
    hint.close()
    assert "holds no regressor" in caplog.text
