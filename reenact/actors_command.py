"""`reenact actors`: list and verify the actor packages, and sign those whose consent one holds."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from models.build.manifest import refresh
from reenact.actor import (
    BUNDLED,
    SHIPPED,
    SUFFIX,
    Actor,
    ActorError,
    actor_folders,
    actor_paths,
    find_actor,
    sign_actor,
)
from reenact.consent import Consent, add_consent_arguments, consent_of_arguments, has_consent_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `reenact actors`."""
    parser.set_defaults(action="verify", actors=[])
    parser.add_argument("--json", action="store_true", help="print one JSON line at the end")
    actions = parser.add_subparsers(dest="action", metavar="verify|sign")
    verify = actions.add_parser("verify", help="check files, consent and signature (without a word: of all)")
    verify.add_argument("actors", nargs="*", metavar="NAME", help="names or paths of packages (default: all there are)")
    sign = actions.add_parser(
        "sign", help="record consent in a package that you hold, and sign it; without a statement, the record it has"
    )
    sign.add_argument("actors", nargs=1, metavar="NAME.actor", help="name or path of the package")
    sign.add_argument("--yes", action="store_true", help="do not ask before signing somebody else's record")
    add_consent_arguments(sign)
    for action in (verify, sign):
        # Without a default of its own, so that it can stand before the word as well as behind it.
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Do what was asked; 0 when every package is sound, 1 otherwise."""
    if args.action == "sign":
        return _sign(args)
    wanted: list[str | Path] = [*args.actors] or [*actor_paths().values()]
    rows = [_describe(item) for item in wanted]
    if not rows:
        folders = ", ".join(str(folder) for folder in actor_folders())
        print(f"reenact actors: there are none in {folders}", file=sys.stderr)
    if args.json:
        print(json.dumps({"actors": rows}))
    return 0 if all(row["is_sound"] for row in rows) else 1


def _sign(args: argparse.Namespace) -> int:
    """Sign one package; 0 when it is sound now, 1 when it could not be signed, 2 when the options are not complete."""
    try:
        consent = consent_of_arguments(args) if has_consent_arguments(args) else None
    except (ValueError, OSError) as error:
        print(f"reenact actors sign: {error}", file=sys.stderr)
        return 2
    (word,) = args.actors
    try:
        folder = Path(word) if "/" in word or word.endswith(SUFFIX) else find_actor(word)
        if consent is None and not _is_agreed(folder, is_sure=args.yes):
            return 1
        is_shipped = folder.resolve().parent == BUNDLED.resolve()
        sign_actor(folder, consent, is_shipped=is_shipped)
        if is_shipped:
            refresh(SHIPPED.parent)
    except (ActorError, ValueError, OSError) as error:
        print(f"reenact actors sign: {error}", file=sys.stderr)
        return 1
    row = _describe(folder)
    if args.json:
        print(json.dumps({"actors": [row]}))
    return 0 if row["is_sound"] else 1


def _is_agreed(folder: Path, *, is_sure: bool) -> bool:
    """Show the record that a package brings, and ask whether one vouches for it. Raises `ActorError`."""
    try:
        values = json.loads((folder / "actor.json").read_bytes())
        consent = Consent.from_json(values["consent"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ActorError(
            f"{folder} has no record of consent to sign ({error}): give --consent, --person, --purpose and --until, "
            "or --nobody."
        ) from None
    for name, value in consent.to_json().items():
        print(f"  {name:18} {value}")
    if is_sure:
        return True
    print("Sign this only if you hold this consent. Do you? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


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
    consent = actor.consent
    until = f"until {consent.until}" if consent.until else "without end"
    print(
        f"{actor.name:12} {actor.title} | {actor.resolution} pixels, {actor.frame_rate:g} fps"
        + (f" | {quality}" if quality else "")
        + f" | {actor.license} | consent of {consent.person}, {consent.given}, {until}"
        + f" | {f'signed by {actor.signer[:16]}' if actor.signer else 'ships with the program'}"
        + f" | {actor.folder} | sound"
    )
    return {
        "actor": actor.name, "title": actor.title, "folder": str(actor.folder), "is_sound": True,
        "resolution": actor.resolution, "frame_rate": actor.frame_rate, "license": actor.license,
        "consent": consent.to_json(), "signer": actor.signer, "held_out": figures,
    }  # fmt: skip
