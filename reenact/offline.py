"""`reenact render`: a video of the source in, a video of the target out."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from models.options import options
from reenact.actor import Actor, ActorError
from reenact.credentials import CredentialsError
from reenact.engines.engine import EngineError
from reenact.label import DisclosureSettings
from reenact.own_motion import MODES
from reenact.rendering import SOUNDS, RenderSettings, render
from reenact.transfer import TransferSettings
from reenact.video import VideoError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `reenact render`."""
    parser.add_argument(
        "--source", type=Path, required=True, metavar="VIDEO",
        help="video of the person who drives, or what `reenact track` wrote of one",
    )  # fmt: skip
    parser.add_argument("--actor", required=True, metavar="NAME", help="name of an actor, or path of a package")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.mp4", help="video to write")
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="head",
        help="what goes over: head (everything), face (expression and gaze), dub (the mouth alone); "
        "the rest comes from --target-video, or rests",
    )
    parser.add_argument(
        "--target-video",
        type=Path,
        metavar="VIDEO",
        help="the target's own video, which keeps its pose in face and dub",
    )
    parser.add_argument(
        "--onto", type=Path, metavar="VIDEO",
        help="the target's own video, as --target-video, into whose whole frames the pictures are laid back",
    )  # fmt: skip
    parser.add_argument("--edits", type=Path, metavar="FILE", help="keyframes of the editor, added to what is shown")
    parser.add_argument("--fps", type=float, metavar="X", help="frames a second (default: as the video followed)")
    parser.add_argument("--sound", choices=SOUNDS, default="source", help="whose sound it gets (default source)")
    for name, described in options(TransferSettings).items():
        flag = "--" + name.replace("_", "-")
        if name.startswith("is_"):
            parser.add_argument(flag.replace("--is-", "--"), dest=name, action="store_true", help=described.text)
        else:
            parser.add_argument(flag, type=float, default=1.0, metavar="X", help=described.text)
    label = options(DisclosureSettings)
    parser.add_argument("--label-words", default="AI-generated", metavar="WORDS", help=label["words"].text)
    parser.add_argument(
        "--label-place", default="bottom left", choices=label["place"].choices, help=label["place"].text
    )
    parser.add_argument(
        "--no-label", metavar="REASON", help="leave the label out, and say why: the reason is logged and signed"
    )
    parser.add_argument("--engine", default="auto", help="auto, openvino or torch (default auto)")
    parser.add_argument("--restart", action="store_true", help="forget an earlier, interrupted run")
    parser.add_argument("--json", action="store_true", help="print one JSON line at the end")


def run(args: argparse.Namespace) -> int:
    """Render; 0 when the video is written, 1 or 2 with a sentence on stderr otherwise."""
    try:
        settings = settings_of(args)
        if args.output.suffix.lower() != ".mp4":
            raise ValueError(f"{args.output}: the output's name must end in .mp4")
    except ValueError as error:
        print(f"reenact render: {error}", file=sys.stderr)
        return 2
    try:
        report = render(args.source, Actor.load(args.actor), args.output, settings, is_restarted=args.restart)
    except KeyboardInterrupt:
        print("\nreenact render: interrupted; the same command goes on from here", file=sys.stderr)
        return 1
    except (ActorError, CredentialsError, EngineError, VideoError, ValueError, OSError) as error:
        print(f"reenact render: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(report))
    return 0


def settings_of(args: argparse.Namespace) -> RenderSettings:
    """Read the options. Raises `ValueError`."""
    if args.onto and args.target_video and args.onto != args.target_video:
        raise ValueError("--onto and --target-video: one video of the target gives both its motion and its frames")
    names = [field.name for field in dataclasses.fields(TransferSettings)]
    return RenderSettings(
        mode=args.mode,
        target_video=args.onto or args.target_video,
        is_pasted=args.onto is not None,
        fps=args.fps,
        sound=args.sound,
        edits=args.edits,
        engine=args.engine,
        transfer=TransferSettings(**{name: getattr(args, name) for name in names}),
        disclosure=DisclosureSettings(
            reason=args.no_label or "", is_shown=args.no_label is None, words=args.label_words, place=args.label_place
        ),
    )
