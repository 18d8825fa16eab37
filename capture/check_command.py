"""`reenact check`: whether a target can be trained from a video, and if not, what to do about it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from capture.coverage import GROUPS, by_group
from capture.progress import Progress
from capture.suitability import Suitability, UnsuitableVideoError, check_video, clock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("video", type=Path, metavar="VIDEO", help="video of one person")
    parser.add_argument("--json", action="store_true", help="print one JSON line last on stdout")


def run(args: argparse.Namespace) -> int:
    """Check a video: 0 it will do, 1 it will not or cannot be read."""
    try:
        found = watch(args.video)
    except UnsuitableVideoError as error:
        print(f"reenact check: {args.video}: {error}", file=sys.stderr)
        if args.json:
            print(json.dumps({"suitable": False, "code": error.code, "reason": error.reason, "cure": error.cure}))
        return 1
    except OSError as error:
        print(f"reenact check: {args.video}: {error.strerror or error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps({"suitable": True, **found.as_json()}))
    else:
        groups = by_group(found.coverage)
        seen = ", ".join(f"{name} {100 * groups[name]:.0f} %" for name in GROUPS)
        print(
            f"{args.video}: {clock(found.seconds)}, {found.width} × {found.height}, {found.fps:.0f} fps; seen: {seen}"
        )
        for sentence in found.advice:
            print(f"  {sentence}")
    return 0


def watch(video: Path) -> Suitability:
    """Check a video, with progress on stderr. Raises `UnsuitableVideoError` and `OSError`."""
    done = 0
    with video.open("rb"):
        pass  # an error of the file system, in its own words
    with Progress(1000, "checking") as progress:

        def show(seen_s: float, total_s: float) -> None:
            nonlocal done
            share = int(1000 * min(seen_s / total_s, 1.0)) if total_s else done
            progress.advance(share - done)
            done = share

        found = check_video(video, on_progress=show)
        progress.advance(1000 - done)
    return found
