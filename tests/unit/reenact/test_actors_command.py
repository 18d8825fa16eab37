from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from reenact import actor as actor_module
from reenact import actors_command
from tests.unit.reenact.make import make_actor


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    actors_command.add_arguments(parser)
    return actors_command.run(parser.parse_args(words))


@pytest.fixture(autouse=True)
def only_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor_module, "BUNDLED", tmp_path / "bundled")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("REENACT_ACTORS", str(tmp_path / "mine"))


def test_sound_actors_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_actor(tmp_path / "mine")
    assert run("--json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tiny         Tiny | 128 pixels, 30 fps | psnr 12.5 | CC0-1.0 | ")
    (row,) = json.loads(lines[-1])["actors"]
    assert row["is_sound"]
    assert row["consent"]["statement"] == "nobody's face"


def test_a_damaged_one_is_refused_and_the_exit_code_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    actor = make_actor(tmp_path / "mine")
    (actor.folder / "note.txt").write_text("hello")
    assert run("--json") == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("refused: ")
    assert "holds 'note.txt', which is no part of an actor package." in captured.err
    assert not json.loads(captured.out)["actors"][0]["is_sound"]


def test_none_is_said_with_the_places_searched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert str(tmp_path / "mine") in capsys.readouterr().err


def test_named_ones_are_looked_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_actor(tmp_path / "mine").folder
    assert run("verify", "tiny", str(folder)) == 0
    assert run("verify", "nobody") == 1
    assert "There is no actor 'nobody' (there are: tiny)." in capsys.readouterr().err
