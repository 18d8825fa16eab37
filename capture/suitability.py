"""Whether a target can be trained from a video, known before anything long begins; and if not, what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from capture.containers import open_video
from capture.coverage import Coverage
from capture.cuts import SIZE, find_cuts
from capture.landmarks import LandmarkDetector, Landmarks
from capture.tracker import Tracker
from capture.video import decode, upright
from models.camera import Camera

CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg", "prores", "ffv1", "rawvideo", "mpeg2video")
LOOKS_PER_S = 6.0
"""Frames of a second in which the face is looked for."""
COUNT_EVERY = 3
"""Looks between two counts of all faces."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What a video must be."""

    min_s: float = 10.0
    """Shortest that anything can be learned from."""
    good_s: float = 60.0
    """Below this it is said that more would be better."""
    max_s: float = 600.0
    max_fps: float = 121.0
    min_fps: float = 12.0
    min_side_px: int = 240
    max_side_px: int = 4096
    min_face_px: float = 64.0
    """Median of the face's smaller extent."""
    min_face_share: float = 0.12
    """The same as a share of the picture's shorter side: the square that is kept is as large as the picture allows."""
    min_seen: float = 0.8
    """Share of the looks that must find a face."""
    max_others: float = 0.05
    """Share of the counts that may find a second one."""
    brightness: tuple[float, float] = (45.0, 225.0)
    """Median grey of the face."""


class UnsuitableVideoError(Exception):
    """A target cannot be trained from a video: a code for programs, why, and what to do about it."""

    def __init__(self, code: str, reason: str, cure: str) -> None:
        """Both are sentences for people."""
        super().__init__(f"{reason} {cure}")
        self.code, self.reason, self.cure = code, reason, cure


@dataclass(frozen=True, kw_only=True, slots=True)
class Suitability:
    """What was found in a video that will do."""

    seconds: float
    width: int
    height: int
    fps: float
    """Frames that there are, by the second."""
    face_px: float
    """Median of the face's smaller extent."""
    face_share: float
    """Share of the looks that found a face."""
    coverage: dict[str, float]
    """How much of each of `capture.coverage.AIMS` it shows, 0 to 1."""
    advice: list[str]
    """What would make a better target: sentences for people."""

    def as_json(self) -> dict[str, Any]:
        """Give JSON values."""
        return asdict(self)


class _Looks:
    """What was seen of the face so far."""

    def __init__(self) -> None:
        self.extents: list[float] = []
        self.brightness: list[float] = []
        self.num = self.num_counted = self.num_others = 0
        self.coverage = Coverage()

    def add(self, image: NDArray[np.uint8], found: Landmarks | None) -> None:
        self.num += 1
        if found is None:
            return
        points = found.points_px
        self.extents.append(float(np.ptp(points, axis=0).min()))
        self.num_counted += 1
        self.num_others += found.num_faces > 1
        low = np.clip(points.min(0), 0, None).astype(int)
        high = points.max(0).astype(int) + 1
        face = image[low[1] : high[1] : 4, low[0] : high[0] : 4]
        if face.size:
            self.brightness.append(float(np.median(face @ np.array([0.299, 0.587, 0.114], np.float32))))


def check_video(
    path: Path,
    bounds: Bounds | None = None,
    *,
    on_progress: Callable[[float, float], None] = lambda _done, _total: None,
) -> Suitability:
    """Look at all of a video. Raises `UnsuitableVideoError` as early as it can be known, and `OSError`.

    `on_progress` is told the seconds that were seen and those that there are, 0 where the file does not tell.
    """
    bounds = bounds or Bounds()
    try:
        with open_video(path) as container:
            stream = _check_header(container, bounds)
            return _watch(container, stream, bounds, on_progress)
    except av.FFmpegError as error:
        raise _unreadable(str(error.strerror or "it is damaged")) from None


def _unreadable(why: str) -> UnsuitableVideoError:
    return UnsuitableVideoError(
        "unreadable",
        f"This is no video that can be read ({why}).",
        "Send an MP4, MOV, WebM or MKV file as the camera or the browser wrote it.",
    )


def _check_header(container: av.container.InputContainer, bounds: Bounds) -> av.VideoStream:
    """Refuse by what the file says of itself, before a picture is decoded."""
    if not container.streams.video:
        raise UnsuitableVideoError("no_video", "There is no picture in this file.", "Send the video, not its sound.")
    stream = container.streams.video[0]
    # FFmpeg has no decoder for a codec that it does not know, and PyAV then no context.
    codec = getattr(stream.codec_context, "name", "unknown")
    if codec not in CODECS:
        raise UnsuitableVideoError(
            "codec", f"The video is coded as {codec!r}, which is not taken.", "Save it as H.264 (MP4) or VP8 (WebM)."
        )
    _check_size(stream.codec_context.width, stream.codec_context.height, bounds)
    if container.duration and container.duration / av.time_base > bounds.max_s + 1:
        raise _too_long(container.duration / av.time_base, bounds)
    return stream


def _check_size(width: int, height: int, bounds: Bounds) -> None:
    if min(width, height) < bounds.min_side_px or max(width, height) > bounds.max_side_px:
        raise UnsuitableVideoError(
            "picture_size",
            f"The picture has {width} × {height} pixels.",
            f"Record with {bounds.min_side_px} pixels or more on the shorter side, {bounds.max_side_px} at most on"
            " the longer one.",
        )


def _too_long(seconds: float, bounds: Bounds) -> UnsuitableVideoError:
    return UnsuitableVideoError(
        "too_long",
        f"The video lasts {clock(seconds)}; {clock(bounds.max_s)} are the most.",
        "Cut one or two good minutes out of it.",
    )


def _watch(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    bounds: Bounds,
    on_progress: Callable[[float, float], None],
) -> Suitability:
    total_s = (container.duration or 0) / av.time_base
    times_s: list[float] = []
    small: list[NDArray[np.uint8]] = []
    looks, next_look_s = _Looks(), 0.0
    stream.thread_type = "AUTO"
    with LandmarkDetector(count_every=COUNT_EVERY) as detector, Tracker(detects=False) as tracker:
        for time_s, frame in _frames(container, stream):
            if time_s > bounds.max_s or len(times_s) > bounds.max_s * bounds.max_fps:
                raise _too_long(max(time_s, len(times_s) / bounds.max_fps), bounds)
            if not times_s:
                _check_size(frame.width, frame.height, bounds)
            times_s.append(time_s)
            small.append(np.asarray(frame.reformat(*SIZE, format="gray").to_ndarray(), np.uint8))
            if time_s < next_look_s:
                continue
            next_look_s = time_s + 1.0 / LOOKS_PER_S - 1e-3
            image = upright(frame)
            height, width = image.shape[:2]
            found = detector.detect(image)
            looks.add(image, found)
            looks.coverage.add(tracker.process_landmarks(found, time_s, Camera.webcam(width, height)), time_s)
            on_progress(time_s, total_s)
    if not times_s:
        raise _unreadable("no picture in it can be decoded")
    times = np.array(times_s)
    seconds = float(times[-1] - times[0]) * len(times) / max(len(times) - 1, 1)
    fps = len(times) / max(seconds, 1e-3)
    _check_time(seconds, total_s, fps, bounds)
    _check_scene(np.stack(small), times)
    _check_face(looks, min(width, height), bounds)
    shares = looks.coverage.shares()
    return Suitability(
        seconds=round(seconds, 2), width=width, height=height, fps=round(fps, 2),
        face_px=round(float(np.median(looks.extents)), 1), face_share=round(len(looks.extents) / looks.num, 3),
        coverage=shares, advice=_advice(seconds, shares, bounds),
    )  # fmt: skip


def _frames(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[tuple[float, av.VideoFrame]]:
    """Yield (seconds from the first frame, frame) of those that have a time."""
    first: float | None = None
    for frame in decode(container, stream):
        if frame.time is not None:
            first = float(frame.time) if first is None else first
            yield float(frame.time) - first, frame


def _check_time(seconds: float, total_s: float, fps: float, bounds: Bounds) -> None:
    if total_s and seconds < 0.8 * total_s - 1.0:
        raise UnsuitableVideoError(
            "damaged",
            f"The file says {clock(total_s)}, but only {clock(seconds)} of it can be read.",
            "It is damaged or not complete: copy it again from where it was recorded.",
        )
    if seconds < bounds.min_s:
        raise UnsuitableVideoError(
            "too_short",
            f"The video lasts {seconds:.0f} seconds; {bounds.min_s:.0f} are the least, and a minute or two are good.",
            "Record longer: turn and nod, speak, smile, blink, look around with the eyes alone.",
        )
    if fps < bounds.min_fps:
        raise UnsuitableVideoError(
            "frame_rate",
            f"The video has {fps:.0f} frames a second; {bounds.min_fps:.0f} are the least.",
            "Give the camera more light, or record with 25 or 30 frames a second.",
        )


def _check_scene(pictures: NDArray[np.uint8], times: NDArray[np.float64]) -> None:
    change = np.abs(np.diff(pictures.astype(np.float32), axis=0)).mean((1, 2))
    if float((change > 0.05).mean()) < 0.05:
        raise UnsuitableVideoError(
            "still", "Nothing moves in this video.", "Record the person moving: a photograph cannot be learned from."
        )
    if cuts := find_cuts(pictures, times):
        shown = ", ".join(clock(cut) for cut in cuts[:4]) + (" and later" if len(cuts) > 4 else "")
        raise UnsuitableVideoError(
            "cuts", f"The video is cut, at {shown}.", "Send one take from one camera, without cuts or effects."
        )


def _check_face(looks: _Looks, side_px: int, bounds: Bounds) -> None:
    seen = len(looks.extents) / max(looks.num, 1)
    if seen < bounds.min_seen:
        reason = (
            "No face is seen in this video." if seen < 0.02 else f"A face is seen in {100 * seen:.0f} % of it only."
        )
        raise UnsuitableVideoError(
            "no_face", reason, "Keep the face in the picture, uncovered and lit, turned to the camera most of the time."
        )
    if looks.num_others > bounds.max_others * looks.num_counted:
        raise UnsuitableVideoError(
            "two_people",
            f"More than one face is seen in {100 * looks.num_others / looks.num_counted:.0f} % of it.",
            "Have one person in the picture alone; cover photographs and mirrors behind them.",
        )
    extent = float(np.median(looks.extents))
    if extent < bounds.min_face_px or extent < bounds.min_face_share * side_px:
        raise UnsuitableVideoError(
            "small_face",
            f"The face is {extent:.0f} pixels wide, in a picture of {side_px}.",
            "Come closer, or cut the picture: the head should fill a third to a half of its height.",
        )
    grey = float(np.median(looks.brightness))
    if grey < bounds.brightness[0]:
        raise UnsuitableVideoError("dark", "The face is too dark.", "Turn towards a window, or put a lamp before you.")
    if grey > bounds.brightness[1]:
        raise UnsuitableVideoError("bright", "The face is overexposed.", "Move out of the direct light.")


def _advice(seconds: float, shares: dict[str, float], bounds: Bounds) -> list[str]:
    advice = []
    if seconds < bounds.good_s:
        advice.append(f"{seconds:.0f} seconds are little: a minute or two make a better target.")
    if missing := [name.replace("_", " ") for name, share in shares.items() if share < 0.34]:
        advice.append(f"Little or nothing is seen of: {', '.join(missing)}. The target will not do these well.")
    return advice


def clock(seconds: float) -> str:
    """Write a time as `0:07`, `12:30` or `4:00:00`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
