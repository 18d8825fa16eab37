"""An offline rendering whole: motions, time line, frames, sound, signature."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capture.progress import Progress
from models.face import FaceModel
from models.params import FaceParams
from reenact.actor import Actor
from reenact.credentials import sign_video
from reenact.disclosure_log import note_missing_label
from reenact.frame_reader import FrameReader
from reenact.keyframes import Keyframes
from reenact.label import DisclosureSettings
from reenact.motion import Motion, track_motion
from reenact.own_motion import MODES, OwnMotion, combine
from reenact.paste import Paster
from reenact.portrait import Portrait
from reenact.render_job import RenderJob, identity_of
from reenact.segments import Segments
from reenact.square import find_square
from reenact.stamp import Stamp
from reenact.transfer import Transfer, TransferSettings
from reenact.video import VideoError, VideoInfo, probe

Image = NDArray[np.uint8]

SOUNDS = ("source", "target", "none")
TIME_BASE = Fraction(1, 90000)
"""Unit of the output's frame times: a whole number of it is a frame at every usual rate."""
MAX_FPS = 240.0
WARM_UP_WINDOWS = 2
"""Windows of frames that are generated anew, and thrown away, where a rendering goes on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderSettings:
    """What a rendering is to be."""

    mode: str = "head"
    """What goes over from the source: see `combine`."""
    target_video: Path | None = None
    """The target's own video, which gives what does not go over."""
    is_pasted: bool = False
    """Whether the pictures are laid back into the frames of the target's own video."""
    fps: float | None = None
    """Frames a second; None keeps those of the frames that are shown or followed."""
    sound: str = "source"
    """Whose sound it has: one of `SOUNDS`."""
    edits: Path | None = None
    """Keyframes that are added to what the target shows: see `Keyframes`."""
    engine: str = "auto"
    """What executes the network."""
    transfer: TransferSettings = field(default_factory=TransferSettings)
    disclosure: DisclosureSettings = field(default_factory=DisclosureSettings)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {self.mode!r}")
        if self.sound not in SOUNDS:
            raise ValueError(f"sound: expected one of {', '.join(SOUNDS)}, got {self.sound!r}")
        if self.fps is not None and not 1.0 <= self.fps <= MAX_FPS:
            raise ValueError(f"fps: expected 1 to {MAX_FPS:.0f}, got {self.fps}")
        if self.target_video is None and (self.is_pasted or self.sound == "target"):
            raise ValueError("target_video: the target's own video is needed for its frames and its sound")


def render(
    source: Path, actor: Actor, output: Path, settings: RenderSettings | None = None, *, is_restarted: bool = False
) -> dict[str, Any]:
    """Reenact a whole video and write it with its sound and frame times; gives figures of the run.

    The source's face at rest is measured over the whole video before the first frame is transferred. A run that was
    stopped goes on where it was: what it made lies beside the output until that is whole and signed. Raises
    `VideoError` where no face is seen in all of it, and `CredentialsError` where it cannot be signed.
    """
    settings = settings or RenderSettings()
    request = {
        "source": identity_of(source), "target_video": identity_of(settings.target_video),
        "actor": actor.fingerprint, "settings": dataclasses.asdict(settings),
        "edits": identity_of(settings.edits),
    }  # fmt: skip
    job = RenderJob(output, restart=is_restarted)
    try:
        with job.hold():
            folder, session = job.segments_of(request)
            report = _Rendering(source, actor, settings, job.folder).write(folder, session, output)
    except VideoError:
        if not any((job.folder / "segments").glob("segment-*")):
            job.discard()  # nothing in it is worth going on from
        raise
    job.discard()
    return report


class _Rendering:
    """One rendering: its motions, its time line, its frames."""

    def __init__(self, source: Path, actor: Actor, settings: RenderSettings, folder: Path) -> None:
        """Track, or read what was tracked before, and lay out the time line."""
        self._actor = actor
        self._settings = settings
        self._source = source
        self._motion = track_motion(source, folder)
        self._transfer = Transfer(actor.target, settings.transfer)
        self._edits = Keyframes.read(settings.edits) if settings.edits is not None else None
        self._own = OwnMotion(actor, settings.target_video, folder)
        self._info = _info(source, settings, self._motion, self._own)
        self._times = self._time_line()

    def write(self, folder: Path, session: str, output: Path) -> dict[str, Any]:
        """Generate what is missing of the segments in `folder`, join, sign, and put the video in its place."""
        actor, settings = self._actor, self._settings
        with contextlib.ExitStack() as stack:
            reader = self._reader(stack)
            size = (actor.resolution, actor.resolution)
            if reader is not None:
                height, width = reader.at(0).shape[:2]
                size = (width // 2 * 2, height // 2 * 2)
            segments = Segments(folder, size, self._info, len(self._times))
            done = segments.num_done
            stamp = Stamp(session, actor, settings.disclosure)
            if not settings.disclosure.is_shown:
                note_missing_label(stamp.origin)
            began = time.monotonic()
            engine = self._generate(segments, stamp, reader, stack) if done < segments.num_segments else "none"
            seconds = time.monotonic() - began
        resumed = segments.frames(done).start if done < segments.num_segments else len(self._times)
        sound = {"source": self._source, "target": settings.target_video, "none": None}[settings.sound]
        if sound is not None and sound.suffix.lower() == ".npz":
            sound = None
        whole = folder / output.name
        segments.join(whole, self._info.start_s + self._times[-1] + float(1 / self._info.frame_rate), sound)
        sign_video(whole, [stamp.origin], is_composite=reader is not None)
        whole.replace(output)
        return {
            "output": str(output), "actor": actor.name, "mode": settings.mode, "mark": str(stamp.message),
            "frames": len(self._times), "resumed_at": resumed, "size": list(size),
            "frame_rate": round(float(self._info.frame_rate), 3), "states": dict(self._motion.states),
            "target_motion": self._own.kind, "engine": engine,
            "generated_fps": round((len(self._times) - resumed) / max(seconds, 1e-9), 1),
        }  # fmt: skip

    def _generate(
        self, segments: Segments, stamp: Stamp, reader: FrameReader | None, stack: contextlib.ExitStack
    ) -> str:
        """Write the missing segments; gives the name of the engine."""
        actor, done = self._actor, segments.num_done
        portrait = Portrait(actor, engine=self._settings.engine)
        stack.callback(portrait.close)
        paster = None
        if reader is not None:
            height, width = reader.at(0).shape[:2]
            paster = Paster(
                find_square(actor, width, height), actor.target.camera, self._settings.mode, FaceModel.load(),
                actor.resolution,
            )  # fmt: skip
        first = segments.frames(done).start
        for index in range(max(first - WARM_UP_WINDOWS * actor.generator_config.window, 0), first):
            portrait.show(self._params(index)[0], self._times[index])
        with Progress(len(self._times), "generating", done=first) as progress:
            for segment in range(done, segments.num_segments):
                with segments.writer(segment) as writer:
                    for index in segments.frames(segment):
                        shown, own = self._params(index)
                        picture = portrait.show(shown, self._times[index])
                        if paster is not None and reader is not None:
                            frame = reader.at(self._own.frame(self._times[index]))
                            picture = _even(paster.apply(frame, picture, own, shown))
                        stamp.apply(picture, self._times[index])
                        writer.write(picture, round((self._info.start_s + self._times[index]) / TIME_BASE))
                        progress.advance()
        return portrait.engine_name

    def _params(self, index: int) -> tuple[FaceParams, FaceParams]:
        """Give the face to show in a frame, and the target's own."""
        time_s = self._times[index]
        driven = self._transfer(self._motion.at(time_s), self._motion.neutral, self._motion.camera)
        # A frame of the target's own is shown as it is, and so must its motion be.
        own = self._own.at_frame(time_s) if self._settings.is_pasted else self._own.at(time_s)
        shown = combine(driven, own, self._settings.mode)
        return (shown if self._edits is None else self._edits.at(time_s).apply(shown)), own

    def _time_line(self) -> list[float]:
        """Give the time of each frame of the output, seconds from the first."""
        if self._settings.fps is None and not self._settings.is_pasted:
            return self._motion.time_s
        rate = float(self._info.frame_rate)
        return [index / rate for index in range(max(round(self._motion.duration_s * rate), 1))]

    def _reader(self, stack: contextlib.ExitStack) -> FrameReader | None:
        if not self._settings.is_pasted:
            return None
        assert self._settings.target_video is not None
        return stack.enter_context(FrameReader(self._settings.target_video))


def _info(source: Path, settings: RenderSettings, motion: Motion, own: OwnMotion) -> VideoInfo:
    """Say how fast the output's frames follow each other, and when the first is shown: with its sound in step."""
    rate, start_s = Fraction(1 / motion.period_s).limit_denominator(1001), 0.0
    if source.suffix.lower() != ".npz":
        info = probe(source)
        rate, start_s = info.frame_rate, info.start_s
    if settings.target_video is not None:
        target = probe(settings.target_video)
        rate = target.frame_rate if settings.is_pasted else rate
        start_s = target.start_s if settings.sound == "target" else start_s
    if settings.fps is not None:
        rate = Fraction(settings.fps).limit_denominator(1001)
    return VideoInfo(rate, 0, TIME_BASE, max(start_s, 0.0))


def _even(picture: Image) -> Image:
    """Cut to even sides, as video's halved colours need."""
    height, width = picture.shape[:2]
    return np.ascontiguousarray(picture[: height // 2 * 2, : width // 2 * 2])
