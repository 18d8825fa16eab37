from __future__ import annotations

import argparse
import asyncio
import re
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from streamer import serve as serve_module
from streamer.config import Config, EngineConfig, ServerConfig
from streamer.errors import UsageError
from streamer.serve import add_arguments, resolve_config, run, serve
from streamer.targets import ActorCard
from tests.unit.streamer.fakes import FakeSettings, FakeTargets


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the logging and the memory of the test run as they are."""
    monkeypatch.setattr(serve_module, "share_memory", lambda: None)
    monkeypatch.setattr(serve_module, "_log_to_stderr", lambda _: None)
    monkeypatch.setattr(sys, "setswitchinterval", lambda _: None)


def parse(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(argv)


def test_options_win_over_set_and_set_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[server]\nport = 1\nmax_sessions = 2\n[transfer]\nmouth_gain = 0.5\n")
    config = resolve_config(
        parse("--config", str(path), "--set", "server.port=2", "--port", "3", "--set", "smoothing.beta=0.5")
    )
    assert (config.server.port, config.server.max_sessions) == (3, 2)
    assert config.settings.transfer.mouth_gain == 0.5
    assert config.settings.smoothing.beta == 0.5


def test_memory_is_shared_before_anything_takes_some(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def check_internals() -> list[str]:
        calls.append("internals")
        return ["aiortc is another one."]

    monkeypatch.setattr(serve_module, "share_memory", lambda: calls.append("memory"))
    monkeypatch.setattr(serve_module, "check_internals", check_internals)
    assert run(parse()) == 1
    assert calls == ["memory", "internals"]


def test_what_is_unknown_fails() -> None:
    with pytest.raises(UsageError, match=r"unknown setting 'server\.prot'"):
        resolve_config(parse("--set", "server.prot=1"))
    with pytest.raises(UsageError, match=r"engine\.name: expected one of auto, .*got 'steam'"):
        run(parse("--engine", "steam", "--port", "0"))


def test_an_actor_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(parse("--actor", "ghost", "--port", "0")) == 1
    assert "reenact serve: There is no actor 'ghost'." in capsys.readouterr().err


def test_an_actor_given_by_its_path_is_known_by_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Targets(FakeTargets):
        def card(self, name: str) -> ActorCard:
            return super().card(Path(name).name.removesuffix(".actor"))

    async def note(config: Config, targets: object, *, camera: object) -> bool:
        assert camera is None
        print(config.engine.actor)
        return True

    monkeypatch.setattr(serve_module, "PackagedTargets", lambda *_: Targets())
    monkeypatch.setattr(serve_module, "serve", note)
    assert run(parse("--actor", str(tmp_path / "nora.actor"))) == 0
    assert capsys.readouterr().out == "nora\n"


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(98, "address already in use")

    monkeypatch.setattr(web.TCPSite, "start", refuse)
    monkeypatch.setattr(serve_module, "PackagedTargets", lambda *_: FakeTargets())
    assert run(parse("--port", "8080")) == 1
    assert "cannot listen on 127.0.0.1:8080: address already in use" in capsys.readouterr().err


async def test_it_says_where_it_is_answers_and_ends() -> None:
    config = Config(server=ServerConfig(port=0), engine=EngineConfig(), settings=FakeSettings())
    targets, stop = FakeTargets(), asyncio.Event()
    listening: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()

    def note(url: str, actor: str) -> None:
        listening.set_result((url, actor))

    serving = asyncio.create_task(serve(config, targets, stop=stop, on_listening=note))
    async with asyncio.timeout(5):
        url, actor = await listening
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
        assert actor == "milo"
        async with ClientSession() as http, http.get(url + "healthz") as response:
            assert (await response.json())["status"] == "ok"
        while not targets.opened:  # noqa: ASYNC110 - prepared in a thread of its own, which tells nobody
            await asyncio.sleep(0.01)
        stop.set()
        assert await serving is True
    assert targets.opened[0].names() == ["warm_up", "close"]
