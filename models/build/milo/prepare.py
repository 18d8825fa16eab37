"""Prepare a synthetic target for rendering: `python -m models.build.milo.prepare --assets MAKEHUMAN --out DIR`.

Needs `pip install '.[bake]'` and MakeHuman's CC0 assets. Takes about a minute.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from models.build.milo.actor import PosedActor
from models.build.milo.bake import bake
from models.build.milo.hair import grow_hair
from models.build.milo.performance import PerformanceSettings, perform
from models.build.milo.recording import Recording
from models.build.milo.skin import paint_skin
from models.build.milo.target import DEFAULT_TARGET, Target


def prepare(description: Path, assets: Path, folder: Path, *, size: int, settings: PerformanceSettings) -> Recording:
    """Make mesh, hair, skin and performance of a description in `folder`, for pictures of `size` pixels.

    Raises `ValueError` on a bad description, or if `folder` already has pictures: they would not fit a new performance.
    """
    target = Target.load(description)
    recording = Recording(folder)
    if any(recording.frames.glob("*.jpg")):
        raise ValueError(f"{folder}: has pictures already; choose another folder, or delete {recording.frames}")
    recording.frames.mkdir(parents=True, exist_ok=True)
    recording.prepared.mkdir(exist_ok=True)
    mesh = bake(target, assets)
    mesh.save(recording.mesh)
    recording.write_neutral(mesh)
    paint_skin(target, assets).save(recording.prepared)
    if target.hair.style == "strands":
        grow_hair(mesh, target).save(recording.prepared / "hair.npz")
    actor = PosedActor(mesh)
    recording.write_performance(
        perform(settings),
        actor,
        size=size,
        focal_px=target.camera.focal_px(size),
        camera_position_m=target.camera.position(actor.between_eyes),
    )
    if description.resolve() != recording.description.resolve():
        shutil.copyfile(description, recording.description)
    return recording


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, required=True, help="folder of MakeHuman's CC0 assets")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--target", type=Path, default=DEFAULT_TARGET, help="description of the target (default: milo)")
    parser.add_argument("--size", type=int, default=512, help="pictures' width and height in pixels (default 512)")
    parser.add_argument("--seed", type=int, default=PerformanceSettings().seed, help="of the performance")
    args = parser.parse_args()
    try:
        recording = prepare(
            args.target, args.assets, args.out, size=args.size, settings=PerformanceSettings(seed=args.seed)
        )
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{recording.folder}: ready for `python -m models.build.milo.render`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
