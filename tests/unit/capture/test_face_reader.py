from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from capture import face_reader
from capture.face_hint import FaceHint
from capture.face_reader import FaceReader
from capture.landmarks import LandmarkDetector
from capture.mesh import Mesh
from capture.regressor_engines import RegressorEngine
from capture.select_tracker import TrackerChoice
from tests.unit.capture.discs import CAMERA, FRAME_S, Finder, Image, Seer, head, picture


def make_reader(monkeypatch: pytest.MonkeyPatch, mesh: Mesh, hint: FaceHint | None) -> tuple[FaceReader, Finder]:
    monkeypatch.setattr(face_reader, "FaceHint", lambda: hint)
    name = "both" if hint is not None else "landmarks"
    monkeypatch.setattr(face_reader, "choose_tracker", lambda: TrackerChoice(name, "a test wants it"))
    reader, finder = FaceReader(), Finder(mesh)
    assert reader._tracker._detector is not None
    reader._tracker._detector.close()
    reader._tracker._detector = cast(LandmarkDetector, finder)
    return reader, finder


def test_gives_landmarks_and_beside_them_what_the_network_read(monkeypatch: pytest.MonkeyPatch, mesh: Mesh) -> None:
    seer = Seer()
    reader, finder = make_reader(monkeypatch, mesh, FaceHint(engine=cast(RegressorEngine, seer)))
    finder.head = shown = head(330.0, 250.0, tilt=0.1)
    seer.expression[7] = 0.5
    with reader:
        seen = [reader.read(picture(shown), step * FRAME_S, CAMERA) for step in range(4)]
        assert all(landmarks is not None for landmarks, _ in seen)
        hint = seen[-1][1]
        assert hint is not None
        assert hint.expression[7] == pytest.approx(0.5)
        finder.head = None
        assert reader.read(picture(None), 4 * FRAME_S, CAMERA) == (None, None)
    assert seer.is_closed
    assert finder.is_closed


def test_a_network_that_cannot_be_loaded_is_done_without(monkeypatch: pytest.MonkeyPatch, mesh: Mesh) -> None:
    class Broken(Seer):
        def run(self, crop: Image) -> NDArray[np.float32]:
            raise ValueError("damaged")

    for hint in (FaceHint(engine=cast(RegressorEngine, Broken())), None):
        reader, finder = make_reader(monkeypatch, mesh, hint)
        finder.head = shown = head(330.0, 250.0)
        with reader:
            for step in range(3):
                landmarks, read = reader.read(picture(shown), step * FRAME_S, CAMERA)
                assert landmarks is not None
                assert read is None
