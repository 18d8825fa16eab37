"""`reenact render`: a video of the source in, a video of the target out."""

from __future__ import annotations

import argparse
import bisect
import dataclasses
import json
import secrets
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capture.progress import Progress
from capture.tracker import Tracker
from models.camera import Camera
from models.options import options
from models.params import FaceParams
from reenact.actor import Actor, ActorError
from reenact.credentials import CredentialsError, sign_video
from reenact.disclosure_log import note_missing_label
from reenact.engines.engine import EngineError
from reenact.label import DisclosureSettings
from reenact.portrait import Portrait
from reenact.stamp import Stamp
from reenact.transfer import GROUP_INDICES, Transfer, TransferSettings
from reenact.video import VideoError, VideoInfo, VideoWriter, probe, read_video_frames

MODES = ("head", "face", "dub")


@dataclass(frozen=True, slots=True)
class Motion:
    """The tracked motion of a whole video."""

    pts: list[int]
    """Presentation time of each frame."""
    time_s: list[float]
    """The same in seconds."""
    params: list[FaceParams]
    """Face of each frame."""
    states: list[str]
    """State of tracking of each frame: see `capture.tracker.Track`."""
    neutral: FaceParams
    """The face at rest, as known at the end."""
    camera: Camera
    """Camera that it was tracked with."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `reenact render`."""
    parser.add_argument("--source", type=Path, required=True, metavar="VIDEO", help="video of the person who drives")
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
    parser.add_argument("--json", action="store_true", help="print one JSON line at the end")


def run(args: argparse.Namespace) -> int:
    """Render; 0 when the video is written, 1 or 2 with a sentence on stderr otherwise."""
    try:
        fields = dataclasses.fields(TransferSettings)
        settings = TransferSettings(**{field.name: getattr(args, field.name) for field in fields})
        disclosure = DisclosureSettings(
            reason=args.no_label or "", is_shown=args.no_label is None, words=args.label_words, place=args.label_place
        )
    except ValueError as error:
        print(f"reenact render: {error}", file=sys.stderr)
        return 2
    if args.output.suffix.lower() != ".mp4":
        print(f"reenact render: {args.output}: the output's name must end in .mp4", file=sys.stderr)
        return 2
    try:
        report = render(
            args.source, Actor.load(args.actor), args.output,
            mode=args.mode, target_video=args.target_video, settings=settings, engine=args.engine,
            disclosure=disclosure,
        )  # fmt: skip
    except KeyboardInterrupt:
        print("reenact render: interrupted; nothing was written", file=sys.stderr)
        return 1
    except (ActorError, CredentialsError, EngineError, VideoError, ValueError, OSError) as error:
        print(f"reenact render: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(report))
    return 0


def render(
    source: Path,
    actor: Actor,
    output: Path,
    *,
    mode: str = "head",
    target_video: Path | None = None,
    settings: TransferSettings | None = None,
    engine: str = "auto",
    disclosure: DisclosureSettings | None = None,
) -> dict[str, Any]:
    """Reenact a whole video and write it with its sound and frame times; gives figures of the run.

    The source's face at rest is measured over the whole video before the first frame is transferred. Raises
    `VideoError` where no face is seen in all of it, and `CredentialsError` where the video is written but cannot be
    signed.
    """
    info = probe(source)
    motion = track(source, info, "tracking the source")
    transfer = Transfer(actor.target, settings)
    own = _own_motion(actor, target_video) if mode != "head" else None
    portrait = Portrait(actor, engine=engine)
    disclosure = disclosure or DisclosureSettings()
    stamp = Stamp(secrets.token_hex(16), actor, disclosure)
    if not disclosure.is_shown:
        note_missing_label(stamp.origin)
    began = time.monotonic()
    try:
        with (
            VideoWriter(output, actor.resolution, info, sound=source) as writer,
            Progress(len(motion.params), "generating") as progress,
        ):
            for index, params in enumerate(motion.params):
                driven = transfer(params, motion.neutral, motion.camera)
                time_s = motion.time_s[index]
                if own is not None:
                    driven = combine(driven, own.at(time_s - motion.time_s[0]), mode)
                picture = portrait.show(driven, time_s)
                stamp.apply(picture, time_s)
                writer.write(picture, motion.pts[index])
                progress.advance()
    finally:
        portrait.close()
    seconds = time.monotonic() - began
    sign_video(output, [stamp.origin])
    return {
        "output": str(output), "actor": actor.name, "mode": mode, "mark": str(stamp.message),
        "frames": len(motion.params), "frame_rate": round(float(info.frame_rate), 3),
        "states": dict(Counter(motion.states)), "engine": portrait.engine_name,
        "generated_fps": round(len(motion.params) / max(seconds, 1e-9), 1),
    }  # fmt: skip


def track(path: Path, info: VideoInfo, label: str) -> Motion:
    """Track a whole video. Raises `VideoError` where it shows no face at all."""
    pts, times, params = [], [], []
    states: list[str] = []
    camera: Camera | None = None
    track = None
    with Tracker() as tracker, Progress(info.num_frames, label) as progress:
        for frame in read_video_frames(path):
            height, width = frame.image.shape[:2]
            camera = camera or Camera.webcam(width, height)
            track = tracker.process(frame.image, frame.time_s, camera)
            pts.append(frame.pts)
            times.append(frame.time_s)
            params.append(track.params)
            states.append(track.state)
            progress.advance()
    if track is None or camera is None or "tracked" not in states:
        raise VideoError(f"{path}: no face was found in any of its {len(states)} frames.")
    return Motion(pts, times, params, states, track.neutral, camera)


def combine(driven: FaceParams, own: FaceParams, mode: str) -> FaceParams:
    """Take from `driven` what `mode` lets go over, and the rest from the target's own motion."""
    if mode == "head":
        return driven
    if mode == "face":
        return own.replace(expression=driven.expression, gaze=driven.gaze)
    if mode != "dub":
        raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")
    expression = own.expression.copy()
    expression[GROUP_INDICES["mouth"]] = driven.expression[GROUP_INDICES["mouth"]]
    return own.replace(expression=expression)


class OwnMotion:
    """What the target does by itself: its own video, played forwards and backwards in turn, or rest."""

    def __init__(self, times_s: list[float], params: list[FaceParams]) -> None:
        """Take the time of each frame, ascending, and the parameters."""
        self._times = [time_s - times_s[0] for time_s in times_s]
        self._params = params

    def at(self, time_s: float) -> FaceParams:
        """Give the parameters of the frame shown at `time_s` after the start."""
        length = self._times[-1]
        if length <= 0:
            return self._params[0]
        turn, rest = divmod(max(time_s, 0.0), length)
        place = rest if int(turn) % 2 == 0 else length - rest
        return self._params[bisect.bisect_right(self._times, place + 1e-6) - 1]


def _own_motion(actor: Actor, video: Path | None) -> OwnMotion:
    if video is None:
        return OwnMotion([0.0], [actor.target.neutral])
    motion = track(video, probe(video), "tracking the target")
    transfer = Transfer(actor.target)
    return OwnMotion(motion.time_s, [transfer(params, motion.neutral, motion.camera) for params in motion.params])
