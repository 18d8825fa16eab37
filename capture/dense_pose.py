"""The head's pose in every frame of a video, by all that is rigid in its pictures: dense, and free of grimaces.

Landmarks lie where expressions move. A lopsided mouth, raised brows, a shifted jaw pull the pose fitted to them by
several degrees, and hair and ears of a target that is trained from it tremble. Deep Video Portraits (section 3) fits
all pixels of the face. Here what stays rigid is held against the person's own average look: skull, ears, nose and, on
a card behind the head, hair. Gauss-Newton finds the six numbers of a frame's pose, and the look is averaged anew by the
poses found, from coarse to fine. How steady a point looks in all frames is what it says of pose: what is no part of the
head, and what does not hold still on it, falls silent by itself. Pictures are compared by their local contrast, which
leaves the light free to change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from capture.rotation import rotation_from_vector, rotation_vector
from capture.spread import spread
from models.camera import Camera, rotation_angles, rotation_matrix
from models.face import FaceModel
from models.halo import BOTTOM_M, DEPTH_M, HALF_WIDTH_M, TOP_M
from models.illumination import vertex_normals
from models.params import FaceParams

Array = NDArray[np.float64]
Picture = NDArray[np.float32]
Read = Callable[[int], NDArray[np.uint8]]
"""Gives a frame's grey picture `[H, W]`."""

SIDE_PX = 240
"""Pictures are looked at no larger than this."""
BLURS_PX = (3.0, 1.5, 1.0)
"""Blur of the pictures, from coarse to fine."""
ROUNDS = (3, 3, 2)
"""How often the average look is made anew at each."""
CONTRAST_PX = 8.0
"""Reach of the local contrast."""
CONTRAST_FLOOR = 6.0
"""Grey levels of contrast below which a place has none."""
LEARNING_FRAMES = 250
"""Frames, spread over the video, that the average look is made of."""
STEPS = 3
"""Gauss-Newton steps at each blur."""
ROTATION_SD_RAD = np.deg2rad(4.0)
TRANSLATION_SD_M = np.array([0.006, 0.006, 0.010])
"""How far the pose by landmarks may be off."""
SHARE = 0.4
"""Points err together: they tell as much as this share of independent ones."""
NOISE = 0.05
"""Variance of a point's contrast that is nobody's fault."""
WALL_NOISE = 0.01
"""As `NOISE`, where it is asked whether a point moves with the head or stands still with the wall."""
STRAY_M = 0.002
"""A point that expressions move by this much says half as much."""
SEEN_SHARE = 0.15
"""Points seen in less of the frames than this are not used."""
CARD_POINTS = (44, 42)
"""Points of the card, from bottom to top and across."""
CELL_PX = 6
"""The card's points are hidden where the head itself is seen within such a cell."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """Poses that were found."""

    rotation: NDArray[np.float32]
    """`[T, 3]` yaw, pitch, roll, radians."""
    translation: NDArray[np.float32]
    """`[T, 3]` metres."""
    spread_before: float
    """Root mean square difference of points from the average look, in local contrasts, with the poses by landmarks."""
    spread: float
    """The same with these."""


@dataclass(frozen=True, slots=True)
class _Look:
    """How the points look on average, at one blur."""

    mean: Array
    """`[N]` local contrast."""
    variance: Array
    """`[N]` of it, over the frames."""
    say: Array
    """`[N]` precision, 0 where a point is too seldom seen."""

    @property
    def spread(self) -> float:
        """Root mean square difference of a point from its mean."""
        return float(np.sqrt((self.say * self.variance).sum() / max(self.say.sum(), 1e-9)))


def align(
    read: Read,
    frames: Sequence[int] | NDArray[np.int64],
    params: FaceParams,
    camera: Camera,
    model: FaceModel,
    on_frame: Callable[[], None] = lambda: None,
) -> Aligned:
    """Align the heads in `frames` of a video to each other, from the poses in `params`, a batch over all `T` frames.

    `camera` is that of the pictures that `read` gives. Other frames keep their pose. `on_frame` is called after each.
    """
    frames = np.asarray(frames, np.int64)
    scale = min(1.0, SIDE_PX / max(camera.width, camera.height))
    small = camera.scaled(round(camera.width * scale), round(camera.height * scale))
    head = _Head(model, params, small)

    def contrasts(frame: int) -> list[Picture]:
        size = (small.width, small.height)
        return _contrasts(cv2.resize(read(frame), size, interpolation=cv2.INTER_AREA))

    pictures = {int(frame): contrasts(int(frame)) for frame in spread(frames, LEARNING_FRAMES)}
    levels = [_Level({f: seen[level] for f, seen in pictures.items()}) for level in range(len(BLURS_PX))]
    before = head.average(levels[-1]).spread
    for level, rounds in zip(levels, ROUNDS, strict=True):
        for _ in range(rounds):
            look = head.average(level)
            for frame, picture in level.pictures.items():
                head.align(frame, picture, look)
    looks = [head.average(level) for level in levels]
    for frame in frames:
        for picture, look in zip(pictures.get(int(frame)) or contrasts(int(frame)), looks, strict=True):
            head.align(int(frame), picture, look)
        on_frame()
    return Aligned(
        rotation=rotation_angles(head.rotation.astype(np.float32)),
        translation=head.translation.astype(np.float32),
        spread_before=before,
        spread=head.average(levels[-1]).spread,
    )


class _Level:
    """What is learned from, at one blur."""

    def __init__(self, pictures: dict[int, Picture]) -> None:
        self.pictures = pictures
        """Local contrast, by frame."""
        self.wall: Picture = np.mean(list(pictures.values()), 0)
        """Their average: what stands still before the camera."""


class _Head:
    """The points of one person's head and card, and their pose in every frame."""

    def __init__(self, model: FaceModel, params: FaceParams, camera: Camera) -> None:
        self._camera = camera
        neutral = model.neutral(params.identity[0])
        normals = vertex_normals(neutral, model.triangles)
        rigid = (model.rigidity > 0.98) & (model.eye_angle > 3.0) & (normals[:, 2] > -0.2) & (neutral[:, 2] > -0.06)
        skin = np.flatnonzero(rigid)
        up, across = np.meshgrid(
            np.linspace(BOTTOM_M, TOP_M, CARD_POINTS[0]),
            np.linspace(-HALF_WIDTH_M, HALF_WIDTH_M, CARD_POINTS[1]),
            indexing="ij",
        )
        card = np.stack([across, up, np.full_like(up, DEPTH_M)], -1).reshape(-1, 3)
        self._points = np.concatenate([neutral[skin], card]).astype(np.float64)
        self._normals = np.concatenate([normals[skin], np.tile([0.0, 0.0, 1.0], (len(card), 1))]).astype(np.float64)
        self._num_skin = len(skin)
        self._basis = np.ascontiguousarray(model.expression_basis[:, skin]).reshape(len(model.expression_basis), -1)
        self._expression = params.expression
        self.rotation = rotation_matrix(params.rotation).astype(np.float64)
        """`[T, 3, 3]` head to view."""
        self.translation = params.translation.astype(np.float64)
        """`[T, 3]` metres."""
        self._first = self.rotation.copy(), self.translation.copy()

    def average(self, level: _Level) -> _Look:
        """Average how the points look, with the poses as they are."""
        total, square, off, weights = np.zeros((4, len(self._points)))
        for frame, picture in level.pictures.items():
            points, seen = self._moved(frame)
            value, behind, weight = _sampled(
                picture, level.wall, points, self._normals, seen, self._num_skin, self.rotation[frame],
                self.translation[frame], *self._projection,
            )  # fmt: skip
            total += weight * value
            square += weight * value * value
            off += weight * (value - behind) ** 2
            weights += weight
        weights = np.maximum(weights, 1e-6)
        mean = total / weights
        variance = np.maximum(square / weights - mean**2, 0.0)
        say = np.where(weights > SEEN_SHARE * len(level.pictures), 1.0 / (variance + NOISE), 0.0)
        # Much of the card is no hair: what holds still before the camera rather than on the head is the wall.
        moves = off / weights / (variance + WALL_NOISE) - 1.0
        say[self._num_skin :] *= np.clip(moves, 0.0, 1.0)[self._num_skin :]
        return _Look(mean, variance, say)

    def align(self, frame: int, picture: Picture, look: _Look) -> None:
        """Take a few steps from a frame's pose towards where its head looks as on average."""
        points, weight = self._moved(frame)
        prior = np.concatenate([np.full(3, ROTATION_SD_RAD**-2), TRANSLATION_SD_M**-2])
        first_rotation, first_translation = self._first[0][frame], self._first[1][frame]
        rotation, translation = self.rotation[frame], self.translation[frame]
        for _ in range(STEPS):
            hessian, gradient = _equations(
                picture, points, self._normals, weight, self._num_skin, rotation, translation, *self._projection,
                look.mean, look.variance + NOISE, look.say,
            )  # fmt: skip
            off = np.concatenate([rotation_vector(rotation @ first_rotation.T), translation - first_translation])
            step = -np.linalg.solve(SHARE * hessian + np.diag(prior), SHARE * gradient + prior * off)
            rotation = rotation_from_vector(step[:3]) @ rotation
            translation = translation + step[3:]
        self.rotation[frame], self.translation[frame] = rotation, translation

    @property
    def _projection(self) -> tuple[float, float, float]:
        return self._camera.focal_px, *self._camera.center_px

    def _moved(self, frame: int) -> tuple[Array, Array]:
        """Give the points `[N, 3]` with a frame's expression, head frame, and how much each still says of pose."""
        moves = (self._expression[frame] @ self._basis).reshape(-1, 3)
        points = self._points.copy()
        points[: self._num_skin] += moves
        weight = np.ones(len(points))
        weight[: self._num_skin] = 1.0 / (1.0 + (moves**2).sum(1) / STRAY_M**2)
        return points, weight


def _contrasts(picture: NDArray[np.uint8]) -> list[Picture]:
    """Give the local contrast of a grey picture, about -3 to 3, at each of `BLURS_PX`."""
    grey = picture.astype(np.float32)
    low = cv2.GaussianBlur(grey, (0, 0), CONTRAST_PX)
    contrast = np.sqrt(cv2.GaussianBlur((grey - low) ** 2, (0, 0), CONTRAST_PX)) + CONTRAST_FLOOR
    return [np.asarray((cv2.GaussianBlur(grey, (0, 0), blur) - low) / contrast) for blur in BLURS_PX]


@numba.njit(cache=True)
def _place(
    points: Array, normals: Array, weight: Array, num_skin: int, rotation: Array, translation: Array, focal: float,
    center_u: float, center_v: float, height: int, width: int,
) -> tuple[Array, Array, Array]:  # pragma: no cover - compiled  # fmt: skip
    """Pose points: in the view frame `[N, 3]`, in pixels `[N, 2]`, and `weight` times how well each is seen, `[N]`."""
    count = len(points)
    view, pixels, seen = np.empty((count, 3)), np.empty((count, 2)), np.zeros(count)
    covered = np.zeros((height // CELL_PX + 1, width // CELL_PX + 1), np.bool_)
    for n in range(count):
        cosine = 0.0
        for row in range(3):
            turned = rotation[row, 0] * points[n, 0] + rotation[row, 1] * points[n, 1] + rotation[row, 2] * points[n, 2]
            view[n, row] = turned + translation[row]
            normal = (
                rotation[row, 0] * normals[n, 0] + rotation[row, 1] * normals[n, 1] + rotation[row, 2] * normals[n, 2]
            )
            cosine -= normal * view[n, row]
        distance = np.sqrt(view[n, 0] ** 2 + view[n, 1] ** 2 + view[n, 2] ** 2)
        depth = -view[n, 2]
        if depth <= 0.05:
            continue
        u = center_u + focal * view[n, 0] / depth
        v = center_v - focal * view[n, 1] / depth
        pixels[n, 0], pixels[n, 1] = u, v
        if u < 2.0 or v < 2.0 or u >= width - 3.0 or v >= height - 3.0:
            continue
        row, column = int(v) // CELL_PX, int(u) // CELL_PX
        if n < num_skin:
            covered[row, column] = True
        elif covered[row, column]:
            continue
        seen[n] = weight[n] * min(max((cosine / distance - 0.1) / 0.3, 0.0), 1.0)
    return view, pixels, seen


@numba.njit(cache=True)
def _sample(picture: Picture, u: float, v: float) -> float:  # pragma: no cover - compiled
    """Read a picture between its pixels, whose centres lie at halves."""
    x, y = u - 0.5, v - 0.5
    left, top = int(x), int(y)
    du, dv = x - left, y - top
    above = picture[top, left] + du * (picture[top, left + 1] - picture[top, left])
    below = picture[top + 1, left] + du * (picture[top + 1, left + 1] - picture[top + 1, left])
    return float(above + dv * (below - above))


@numba.njit(cache=True)
def _sampled(
    picture: Picture, wall: Picture, points: Array, normals: Array, weight: Array, num_skin: int, rotation: Array,
    translation: Array, focal: float, center_u: float, center_v: float,
) -> tuple[Array, Array, Array]:  # pragma: no cover - compiled  # fmt: skip
    """Read a picture, and the average one, `wall`, at posed points: values of both and weights, `[N]`."""
    _, pixels, seen = _place(
        points, normals, weight, num_skin, rotation, translation, focal, center_u, center_v, *picture.shape
    )
    values, behind = np.zeros((2, len(points)))
    for n in range(len(points)):
        if seen[n] > 0.0:
            values[n] = _sample(picture, pixels[n, 0], pixels[n, 1])
            behind[n] = _sample(wall, pixels[n, 0], pixels[n, 1])
    return values, behind, seen


@numba.njit(cache=True)
def _equations(
    picture: Picture, points: Array, normals: Array, weight: Array, num_skin: int, rotation: Array, translation: Array,
    focal: float, center_u: float, center_v: float, mean: Array, variance: Array, say: Array,
) -> tuple[Array, Array]:  # pragma: no cover - compiled  # fmt: skip
    """Linearize the difference from the average look: normal equations `[6, 6]`, `[6]` of rotation and translation."""
    view, pixels, seen = _place(
        points, normals, weight, num_skin, rotation, translation, focal, center_u, center_v, *picture.shape
    )
    hessian, gradient, row = np.zeros((6, 6)), np.zeros(6), np.empty(6)
    for n in range(len(points)):
        if seen[n] * say[n] <= 0.0:
            continue
        u, v = pixels[n, 0], pixels[n, 1]
        residual = _sample(picture, u, v) - mean[n]
        # Geman-McClure: what differs by far more than usual is something else.
        trust = 1.0 / (1.0 + residual * residual / (4.0 * variance[n]))
        strength = seen[n] * say[n] * trust * trust
        du = 0.5 * (_sample(picture, u + 1.0, v) - _sample(picture, u - 1.0, v))
        dv = 0.5 * (_sample(picture, u, v + 1.0) - _sample(picture, u, v - 1.0))
        depth = -view[n, 2]
        x = du * focal / depth
        y = -dv * focal / depth
        z = (x * view[n, 0] + y * view[n, 1]) / depth
        arm = view[n] - translation
        row[0], row[1], row[2] = arm[1] * z - arm[2] * y, arm[2] * x - arm[0] * z, arm[0] * y - arm[1] * x
        row[3], row[4], row[5] = x, y, z
        for i in range(6):
            gradient[i] += strength * row[i] * residual
            for j in range(6):
                hessian[i, j] += strength * row[i] * row[j]
    return hessian, gradient
