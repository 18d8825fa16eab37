"""Track a whole video, better than live: what is the same in all of it first, then every frame, and both ways in time.

A live tracker learns who it sees while it goes, and smooths with the past alone. Here the camera and the person are
found out first, frames are fitted to them as they are, and smoothing runs forwards and backwards: it calms as much, and
no movement comes late. Where the pictures are at hand, the head's pose is found from all that is rigid in them
(`capture.dense_pose`), and expressions explain what it leaves. The regressor's reading of each frame helps as it does
live. Gaze, blinks and mouth are then held against landmarks, without the face model in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from capture.dense_pose import Read, align
from capture.follow import measure_found
from capture.gaze_prior import draw_all
from capture.landmarks import Landmarks
from capture.own_shape import spread_over_mesh
from capture.smoothing import FaceSmoother, SmoothingSettings
from capture.spread import spread
from capture.track import Track
from capture.tracker import Tracker
from models.camera import Camera
from models.face import FaceModel
from models.params import BLINKS, EXPRESSION_INDEX, FaceParams

Array = NDArray[np.float64]

FOCAL_FACTORS = (0.7, 0.85, 1.0, 1.2, 1.45)
"""Focal lengths that are tried, as shares of a usual webcam's."""
FOCAL_GAIN = 0.03
"""Share of the error that another focal length than the usual must take away, or the usual one stays: from one person
at one distance it can hardly be told, and what is wrong with it, identity and distance make up for."""
FOCAL_FRAMES, LEARNING_FRAMES, SHAPE_FRAMES = 40, 400, 150
"""Frames, spread over the video, that the camera, the person and the shape beyond an identity are learned from."""
AS_IT_IS = SmoothingSettings(min_cutoff_hz=30.0, beta=50.0)
"""Smoothing that leaves frames as they were fitted."""
BOTH_WAYS = SmoothingSettings()
"""Smoothing of each direction: the live default."""
SETTLED_FRAMES = 10
"""Frames after which it is known what error is usual."""
OUTLIER = 2.5
"""Frames whose landmarks lie off by more than this many times the median are not to be learned from."""


@dataclass(frozen=True, slots=True)
class WholeVideo:
    """What is known of every frame of a video."""

    params: FaceParams
    """Batch over all `T` frames; `identity` is the same in each."""
    camera: Camera
    is_usable: NDArray[np.bool_]
    """`[T]` whether a frame shows the face, and was fitted well."""
    error_m: Array
    """`[T]` root mean square distance of the landmarks from the fitted face, metres; NaN without a face."""
    checks: dict[str, float]
    """Pearson's r of `blink`, `gaze`, `mouth`, `yaw` between parameters and landmarks; `focal_factor`; `outliers`; and,
    where there were pictures, by how much points of the head differ from how they look on average, `spread`, and did
    with the landmarks' poses, `spread_before`."""
    shape: NDArray[np.float32]
    """`[V, 3]` metres, head frame: how far the person's face lies off the model of that identity; zeros where there
    were no pictures. Expressions are those of the model so shaped."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """What frames look like, cut and scaled alike."""

    read: Read
    """Gives a frame's grey picture `[h, w]`."""
    size: tuple[int, int]
    """Width and height of a picture, pixels."""
    origin_px: tuple[float, float]
    """Place of its upper left corner in the frame."""
    scale: float
    """Its pixels for each of the frame's."""
    on_frame: Callable[[], None] = lambda: None
    """Called for each frame that was looked at."""

    def camera(self, camera: Camera) -> Camera:
        """Give the camera of the pictures, where `camera` is that of the frames."""
        u, v = ((center - origin) * self.scale for center, origin in zip(camera.center_px, self.origin_px, strict=True))
        return Camera(width=self.size[0], height=self.size[1], focal_px=camera.focal_px * self.scale, center_px=(u, v))


def track_whole_video(
    found: Sequence[Landmarks | None],
    times_s: Sequence[float],
    camera: Camera,
    model: FaceModel,
    pictures: Pictures | None = None,
    *,
    hints: Sequence[FaceParams | None] | None = None,
    knows_focal: bool = False,
) -> WholeVideo:
    """Track from the landmarks of all frames, None where there is no face; `camera` is the usual one of that size.

    `hints` are what the regressor read of each frame, see `Fitter.fit`; None where it read nothing.
    Where there are `pictures` of all frames with a face, their pixels say how the head is posed. Where it
    `knows_focal`, the camera's focal length is that of the video, and no other one is tried.
    """
    hints = hints if hints is not None else [None] * len(found)
    with Tracker(AS_IT_IS, model=model, detects=False) as tracker:
        factor = 1.0 if knows_focal else _find_focal(tracker, found, times_s, camera)
        camera = replace(camera, focal_px=camera.focal_px * factor)
        tracker.reset()
        for index in _spread(found, LEARNING_FRAMES):
            tracker.process_landmarks(found[index], times_s[index], camera, hints[index])
        tracks, errors = _fit(tracker, found, times_s, camera, hints)
        identity = tracks[-1].params.identity
        raw = [track.params.replace(identity=identity) for track in tracks]
        error_m = np.array(errors)
        is_seen = np.array([track.state == "tracked" for track in tracks])
        is_outlier = is_seen & (error_m > OUTLIER * np.nanmedian(error_m))
        is_usable = is_seen & ~is_outlier
        good = [landmarks if is_good else None for landmarks, is_good in zip(found, is_usable, strict=True)]
        spreads: dict[str, float] = {}
        shape = np.zeros_like(model.mean)
        if pictures is not None and is_usable.any():
            aligned = align(
                pictures.read, np.flatnonzero(is_usable), FaceParams.stack(raw), pictures.camera(camera), model,
                pictures.on_frame,
            )  # fmt: skip
            spreads = {"spread": aligned.spread, "spread_before": aligned.spread_before}
            raw = [
                frame.replace(rotation=aligned.rotation[index], translation=aligned.translation[index])
                for index, frame in enumerate(raw)
            ]
            shown = _spread(good, SHAPE_FRAMES)
            offsets = tracker.learn_shape(
                [good[i] for i in shown], [raw[i] for i in shown], camera, [hints[i] for i in shown]
            )
            shape = spread_over_mesh(offsets, model)
            raw = [
                frame if landmarks is None else tracker.fit_expression(landmarks, frame, camera, hint)
                for landmarks, frame, hint in zip(good, raw, hints, strict=True)
            ]
            raw = [frame.replace(identity=identity) for frame in _with_gaze(raw, hints)]
    params = FaceParams.stack(smooth_both_ways(raw, times_s))
    checks = {**_check(params, good), "focal_factor": factor, "outliers": float(is_outlier.sum()), **spreads}
    return WholeVideo(params, camera, is_usable, error_m, checks, shape)


def _fit(
    tracker: Tracker,
    found: Sequence[Landmarks | None],
    times_s: Sequence[float],
    camera: Camera,
    hints: Sequence[FaceParams | None],
) -> tuple[list[Track], list[float]]:
    """Fit every frame to the person that `tracker` has learned; gives tracks and their errors in metres.

    Each fit begins at the last one. One that went wrong would lead those behind it astray: it is tried anew from
    nothing, and so is the next one.
    """
    tracker.restart()
    tracks, errors = [], []
    limit = np.inf
    for landmarks, time_s, hint in zip(found, times_s, hints, strict=True):
        track = tracker.process_landmarks(landmarks, time_s, camera, hint)
        error = tracker.error_m if landmarks is not None else np.nan
        if error > limit:
            tracker.restart()
            track = tracker.process_landmarks(landmarks, time_s, camera, hint)
            error = tracker.error_m
            if error > limit:
                tracker.restart()
        tracks.append(track)
        errors.append(error)
        if np.isfinite(errors).sum() >= SETTLED_FRAMES:
            limit = OUTLIER * float(np.nanmedian(errors))
    return tracks, errors


def _with_gaze(frames: Sequence[FaceParams], hints: Sequence[FaceParams | None]) -> list[FaceParams]:
    """Draw the gaze of frames whose pose is known towards the hints'."""
    seen = np.array([np.full((2, 2), np.nan) if hint is None else hint.gaze for hint in hints], np.float64)
    gaze = np.array([frame.gaze for frame in frames], np.float64)
    openness = np.clip(1.0 - np.array([frame.expression[BLINKS] for frame in frames], np.float64), 0.0, 1.0)
    drawn = draw_all(gaze, seen, openness).astype(np.float32)
    return [frame.replace(gaze=eyes) for frame, eyes in zip(frames, drawn, strict=True)]


def square_around(points_px: Sequence[NDArray[np.float32]], width: int, height: int) -> tuple[int, int, int]:
    """Choose the largest square of a video's frames with the head, by its landmarks, in its middle: left, top, side."""
    side = min(width, height)
    middle = np.median([(points.min(0) + points.max(0)) / 2 for points in points_px], axis=0)
    left = int(np.clip(middle[0] - side / 2, 0, width - side))
    top = int(np.clip(middle[1] - side / 2, 0, height - side))
    return left, top, side


def smooth_both_ways(frames: Sequence[FaceParams], times_s: Sequence[float]) -> list[FaceParams]:
    """Smooth frames forwards and backwards in time, and take the middle: nothing trails, nothing runs ahead."""
    forwards, backwards = FaceSmoother(BOTH_WAYS), FaceSmoother(BOTH_WAYS)
    first = [forwards(frame, time_s) for frame, time_s in zip(frames, times_s, strict=True)]
    end = times_s[-1]
    second = [backwards(f, end - t) for f, t in zip(reversed(frames), reversed(times_s), strict=True)][::-1]
    return [
        frame.replace(**{
            name: ((getattr(frame, name) + getattr(other, name)) / 2).astype(np.float32)
            for name in ("rotation", "translation", "expression", "gaze")
        })
        for frame, other in zip(first, second, strict=True)
    ]  # fmt: skip


def _find_focal(tracker: Tracker, found: Sequence[Landmarks | None], times_s: Sequence[float], camera: Camera) -> float:
    """Give the share of the usual focal length that explains the landmarks best, if it does so by far."""
    chosen = _spread(found, FOCAL_FRAMES)
    errors = {}
    for factor in FOCAL_FACTORS:
        other = replace(camera, focal_px=camera.focal_px * factor)
        tracker.reset()
        for index in chosen:
            tracker.process_landmarks(found[index], times_s[index], other)
        tracker.restart()
        seen = []
        for index in chosen:
            tracker.process_landmarks(found[index], times_s[index], other)
            seen.append(tracker.error_m)
        errors[factor] = float(np.mean(seen))
    best = min(errors, key=errors.__getitem__)
    return best if errors[best] < (1 - FOCAL_GAIN) * errors[1.0] else 1.0


def _spread(found: Sequence[Landmarks | None], count: int) -> NDArray[np.int64]:
    """Choose up to `count` frames with a face, spread over the video."""
    return spread(np.flatnonzero([landmarks is not None for landmarks in found]), count)


def _check(params: FaceParams, found: Sequence[Landmarks | None]) -> dict[str, float]:
    """Correlate parameters with what the landmarks alone say."""
    seen = measure_found(found)
    blink = params.expression[:, BLINKS].mean(1)
    pairs = {
        "blink": (-blink, seen["eye_opening"]),
        "gaze": (params.gaze[:, :, 0].mean(1), seen["gaze_horizontal"]),
        "mouth": (params.expression[:, EXPRESSION_INDEX["jawOpen"]], seen["mouth_opening"]),
        "yaw": (params.rotation[:, 0], seen["yaw"]),
    }
    result = {}
    for name, (ours, theirs) in pairs.items():
        both = np.isfinite(theirs)
        varies = both.sum() > 2 and np.std(ours[both]) > 0 and np.std(theirs[both]) > 0
        result[name] = float(np.corrcoef(ours[both], theirs[both])[0, 1]) if varies else float("nan")
    return result
