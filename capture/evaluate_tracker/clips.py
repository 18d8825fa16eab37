"""Both live trackers on real clips: how well they meet MediaPipe's landmarks, how still they are, how they recover.

Nobody knows the true parameters there. MediaPipe's landmarks are the ruler, which flatters the tracker that is fitted
to them; jitter and recovery need no ruler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from capture.binding import LandmarkBinding
from capture.evaluate_tracker.sequences import EYES, LiveTracker
from capture.follow import RIGID
from capture.landmarks import LandmarkDetector
from capture.mesh import Mesh
from capture.synthetic.occluders import cover, parts_of
from capture.video import read_video
from models.camera import Camera
from models.face import FaceModel

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

MAX_FRAMES = 300
STILL_SHARE = 0.03
"""A head is still where its rigid landmarks, averaged over time, move less than this share of the eye distance."""
STILL_FRAMES = 4
"""Frames before and after, between which they are compared."""
FROZEN_FRAMES, NOISE_CODES = 40, 3.0
"""Copies of one frame, each with noise of its own of this deviation: how a webcam shows what does not move."""
HIDDEN_S, LEAD_S, AFTER_S = 0.8, 1.5, 1.5
"""How long the face is hidden, and what is seen before and after."""
RECOVERED_SHARE = 0.06
"""A tracker has recovered when its face lies this close, in eye distances, to where it had it without the occlusion."""
HAND = (0.27, 0.12, 0.07)
"""Colour of the hand that is painted over faces, linear."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip in memory, with the ruler's landmarks."""

    name: str
    frames: list[Image]
    time_s: list[float]
    ruler: Array
    """`[T, 478, 2]` MediaPipe's landmarks, NaN without a face."""

    @property
    def camera(self) -> Camera:
        """A common webcam of its size."""
        return Camera.webcam(self.frames[0].shape[1], self.frames[0].shape[0])

    @property
    def unit_px(self) -> float:
        """Usual distance of the irises."""
        return float(np.nanmedian(np.linalg.norm(self.ruler[:, EYES[0]] - self.ruler[:, EYES[1]], axis=1)))


def read_clip(path: Path, max_frames: int = MAX_FRAMES) -> Clip:
    """Read the first frames of a clip and detect its landmarks. Raises `VideoError`, `ValueError` without a face."""
    frames, time_s, ruler = [], [], []
    with LandmarkDetector() as detector:
        for seconds, image in read_video(path):
            found = detector.detect(image)
            frames.append(image)
            time_s.append(seconds)
            ruler.append(found.points_px if found is not None else np.full((478, 2), np.nan, np.float32))
            if len(frames) == max_frames:
                break
    landmarks = np.array(ruler, np.float64)
    if np.isfinite(landmarks[:, 0, 0]).mean() < 0.2:
        raise ValueError(f"{path}: expected a clip with a face in it")
    return Clip(path.stem, frames, time_s, landmarks)


def follow(clip: Clip, tracker: LiveTracker, mesh: Mesh, frames: list[Image] | None = None) -> Array:
    """Run a tracker over a clip, or other `frames` at its times: its face as landmarks `[T, 478, 2]`, NaN without."""
    tracker.reset()
    chosen = frames or clip.frames
    points = np.full((len(chosen), 478, 2), np.nan)
    for k, image in enumerate(chosen):
        track = tracker.process(image, clip.time_s[k], clip.camera)
        if track.state == "tracked":
            points[k] = mesh.project(track.params, clip.camera)
    return points


def measure_clip(
    clip: Clip, trackers: Mapping[str, LiveTracker], model: FaceModel, *, on_run: Callable[[], None] = lambda: None
) -> dict[str, dict[str, float]]:
    """Measure every tracker, and MediaPipe's landmarks as they come.

    `reprojection_percent`, its 95th percentile and `jitter_percent` are in percent of the eye distance, `recovery_*_ms`
    are the times after a hand before the face and after an absence; `tracked` is the share of frames with a face.
    `jitter_percent` is that of the rigid landmarks where the head is still, `frozen_percent` that of all landmarks on
    one frame repeated with fresh noise.
    """
    mesh = Mesh(model, LandmarkBinding.load())
    still = still_frames(clip.ruler, clip.unit_px)
    result = {"MediaPipe": {
        "tracked": float(np.isfinite(clip.ruler[:, 0, 0]).mean()), "reprojection_percent": 0.0,
        "jitter_percent": 100 * jitter(clip.ruler[:, RIGID], still) / clip.unit_px, "still_frames": float(still.sum()),
    }}  # fmt: skip
    frozen = frozen_frames(clip)
    settled = np.arange(FROZEN_FRAMES) >= FROZEN_FRAMES // 4
    with LandmarkDetector() as detector:
        found = [detector.detect(image) for image in frozen]
    seen = np.array([np.full((478, 2), np.nan) if one is None else one.points_px for one in found])
    result["MediaPipe"]["frozen_percent"] = 100 * jitter(seen, settled) / clip.unit_px
    for name, tracker in trackers.items():
        points = follow(clip, tracker, mesh)
        off = 100 * np.linalg.norm(points - clip.ruler, axis=2).mean(1) / clip.unit_px
        row = {
            "tracked": float(np.isfinite(points[:, 0, 0]).mean()),
            "reprojection_percent": _mean(off),
            "reprojection_p95_percent": float(np.nanpercentile(off, 95)) if np.isfinite(off).any() else np.nan,
            "jitter_percent": 100 * jitter(points[:, RIGID], still) / clip.unit_px,
            "still_frames": float(still.sum()),
            "frozen_percent": 100 * jitter(follow(clip, tracker, mesh, frozen), settled) / clip.unit_px,
        }
        on_run()
        for kind, hide in (("hand", hide_by_hand), ("absence", leave_and_return)):
            spoilt, back = hide(clip)
            again = follow(clip, tracker, mesh, spoilt)
            row[f"recovery_{kind}_ms"] = recovery_ms(again, points, back, clip)
            on_run()
        result[name] = row
    return result


def still_frames(ruler: Array, unit_px: float) -> NDArray[np.bool_]:
    """Mark the frames `[T]` of landmarks `[T, 478, 2]` in which the head does not move, whatever the face does."""
    width = 2 * STILL_FRAMES + 1
    ruler = ruler[:, RIGID]
    still = np.zeros(len(ruler), bool)
    for k in range(width, len(ruler) - width):
        before, after = ruler[k - width : k].mean(0), ruler[k + 1 : k + 1 + width].mean(0)
        moved = np.linalg.norm(after - before, axis=1) / unit_px
        still[k] = bool(np.isfinite(moved).all() and np.percentile(moved, 90) < STILL_SHARE)
    return still


def jitter(points: Array, still: NDArray[np.bool_]) -> float:
    """Give the noise of one frame in pixels: root mean square of second differences over the square root of six.

    That is the standard deviation of independent noise; slow motion hardly shows in it. NaN without still frames.
    """
    second = points[2:] - 2 * points[1:-1] + points[:-2]
    chosen = second[still[1:-1] & np.isfinite(second).all((1, 2))]
    return float(np.sqrt((chosen**2).sum(-1).mean() / 6.0)) if len(chosen) else float("nan")


def frozen_frames(clip: Clip) -> list[Image]:
    """Repeat one frame with a face, with noise of its own each time."""
    number = int(np.flatnonzero(np.isfinite(clip.ruler[:, 0, 0]))[0])
    rng = np.random.default_rng(0)
    still = clip.frames[number].astype(np.float32)
    return [
        np.clip(still + rng.normal(0.0, NOISE_CODES, still.shape), 0, 255).astype(np.uint8)
        for _ in range(FROZEN_FRAMES)
    ]


def hide_by_hand(clip: Clip) -> tuple[list[Image], int]:
    """Paint a hand over the face for a while; gives the frames and the first one after it."""
    start, back = _hidden(clip)
    frames = list(clip.frames)
    rng = np.random.default_rng(0)
    kept = clip.ruler[start]
    middle, size = kept.mean(0), float(np.ptp(kept[:, 1])) * 1.4
    hands = [
        parts_of(rng, "hand", (middle + shift * size).astype(np.float32), size * 1.1, np.array(HAND, np.float32), 0.5)
        for shift in (np.array([-0.12, 0.1]), np.array([0.12, -0.05]))
    ]
    parts = np.concatenate(hands)
    parts[:, 6:9] = parts[:, 6:9] ** (1 / 2.2)  # painted into sRGB
    for k in range(start, back):
        picture = clip.frames[k].astype(np.float32) / 255.0
        cover(picture, parts, np.array([0.3, -0.6], np.float32))
        frames[k] = (picture * 255.0).astype(np.uint8)
    return frames, back


def leave_and_return(clip: Clip) -> tuple[list[Image], int]:
    """Let the face leave to the side and be back at once; gives the frames and the first one with it."""
    start, back = _hidden(clip)
    frames = list(clip.frames)
    width = clip.frames[0].shape[1]
    for k in range(start, back):
        shift = min(int((k - start + 1) / 6 * width), width - 1)
        moved = np.empty_like(clip.frames[k])
        moved[:, shift:] = clip.frames[k][:, : width - shift]
        moved[:, :shift] = clip.frames[k][:, :1]
        frames[k] = moved
    return frames, back


def recovery_ms(again: Array, reference: Array, back: int, clip: Clip) -> float:
    """Give the time from frame `back` until the face is where it was without the occlusion; infinite if it never is."""
    off = np.linalg.norm(again - reference, axis=2).mean(1) / clip.unit_px
    good = np.flatnonzero(np.isfinite(off[back:]) & (off[back:] < RECOVERED_SHARE))
    if not len(good):
        return float("inf")
    return 1e3 * (clip.time_s[back + int(good[0])] - clip.time_s[back])


def _hidden(clip: Clip) -> tuple[int, int]:
    """Choose the frames to hide: with a face, and with enough before and after them."""
    fps = (len(clip.frames) - 1) / max(clip.time_s[-1] - clip.time_s[0], 1e-3)
    lead, hidden, after = (round(seconds * fps) for seconds in (LEAD_S, HIDDEN_S, AFTER_S))
    last = len(clip.frames) - hidden - after
    for start in range(lead, max(last, lead + 1)):
        if start < len(clip.ruler) and np.isfinite(clip.ruler[start : start + hidden + after]).all():
            if start + hidden + after <= len(clip.frames):
                return start, start + hidden
    raise ValueError(f"{clip.name}: expected {LEAD_S + HIDDEN_S + AFTER_S:.1f} s with a face in every frame")


def _mean(values: Array) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
