from __future__ import annotations

from pathlib import Path

import pytest

from streamer.config import Config, load_config, parse_assignment
from streamer.errors import UsageError
from tests.unit.streamer.fakes import FakeSettings


def load(tmp_path: Path, toml: str = "", *assignments: str) -> Config:
    path = tmp_path / "reenact.toml"
    path.write_text(toml, encoding="utf-8")
    return load_config(FakeSettings(), path, [parse_assignment(text) for text in assignments])


def test_defaults() -> None:
    config = load_config(FakeSettings())
    assert (config.server.host, config.server.port, config.server.max_sessions) == ("127.0.0.1", 8080, 1)
    assert (config.engine.actor, config.engine.name) == ("milo", "auto")
    assert config.settings == FakeSettings()


def test_assignments_win_over_the_file(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        '[server]\nport = 9000\nhost = "::"\n[transfer]\nmouth_gain = 0.5\n[media]\nice_servers = ["stun:a:1"]\n',
        "server.port=9001",
        "transfer.is_mirrored=false",
        "engine.actor=nora",
    )
    assert (config.server.port, config.server.host) == (9001, "::")
    assert config.settings.transfer.mouth_gain == 0.5
    assert config.settings.transfer.is_mirrored is False
    assert config.engine.actor == "nora"
    assert config.media.ice_servers == ("stun:a:1",)


def test_the_tracker_stands_outside_of_a_section(tmp_path: Path) -> None:
    assert load(tmp_path, 'tracker = "landmarks"\n[server]\nport = 1\n').settings.tracker == "landmarks"
    assert load(tmp_path, 'tracker = "landmarks"\n', "tracker=auto").settings.tracker == "auto"


@pytest.mark.parametrize(
    ("toml", "assignments", "words"),
    [
        ("[server]\nprot = 1\n", (), "unknown setting 'server.prot'"),
        ("[sever]\nport = 1\n", (), "unknown setting 'sever.port'"),
        ("port = 1\n", (), "'port' stands outside of a [section]"),
        ("[server]\nport = 99999\n", (), "server.port: expected 0 to 65535, got 99999"),
        ("[server]\nport = true\n", (), "server.port: expected a number, got True"),
        ("[server\n", (), "reenact.toml: Expected ']'"),
        ("", ("transfer.mouth_gain=9",), "transfer.mouth_gain: expected 0.0 to 2.0, got 9.0"),
        ("", ("transfer.nose_gain=1",), "unknown setting 'transfer.nose_gain'"),
        ("", ("media.codec=av1",), "media.codec: expected one of auto, vp8, h264, got 'av1'"),
        ("", ("media.ice_servers=3",), "media.ice_servers: expected a list of words, got 3"),
        ("", ("server.host",), "--set server.host: expected section.key=value"),
        ("", ("a.b.c=1",), "--set a.b.c=1: expected section.key=value"),
        ("", ("host=1",), "'host' stands outside of a [section]"),
        ("server = 1\n", (), "'server' stands outside of a [section]"),
        ('tracker = "abacus"\n', (), "tracker: expected one of auto, landmarks, regressor, got 'abacus'"),
        ("", ("tracker=regressor",), "The tracker 'regressor' has no weights here."),
        ("[tracker]\nname = 1\n", (), "unknown setting 'tracker.name'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, toml: str, assignments: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, toml, *assignments)
    assert words in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.toml"):
        load_config(FakeSettings(), tmp_path / "nowhere.toml")
