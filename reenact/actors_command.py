"""`reenact actors`: list the actor packages, and verify them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from reenact.actor import Actor, ActorError, actor_folders, actor_paths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `reenact actors`."""
    parser.add_argument("actors", nargs="*", metavar="NAME", help="names or paths of packages (default: all there are)")
    parser.add_argument("--json", action="store_true", help="print one JSON line at the end")


def run(args: argparse.Namespace) -> int:
    """Verify and list; 0 when every package is sound, 1 otherwise."""
    wanted: list[str | Path] = [*args.actors] or [*actor_paths().values()]
    rows = [_describe(item) for item in wanted]
    if not rows:
        folders = ", ".join(str(folder) for folder in actor_folders())
        print(f"reenact actors: there are none in {folders}", file=sys.stderr)
    if args.json:
        print(json.dumps({"actors": rows}))
    return 0 if all(row["is_sound"] for row in rows) else 1


def _describe(item: str | Path) -> dict[str, Any]:
    """Verify one package, say so on stdout or stderr, and give the row for machines."""
    try:
        actor = Actor.load(item)
    except ActorError as error:
        print(f"refused: {error}", file=sys.stderr)
        return {"actor": str(item), "is_sound": False, "reason": str(error)}
    held_out = actor.training.get("held_out")
    figures = held_out if isinstance(held_out, dict) else {}
    quality = ", ".join(f"{name} {value:.4g}" for name, value in figures.items() if isinstance(value, int | float))
    print(
        f"{actor.name:12} {actor.title} | {actor.resolution} pixels, {actor.frame_rate:g} fps"
        + (f" | {quality}" if quality else "")
        + f" | {actor.license} | {actor.folder} | sound"
    )
    return {
        "actor": actor.name, "title": actor.title, "folder": str(actor.folder), "is_sound": True,
        "resolution": actor.resolution, "frame_rate": actor.frame_rate, "license": actor.license,
        "consent": dict(actor.consent), "held_out": figures,
    }  # fmt: skip
