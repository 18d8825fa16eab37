"""Lay a generated picture back into the frame that its square was cut from, without a seam that can be seen."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.camera import Camera
from models.face import FaceModel
from models.params import EXPRESSION_NAMES, EXPRESSION_SIZE, FaceParams
from reenact.own_motion import DUBBED
from reenact.square import Square

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

MOVED_M = 0.003
"""Vertices that some shape of a mode moves further than this are what the mode changes of a face."""
MARGIN_SHARE = 0.10
"""Room around them, as a share of their extent: for skin that follows, and for what tracking is off by."""
SOFT_SHARE = 0.07
"""Standard deviation of the seam, as a share of their extent."""
EDGE_SHARE = 0.08
"""Width of the seam along the border of a whole square."""
TONE_SHARE = 0.35
"""How far from the seam tones are matched, as a share of the extent (standard deviation)."""
MAX_TONE = 24.0
"""Most that tones are moved by, levels: more than this is no difference of light."""
CHANGED = {"face": np.arange(EXPRESSION_SIZE), "dub": DUBBED}
"""Shapes that a mode changes."""


class Paster:
    """Paste the pictures of one target into the frames of one video."""

    def __init__(self, square: Square, camera: Camera, mode: str, model: FaceModel, size: int) -> None:
        """Take the target's camera, and the size of its pictures; `mode` says what of them is wanted: see `combine`.

        In `head` it is the whole picture, in `face` and `dub` what these change of a face.
        """
        self._square = square
        self._camera = camera.scaled(size, size)
        self._size = size
        self._model = model
        self._vertices = _changed_vertices(model, CHANGED[mode]) if mode in CHANGED else None
        self._neutral: tuple[Array, Array] | None = None

    def apply(self, frame: Image, picture: Image, own: FaceParams, shown: FaceParams) -> Image:
        """Give a copy of `frame` `[H, W, 3]` uint8 with `picture` `[S, S, 3]` in it.

        `own` is the face that the frame shows, `shown` that of the picture: what either covers is replaced.
        """
        square, size = self._square, self._size
        rows, columns = slice(square.top, square.top + square.side), slice(square.left, square.left + square.side)
        part = frame[rows, columns]
        small = cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
        mask, extent = self._mask([own, shown])
        toned = picture.astype(np.float32) + match_tone(small, picture, mask, extent)
        way = cv2.INTER_AREA if square.side < size else cv2.INTER_CUBIC
        full = (square.side, square.side)
        share = np.clip(cv2.resize(mask, full, interpolation=cv2.INTER_LINEAR), 0.0, 1.0)[..., None]
        mixed = part + share * (cv2.resize(toned, full, interpolation=way) - part)
        result = frame.copy()
        result[rows, columns] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
        return result

    def _mask(self, faces: list[FaceParams]) -> tuple[Array, float]:
        """Give how much of each pixel `[S, S]` is taken from the picture, and the extent of what is taken, pixels."""
        size = self._size
        if self._vertices is None:
            if self._square.is_whole:
                return np.ones((size, size), np.float32), float(size)
            return self._border(), float(size)
        mask = np.zeros((size, size), np.uint8)
        extent = 1.0
        for params in faces:
            points = self._camera.project(self._model.view_vertices(params, self._rest(params))[self._vertices])
            extent = max(extent, float(np.ptp(points, axis=0).max()))
            hull = cv2.convexHull(points.astype(np.float32))
            cv2.fillConvexPoly(mask, np.rint(hull * 16).astype(np.int32), 255, lineType=cv2.LINE_AA, shift=4)
        margin = max(round(MARGIN_SHARE * extent), 1)
        mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1)))
        soft = cv2.GaussianBlur(mask.astype(np.float32) / 255.0, (0, 0), SOFT_SHARE * extent)
        return np.minimum(soft, self._border()) if not self._square.is_whole else soft, extent

    def _border(self) -> Array:
        """Fall to nothing along those sides of the square that lie within the frame."""
        square, ramp = self._square, np.arange(self._size, dtype=np.float32) + 0.5
        width = EDGE_SHARE * self._size
        near, far = smooth_step(ramp / width), smooth_step(ramp[::-1] / width)
        one = np.ones_like(ramp)
        across = (near if square.left > 0 else one) * (far if square.left + square.side < square.frame_width else one)
        down = (near if square.top > 0 else one) * (far if square.top + square.side < square.frame_height else one)
        return np.asarray(down[:, None] * across[None, :], np.float32)

    def _rest(self, params: FaceParams) -> Array:
        if self._neutral is None or not np.array_equal(self._neutral[0], params.identity):
            self._neutral = (params.identity.copy(), self._model.neutral(params.identity))
        return self._neutral[1]


def match_tone(frame: Array, picture: Image, mask: Array, extent: float) -> Array:
    """Give what must be added to `picture` `[S, S, 3]` so that its tones are the frame's along the seam of `mask`.

    Measured where the mask is neither shut nor open, and carried smoothly over the rest.
    """
    seam = np.clip(4.0 * mask * (1.0 - mask), 0.0, 1.0) + 1e-4
    # Reduced: what is looked for is smooth, and the blur is wide.
    small = (max(picture.shape[1] // 4, 8), max(picture.shape[0] // 4, 8))
    off = cv2.resize((frame - picture.astype(np.float32)) * seam[..., None], small, interpolation=cv2.INTER_AREA)
    weight = cv2.resize(seam, small, interpolation=cv2.INTER_AREA)
    sigma = TONE_SHARE * extent / 4.0
    spread = cv2.GaussianBlur(off, (0, 0), sigma) / cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
    tone = np.clip(spread, -MAX_TONE, MAX_TONE)
    return np.asarray(cv2.resize(tone, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def smooth_step(place: Array) -> Array:
    """Go smoothly from 0 at 0 to 1 at 1."""
    share = np.clip(place, 0.0, 1.0)
    return np.asarray(share * share * (3.0 - 2.0 * share), np.float32)


def _changed_vertices(model: FaceModel, shapes: NDArray[np.int64]) -> NDArray[np.int64]:
    shapes = np.array([index for index in shapes if EXPRESSION_NAMES[index] != "tongueOut"])
    moved = np.linalg.norm(model.expression_basis[shapes], axis=-1).max(0) > MOVED_M
    return np.flatnonzero(moved & (model.rigidity > 0.5))
