"""Crops: the turned square of a frame that the regressor sees, and the camera that would have seen just that.

A crop's camera stands where the frame's does and looks along the ray through the middle of the crop, turned so that the
head is upright. That is a pure rotation of the frame's camera, so poses go over exactly, and a head looks the same in
its crop wherever in the frame it stands: pixels are resampled by the rotation's homography. A similarity would leave
faces near the edge of a frame stretched, by a sixth at 25 degrees off the axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numba
import numpy as np
from numpy.typing import NDArray

from capture.rotation import multiply
from models.camera import Camera, rotation_angles, rotation_matrix
from models.framing import ANCHOR_M, HEAD_M
from models.illumination import DIFFERENCE, MIXED, SQUARED
from models.params import FaceParams

Image = NDArray[np.uint8]
Matrix = NDArray[np.float64]

CROP_PX = 192
"""Width and height of the pixels that are cut."""
_ANCHOR = np.array(ANCHOR_M, np.float64)


@dataclass(frozen=True, slots=True)
class Crop:
    """A square region of the frame of `frame`, and the camera that looks into its middle."""

    frame: Camera
    """The camera whose image is cut."""
    center_px: tuple[float, float]
    """Middle of the square (u, v) in pixels of the frame."""
    size_px: float
    """Width of the square in pixels, as if it lay in the middle of the frame: the focal length of the crop's camera is
    the frame's times the crop's pixels over this."""
    angle_rad: float
    """How far the top of the square is turned to the right of the image, as a head with roll is."""
    pixels: int = CROP_PX
    """Width and height of what is cut."""

    def __post_init__(self) -> None:
        if not (self.size_px > 0.0 and np.isfinite([*self.center_px, self.size_px, self.angle_rad]).all()):
            raise ValueError(f"crop: expected a finite place and a positive size, got {self.center_px}, {self.size_px}")

    @classmethod
    def around(cls, params: FaceParams, frame: Camera, *, pixels: int = CROP_PX) -> Self:
        """Frame one head of `frame`'s view exactly: its anchor in the middle, `HEAD_M` across, upright.

        Raises `ValueError` for a head that is not in front of the camera.
        """
        place = _place(rotation_matrix(params.rotation).astype(np.float64), params.translation.astype(np.float64))
        if place is None:
            raise ValueError(f"crop: expected a head in front of the camera, got {params.translation}")
        (x, y), distance, angle = place
        center = (frame.center_px[0] + frame.focal_px * x, frame.center_px[1] - frame.focal_px * y)
        return cls(frame, center, frame.focal_px * HEAD_M / distance, angle, pixels)

    @property
    def camera(self) -> Camera:
        """The crop's own camera, `pixels` wide and high."""
        half = self.pixels / 2.0
        focal_px = self.frame.focal_px * self.pixels / self.size_px
        return Camera(width=self.pixels, height=self.pixels, focal_px=focal_px, center_px=(half, half))

    @property
    def turn(self) -> Matrix:
        """`[3, 3]` rotation from the frame's view frame to the crop's."""
        return _turn(*self._axis, self.angle_rad)

    @property
    def _axis(self) -> tuple[float, float]:
        """Right and up from the frame's axis to the middle of the crop, at unit depth."""
        (u, v), (cx, cy), focal = self.center_px, self.frame.center_px, self.frame.focal_px
        return (u - cx) / focal, (cy - v) / focal

    @property
    def homography(self) -> Matrix:
        """`[3, 3]` from homogeneous pixels of the crop to those of the frame."""
        frame = self.frame
        focal_px = frame.focal_px * self.pixels / self.size_px
        return _homography(self.turn, self.pixels / 2.0, focal_px, *frame.center_px, frame.focal_px)

    def cut(self, image: Image, out: Image) -> Image:
        """Resample `image [H, W, 3]` uint8 of the frame into `out [S, S, 3]`; black beyond the frame's edges."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image: expected [H, W, 3] uint8, got {image.shape} {image.dtype}")
        if out.shape != (self.pixels, self.pixels, 3) or out.dtype != np.uint8:
            raise ValueError(f"out: expected [{self.pixels}, {self.pixels}, 3] uint8, got {out.shape} {out.dtype}")
        _cut(image, self.homography, max(round(np.log2(self.size_px / self.pixels)), 0), out)
        return out

    def to_frame(self, params: FaceParams) -> FaceParams:
        """Take one head from the view of the crop's camera to that of the frame's: pose and light."""
        return _turned(params, self.turn.T)

    def to_crop(self, params: FaceParams) -> FaceParams:
        """Take one head from the view of the frame's camera to that of the crop's: pose and light."""
        return _turned(params, self.turn)


def _turned(params: FaceParams, turn: Matrix) -> FaceParams:
    rotation = turn @ rotation_matrix(params.rotation).astype(np.float64)
    return params.replace(
        rotation=rotation_angles(rotation.astype(np.float32)),
        translation=(turn @ params.translation).astype(np.float32),
        illumination=turned_light(params.illumination, turn),
    )


def turned_light(illumination: NDArray[np.float32], turn: Matrix) -> NDArray[np.float32]:
    """Turn harmonics `[3, 9]` of a view frame to those of another one, to which `turn [3, 3]` leads."""
    return _turn_light(np.ascontiguousarray(illumination, np.float32), np.ascontiguousarray(turn))


@numba.njit(cache=True)
def _turn_light(illumination: NDArray[np.float32], turn: Matrix) -> NDArray[np.float32]:  # pragma: no cover - compiled
    """Turn band 1 as a vector and band 2 as the symmetric matrix of its quadratic form; factors as in `sh_basis`."""
    mixed, squared, difference = MIXED, SQUARED, DIFFERENCE
    out = np.empty_like(illumination)
    form = np.empty((3, 3))
    for channel in range(illumination.shape[0]):
        light, turned = illumination[channel], out[channel]
        turned[0] = light[0]
        for row, slot in ((0, 3), (1, 1), (2, 2)):
            turned[slot] = turn[row, 0] * light[3] + turn[row, 1] * light[1] + turn[row, 2] * light[2]
        form[0, 0] = difference * light[8] - squared * light[6]
        form[1, 1] = -difference * light[8] - squared * light[6]
        form[2, 2] = 2.0 * squared * light[6]
        form[0, 1] = form[1, 0] = mixed * light[4] / 2.0
        form[1, 2] = form[2, 1] = mixed * light[5] / 2.0
        form[0, 2] = form[2, 0] = mixed * light[7] / 2.0
        moved = multiply(multiply(turn, form), turn.T)
        turned[4] = 2.0 * moved[0, 1] / mixed
        turned[5] = 2.0 * moved[1, 2] / mixed
        turned[7] = 2.0 * moved[0, 2] / mixed
        turned[6] = moved[2, 2] / (2.0 * squared)
        turned[8] = (moved[0, 0] - moved[1, 1]) / (2.0 * difference)
    return out


@numba.njit(cache=True)
def _turn(x: float, y: float, angle: float) -> Matrix:  # pragma: no cover - compiled
    """Give the rotation that brings the ray (x, y, -1) to -z on the shortest way, then turns by `angle`."""
    length = np.sqrt(x * x + y * y + 1.0)
    x, y, z = x / length, y / length, -1.0 / length
    # Rodrigues' formula between two unit vectors.
    mixed = -x * y / (1.0 - z)
    right, up = 1.0 - x * x / (1.0 - z), 1.0 - y * y / (1.0 - z)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.empty((3, 3))
    turn[0, 0], turn[0, 1], turn[0, 2] = cos * right - sin * mixed, cos * mixed - sin * up, cos * x - sin * y
    turn[1, 0], turn[1, 1], turn[1, 2] = sin * right + cos * mixed, sin * mixed + cos * up, sin * x + cos * y
    turn[2, 0], turn[2, 1], turn[2, 2] = -x, -y, -z
    return turn


@numba.njit(cache=True)
def _homography(
    turn: Matrix, half: float, focal: float, cx: float, cy: float, frame_focal: float
) -> Matrix:  # pragma: no cover - compiled
    """Lead from pixels of the crop along rays to pixels of the frame."""
    out = np.empty((3, 3))
    for row in range(3):
        # Pixel of the frame by ray of the frame, which is the turned ray of the crop.
        back = turn[0, row], turn[1, row], turn[2, row]
        out[row, 0] = back[0] / focal
        out[row, 1] = -back[1] / focal
        out[row, 2] = (back[1] - back[0]) * half / focal - back[2]
    for column in range(3):
        depth = out[2, column]
        out[0, column] = frame_focal * out[0, column] - cx * depth
        out[1, column] = -frame_focal * out[1, column] - cy * depth
        out[2, column] = -depth
    return out


@numba.njit(cache=True)
def _place(
    rotation: Matrix, translation: NDArray[np.float64]
) -> tuple[tuple[float, float], float, float] | None:  # pragma: no cover - compiled
    """Give the ray of a head's anchor, right and up at unit depth, its distance, and the head's tilt about that ray."""
    across = translation[0] + rotation[0, 0] * _ANCHOR[0] + rotation[0, 1] * _ANCHOR[1] + rotation[0, 2] * _ANCHOR[2]
    height = translation[1] + rotation[1, 0] * _ANCHOR[0] + rotation[1, 1] * _ANCHOR[1] + rotation[1, 2] * _ANCHOR[2]
    depth = translation[2] + rotation[2, 0] * _ANCHOR[0] + rotation[2, 1] * _ANCHOR[1] + rotation[2, 2] * _ANCHOR[2]
    if not depth < 0.0:
        return None
    x, y = across / -depth, height / -depth
    turn = _turn(x, y, 0.0)
    right = turn[0, 0] * rotation[0, 1] + turn[0, 1] * rotation[1, 1] + turn[0, 2] * rotation[2, 1]
    up = turn[1, 0] * rotation[0, 1] + turn[1, 1] * rotation[1, 1] + turn[1, 2] * rotation[2, 1]
    return (x, y), np.sqrt(across * across + height * height + depth * depth), np.arctan2(right, up)


def _cut(image: Image, homography: Matrix, halvings: int, out: Image) -> None:
    """Halve the part of `image` where the square lies, so that no pixel is skipped, then interpolate."""
    side, block = out.shape[0], 1 << halvings
    corners = np.array([[0.0, 0.0, 1.0], [side, 0.0, 1.0], [0.0, side, 1.0], [side, side, 1.0]]) @ homography.T
    if not (corners[:, 2] > 0.0).all():  # more than half a sphere
        out[:] = 0
        return
    places = corners[:, :2] / corners[:, 2:] / block
    limit = (image.shape[1] // block, image.shape[0] // block)
    left, top = np.clip(np.floor(places.min(0)) - 1.0, 0, limit).astype(int).tolist()
    right, bottom = np.clip(np.ceil(places.max(0)) + 1.0, 0, limit).astype(int).tolist()
    region = image[top * block : bottom * block, left * block : right * block]
    for _ in range(halvings):
        halved = np.empty((region.shape[0] // 2, region.shape[1] // 2, 3), np.uint8)
        _halve(region, halved)
        region = halved
    packed = np.zeros((region.shape[0] + 2, region.shape[1] + 2), np.uint64)
    _pack(region, packed)
    _interpolate(packed, homography, 1.0 / block, left - 1.0, top - 1.0, out)


@numba.njit(cache=True, error_model="numpy", boundscheck=False)
def _halve(image: Image, out: Image) -> None:  # pragma: no cover - compiled
    """Average 2 x 2 pixels of `image` into each of `out`."""
    two = np.uint32(2)
    for y in range(out.shape[0]):
        above, below, row = image[2 * y], image[2 * y + 1], out[y]
        for x in range(out.shape[1]):
            for k in range(3):
                total = np.uint32(above[2 * x, k]) + above[2 * x + 1, k] + below[2 * x, k] + below[2 * x + 1, k]
                row[x, k] = np.uint8((total + two) >> two)


@numba.njit(cache=True, error_model="numpy", boundscheck=False)
def _pack(image: Image, packed: NDArray[np.uint64]) -> None:  # pragma: no cover - compiled
    """Put R, G and B into 16 bits each of `packed`, inside its rim: one multiplication then does for three channels."""
    for y in range(image.shape[0]):
        row, line = image[y], packed[y + 1]
        for x in range(image.shape[1]):
            green, blue = np.uint64(row[x, 1]) << np.uint64(16), np.uint64(row[x, 2]) << np.uint64(32)
            line[x + 1] = np.uint64(row[x, 0]) | green | blue


@numba.njit(cache=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy", boundscheck=False)
def _interpolate(
    packed: NDArray[np.uint64], homography: Matrix, scale: float, left: float, top: float, out: Image
) -> None:  # pragma: no cover - compiled
    """Fill `out` from the four packed pixels around each place."""
    bottom, right = np.float32(packed.shape[0] - 1.001), np.float32(packed.shape[1] - 1.001)
    h = np.empty(9, np.float32)
    for k in range(3):
        h[k] = homography[0, k] * scale
        h[3 + k] = homography[1, k] * scale
        h[6 + k] = homography[2, k]
    shift_u, shift_v = np.float32(0.5 + left), np.float32(0.5 + top)
    zero, one, unit = np.float32(0), np.float32(1), np.float32(256)
    for y in range(out.shape[0]):
        v_crop = np.float32(y + 0.5)
        for x in range(out.shape[1]):
            u_crop = np.float32(x + 0.5)
            share = one / (h[6] * u_crop + h[7] * v_crop + h[8])
            u = min(max((h[0] * u_crop + h[1] * v_crop + h[2]) * share - shift_u, zero), right)
            v = min(max((h[3] * u_crop + h[4] * v_crop + h[5]) * share - shift_v, zero), bottom)
            i, j = int(v), int(u)
            du, dv = int((u - np.float32(j)) * unit), int((v - np.float32(i)) * unit)
            corner = (du * dv) >> 8
            total = (
                packed[i, j] * np.uint64(256 - du - dv + corner) + packed[i, j + 1] * np.uint64(du - corner)
                + packed[i + 1, j] * np.uint64(dv - corner) + packed[i + 1, j + 1] * np.uint64(corner)
                + np.uint64(0x008000800080)
            )  # fmt: skip
            out[y, x, 0] = np.uint8((total >> np.uint64(8)) & np.uint64(0xFF))
            out[y, x, 1] = np.uint8((total >> np.uint64(24)) & np.uint64(0xFF))
            out[y, x, 2] = np.uint8((total >> np.uint64(40)) & np.uint64(0xFF))
