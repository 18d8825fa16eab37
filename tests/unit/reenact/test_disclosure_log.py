from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from reenact.actor import Actor
from reenact.credentials import Origin
from reenact.disclosure_log import LOG_FILE, note_missing_label
from reenact.label import DisclosureSettings
from reenact.mark.message import Message
from tests.unit.reenact.make import make_actor


@pytest.fixture
def origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Origin:
    monkeypatch.setenv("REENACT_DATA", str(tmp_path / "data"))
    actor: Actor = make_actor(tmp_path)
    return Origin.of(actor, Message(1, 2), DisclosureSettings(reason="a stage play", is_shown=False))


def test_every_time_is_written_down_with_its_reason(
    origin: Origin, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        note_missing_label(origin)
        note_missing_label(origin)
    path = tmp_path / "data" / LOG_FILE
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(e["mark"], e["actor"], e["reason"]) for e in entries] == [("00000001-000002", "tiny", "a stage play")] * 2
    assert path.stat().st_mode & 0o777 == 0o600
    assert caplog.text.count("made without a label: a stage play") == 2


def test_a_full_disk_stops_nothing(origin: Origin, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / LOG_FILE).mkdir()
    note_missing_label(origin)
    assert "cannot be written" in caplog.text
