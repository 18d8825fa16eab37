"""Render a prepared target: `python -m models.build.milo.render --assets MAKEHUMAN --out DIR --minutes 60`.

Needs Blender as a module (`bpy==4.2.0`, Python 3.11), in an environment of its own, and a folder made by
`python -m models.build.milo.prepare`. Frames are rendered in an order that spreads any number of them over the whole
performance. It can be interrupted and goes on where it stopped. On two cores a frame takes 8 s at 512 pixels and 16
samples, 4 s at 256 pixels and 32 samples.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from models.build.milo.mesh import TargetMesh
from models.build.milo.recording import Recording
from models.build.milo.target import Target

JPEG_QUALITY = 95


def render(
    recording: Recording, assets: Path, *, size: int, samples: int, threads: int, minutes: float, limit: int
) -> int:
    """Render up to `limit` missing frames within `minutes`; give how many were rendered.

    Raises `ValueError` if the folder was not prepared, or for another `size`.
    """
    recording.check_prepared()
    performance = recording.read_performance()
    prepared_size = int(performance["size"])
    if size != prepared_size:
        raise ValueError(f"{recording.folder}: was prepared for {prepared_size} pixels, not {size}")
    missing = [int(frame) for frame in performance["order"] if not recording.picture(int(frame)).exists()]
    missing = missing[: limit or None]
    if not missing:
        return 0
    from models.build.milo.scene import RenderSettings, Scene

    settings = RenderSettings(size=size, samples=samples, threads=threads)
    target, mesh = Target.load(recording.description), TargetMesh.load(recording.mesh)
    scene = Scene(target, mesh, assets, recording.prepared, settings)
    start = time.monotonic()
    scratch = recording.frames / f".{os.getpid()}.png"
    done = 0
    try:
        for frame in missing:
            if time.monotonic() - start > 60.0 * minutes:
                break
            scene.pose(
                np.asarray(performance["frame_weights"][frame], np.float32),
                np.asarray(performance["pose_deg"][frame], np.float32),
                np.asarray(performance["translation_m"][frame], np.float32),
            )
            scene.render(scratch)
            _save_jpeg(scratch, recording.picture(frame))
            done += 1
            _show_progress(done, len(missing), time.monotonic() - start, minutes)
    finally:
        scratch.unlink(missing_ok=True)
    return done


def _save_jpeg(source: Path, picture: Path) -> None:
    """Write whole or not at all, so that an interrupted run leaves no half picture."""
    partial = picture.with_suffix(".part")
    with Image.open(source) as image:
        image.convert("RGB").save(partial, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    partial.replace(picture)


def _show_progress(done: int, total: int, seconds: float, minutes: float) -> None:
    left = min(seconds / done * (total - done), max(0.0, 60.0 * minutes - seconds))
    print(f"\r{done}/{total} frames, {seconds / done:.1f} s each, {left / 60.0:.0f} min left ", end="", file=sys.stderr)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, required=True, help="folder of MakeHuman's CC0 assets")
    parser.add_argument("--out", type=Path, required=True, help="folder made by models.build.milo.prepare")
    parser.add_argument("--size", type=int, default=512, help="width and height in pixels (default 512)")
    parser.add_argument("--samples", type=int, default=16, help="light paths per pixel (default 16)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 takes all (default)")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after this time (default 60)")
    parser.add_argument("--limit", type=int, default=0, help="stop after this many frames; 0 for no limit (default)")
    args = parser.parse_args()
    try:
        done = render(
            Recording(args.out),
            args.assets,
            size=args.size,
            samples=args.samples,
            threads=args.threads,
            minutes=args.minutes,
            limit=args.limit,
        )
    except ImportError as error:
        print(f"Blender is missing ({error}): pip install bpy==4.2.0, with Python 3.11", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; run it again to go on", file=sys.stderr)
        return 0
    print(f"\n{done} frames rendered to {args.out / 'frames'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
