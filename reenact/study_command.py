"""`reenact study`: make a study of believability from folders of clips, and print its results."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from reenact.study import KINDS, Study, StudyError, studies_folder
from reenact.study_results import results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", nargs="?", help="name of the study; without one all are listed")
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="make it, of these real clips")
    parser.add_argument("--made", type=Path, metavar="FOLDER", help="and these reenacted ones")
    parser.add_argument("--kind", choices=KINDS, default="rating", help="rate single clips, or choose between two")
    parser.add_argument("--json", action="store_true", help="print one JSON line last on stdout")


def run(args: argparse.Namespace) -> int:
    """Make or report; 0 when done, 1 with a sentence on stderr, 2 for options that do not go together."""
    if (args.real is None) != (args.made is None) or (args.real is not None and not args.name):
        print("reenact study: a new study takes its name, --real and --made", file=sys.stderr)
        return 2
    try:
        if not args.name:
            return _list(is_json=args.json)
        if args.real is not None:
            study = Study.create(args.name, args.real, args.made, kind=args.kind)
            if not args.json:
                print(f"{study.folder}: {len(study.real)} real clips, {len(study.made)} reenacted")
                print(f"Serve (reenact serve) and let people open /study/{args.name}")
                return 0
        study = Study.open(args.name)
        rows = results(study)
    except (StudyError, OSError) as error:
        print(f"reenact study: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps({"study": args.name, "kind": study.kind, "rows": [dataclasses.asdict(row) for row in rows]}))
        return 0
    print(f"{'':28} {'answers':>8} {'people':>7} {'value':>7}   95 % interval")
    for row in rows:
        print(f"{row.what:28} {row.answers:8} {row.people:7} {row.value:7.3f}   {row.low:.3f} to {row.high:.3f}")
    if not rows:
        print("no answers yet")
    return 0


def _list(*, is_json: bool) -> int:
    folder = studies_folder()
    names = sorted(path.parent.name for path in folder.glob("*/study.json") if not path.parent.name.startswith("."))
    print(json.dumps({"studies": names}) if is_json else "\n".join(names) or "no studies")
    return 0
