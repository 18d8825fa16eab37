from __future__ import annotations

import argparse
import subprocess
import sys
import types

import pytest

from streamer import cli
from streamer.cli import COMMANDS, main
from streamer.errors import UsageError


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Stand in for the module of `reenact actors`."""
    module = types.ModuleType("echo_command")

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--code", type=int, default=0)
        parser.add_argument("--raise", dest="error")

    def run(args: argparse.Namespace) -> int:
        if args.error == "usage":
            raise UsageError("no such thing")
        if args.error == "interrupt":
            raise KeyboardInterrupt
        return int(args.code)

    module.add_arguments = add_arguments  # type: ignore[attr-defined]
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "echo_command", module)
    monkeypatch.setitem(COMMANDS, "actors", ("echo_command", "list the actors"))
    return module


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        ([], 2, "required: COMMAND"),
        (["sing"], 2, "invalid choice: 'sing'"),
        (["actors", "--volume"], 2, "unrecognized arguments: --volume"),
        (["actors", "--code", "x"], 2, "invalid int value"),
        (["actors", "--code", "1"], 1, ""),
        (["actors"], 0, ""),
        (["actors", "--raise", "usage"], 2, "reenact actors: no such thing"),
        (["actors", "--raise", "interrupt"], 1, "reenact actors: interrupted"),
    ],
)
@pytest.mark.usefixtures("echo")
def test_exit_codes(argv: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == code
    assert words in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in ("serve", "track", "render", "train", "evaluate", "actors", "doctor"):
        assert f"    {command}" in out


def test_a_part_that_is_not_installed_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "actors", ("no_such_module", "list the actors"))
    assert main(["actors"]) == 1
    assert "reenact actors: this part is not installed: No module named 'no_such_module'" in capsys.readouterr().err


def test_the_command_line_itself_imports_nothing_heavy() -> None:
    code = (
        "import sys, streamer.cli; streamer.cli.main(['--help']);"
        "print([name for name in ('torch', 'aiortc', 'numba', 'mediapipe', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "[]"
