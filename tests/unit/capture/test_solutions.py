from __future__ import annotations

import weakref

import pytest

from capture import solutions


class Held:
    """Stands for everything that whoever imports has in hand."""


def test_an_error_that_mediapipe_keeps_of_its_import_holds_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []

    def import_module(name: str) -> str:
        try:
            raise OSError("PortAudio library not found")
        except OSError as error:
            kept.append(error)
        return name

    def begin() -> weakref.ref[Held]:
        held = Held()
        assert solutions.solution.__wrapped__("face_detection").endswith("solutions.face_detection")
        return weakref.ref(held)

    monkeypatch.setattr("capture.solutions.importlib.import_module", import_module)
    assert begin()() is None
    assert kept
