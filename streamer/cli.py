"""The command `reenact`. Exit codes: 0 done, 1 failed, 2 not understood."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from streamer.errors import UsageError
from streamer.version import version

COMMANDS = {
    "serve": ("streamer.serve", "open the page: your webcam in, the target actor out"),
    "track": ("capture.track_command", "face parameters of every frame of a video"),
    "render": ("reenact.offline", "reenact a video offline"),
    "check": ("capture.check_command", "whether a target can be trained from a video, and if not, why"),
    "train": ("reenact.train", "train an actor package from a video"),
    "train-tracker": ("capture.train_tracker.command", "train the face regressor and the learned levels"),
    "evaluate": ("reenact.evaluate", "measure an actor package on held-out frames"),
    "evaluate-tracker": ("capture.evaluate_tracker.command", "measure the trackers: speed, accuracy, real clips"),
    "study": ("reenact.study_command", "a study of how real your target looks to people: make it, read its results"),
    "verify": ("reenact.verify_command", "where a video comes from: its invisible mark and its content credentials"),
    "actors": ("reenact.actors_command", "list and verify the actor packages"),
    "doctor": ("streamer.doctor", "what this machine can do, and why not"),
}
"""Every command, the module that runs it, and one line about it. Modules are imported only when they are called for:
some take seconds."""


class Command(Protocol):
    """What a command's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's options."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do it; return the exit code."""
        ...


def _chosen(argv: Sequence[str]) -> str | None:
    return next((word for word in argv if word in COMMANDS), None)


def build_parser(argv: Sequence[str]) -> tuple[argparse.ArgumentParser, Command | None]:
    """Return the parser, complete for the command that `argv` names, and that command."""
    parser = argparse.ArgumentParser(prog="reenact", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--version", action="version", version=f"reenact {version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen, command = _chosen(argv), None
    for name, (module, text) in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if name == chosen:
            command = cast(Command, importlib.import_module(module))
            command.add_arguments(sub)
    return parser, command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    # Read when PyTorch and NumPy are loaded. Idle threads of theirs spin, on cores that the video needs; and NumPy's
    # matrices are too small here to gain from a second thread.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        parser, command = build_parser(words)
    except ImportError as error:
        print(f"reenact {_chosen(words)}: this part is not installed: {error}", file=sys.stderr)
        return 1
    try:
        args = parser.parse_args(words)
    except SystemExit as leaving:  # argparse has said what is wrong, or printed its help.
        return leaving.code if isinstance(leaving.code, int) else 2
    assert command is not None
    try:
        return command.run(args)
    except UsageError as error:
        print(f"reenact {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"reenact {args.command}: interrupted", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
