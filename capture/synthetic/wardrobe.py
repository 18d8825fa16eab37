"""What is made by formula and not from assets: shoulders with clothes, and glasses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Indices = NDArray[np.int32]

AROUND = 28
"""Vertices of each ring."""
RIM = 28
"""Points of a glass' rim."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A mesh made by formula, in the head frame."""

    vertices: Array
    """`[N, 3]`"""
    normals: Array
    """`[N, 3]` for shading."""
    triangles: Indices
    uv: Array
    """`[N, 2]`"""


def shoulders(rng: np.random.Generator, neck: Array) -> Piece:
    """Loft a trunk from the base of the neck, whose ring of vertices is `neck [N, 3]`, to below the shoulders."""
    middle = neck.mean(0)
    width, depth = np.abs(neck[:, 0] - middle[0]).max(), np.abs(neck[:, 2] - middle[2]).max()
    collar = rng.uniform(0.95, 1.25)
    shoulder = rng.uniform(0.17, 0.24)
    drop = rng.uniform(0.02, 0.06)
    rise = rng.uniform(-0.012, 0.012)
    profile = [  # half width, half depth, height below the neck's base
        (width * collar, depth * collar, rise), (width * collar * 1.12, depth * collar * 1.1, rise - 0.008),
        (0.45 * shoulder + 0.02, 0.075, -0.35 * drop), (0.8 * shoulder, 0.09, -0.8 * drop),
        (shoulder, 0.10, -drop - 0.03), (shoulder * 1.04, 0.12, -drop - 0.12), (shoulder * 0.95, 0.13, -0.45),
    ]  # fmt: skip
    angle = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    rings = [
        middle + np.stack([w * np.cos(angle), np.full(AROUND, h), d * np.sin(angle) - 0.012 * (k > 1)], -1)
        for k, (w, d, h) in enumerate(profile)
    ]
    points = np.concatenate(rings)
    normals = np.concatenate([
        np.stack([np.cos(angle) / w, np.full(AROUND, 6.0 if 1 < k < 5 else 1.0), np.sin(angle) / d], -1)
        for k, (w, d, _) in enumerate(profile)
    ])  # fmt: skip
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    uv = np.stack([points[:, 0] * 4.0 + 0.3 * points[:, 2], points[:, 1] * 4.0], -1)
    return Piece(
        points.astype(np.float32), normals.astype(np.float32), _loft(len(profile), AROUND), uv.astype(np.float32)
    )


def cloth(rng: np.random.Generator) -> Bytes:
    """Paint a cloth `[128, 128, 4]`, sRGB: plain, striped, checked or mottled."""
    rows, columns = np.mgrid[0:128, 0:128]
    color, second = _dye(rng), _dye(rng)
    kind = rng.random()
    share = np.zeros((128, 128))
    period = int(rng.choice([4, 8, 16, 32]))
    if kind < 0.2:
        share = (rows // (period // 2)) % 2.0
    elif kind < 0.3:
        share = (columns // (period // 2)) % 2.0
    elif kind < 0.4:
        share = ((rows // (period // 2)) % 2 + (columns // (period // 2)) % 2) / 2.0
    elif kind < 0.5:
        share = (rng.random((16, 16)) < 0.4).repeat(8, 0).repeat(8, 1).astype(float)
    image = color + share[..., None] * (second - color) * rng.uniform(0.2, 1.0)
    image = image + rng.normal(0, rng.uniform(1, 10), (128, 128, 1))
    return np.concatenate([np.clip(image, 0, 255), np.full((128, 128, 1), 255.0)], -1).astype(np.uint8)


def _dye(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a colour of cloth: mostly dull or dark."""
    grey = rng.uniform(10, 235)
    return np.clip(grey + rng.normal(0.0, rng.choice([5.0, 20.0, 60.0], p=[0.5, 0.3, 0.2]), 3), 5, 245)


def glasses(rng: np.random.Generator, centers: Array, front_m: float, ears_m: float) -> tuple[Piece, Piece]:
    """Make frame and lenses for eyes at `centers [2, 3]`; `front_m` is the plane, `ears_m` half the head's width."""
    half = np.abs(centers[:, 0]).mean()
    height = centers[:, 1].mean() - rng.uniform(0.0, 0.006)
    width = rng.uniform(0.75, 1.0) * max(min(0.030, half - 0.003), 0.015)
    tall = width * rng.uniform(0.62, 1.0)
    power = rng.uniform(2.0, 4.5)
    thick = rng.choice([rng.uniform(0.0005, 0.0010), rng.uniform(0.0012, 0.0030)])
    wrap = rng.uniform(0.5, 2.5)
    angle = np.linspace(0, 2 * np.pi, RIM, endpoint=False)
    cosine, sine = np.cos(angle), np.sin(angle)
    ring = np.stack(
        [width * np.sign(cosine) * np.abs(cosine) ** (2 / power), tall * np.sign(sine) * np.abs(sine) ** (2 / power)],
        -1,
    )
    shift = half + rng.uniform(0.0, 0.003)

    def bend(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack([points, front_m - wrap * points[:, 0] ** 2])

    tubes, lenses = [], []
    rimless = rng.random() < 0.12
    for side in (1.0, -1.0):
        rim = bend(ring * (side, 1.0) + (side * shift, height))
        if not rimless:
            tubes.append(_tube(rim, thick, thick * 1.4, closed=True))
        lenses.append(rim)
        hinge = bend(np.array([[side * (shift + width), height + 0.35 * tall]]))[0]
        temple = np.array([hinge, [side * (ears_m + 0.001), hinge[1] + 0.002, hinge[2] - 0.045],
                           [side * (ears_m + 0.001), hinge[1] + 0.001, -0.005]])  # fmt: skip
        tubes.append(_tube(temple, thick * 0.8, thick * 1.6, closed=False))
    inner = shift - width
    bridge = bend(
        np.stack([np.linspace(-inner, inner, 5), height + 0.3 * tall + 0.0015 * np.array([0, 1, 1.3, 1, 0])], -1)
    )
    tubes.append(_tube(bridge, thick, thick * 1.3, closed=False))
    return _join(tubes), _discs(lenses)


def lens(rng: np.random.Generator) -> Bytes:
    """Paint what a lens reflects `[64, 64, 4]`: nearly clear, sometimes tinted, sometimes with a window's glare."""
    rows, columns = np.mgrid[0:64, 0:64] / 64.0
    opacity = np.full((64, 64), rng.uniform(0.0, 0.07) if rng.random() < 0.85 else rng.uniform(0.2, 0.9))
    color = np.zeros((64, 64, 3)) + rng.uniform(10, 70)
    if rng.random() < 0.45:
        angle, place, width = rng.uniform(-0.6, 0.6), rng.uniform(0.0, 1.0), rng.uniform(0.03, 0.25)
        along = columns * np.cos(angle) + rows * np.sin(angle)
        inside = (np.abs(along - place) < width) & (np.abs(rows - rng.uniform(0.2, 0.8)) < rng.uniform(0.1, 0.5))
        opacity = np.where(inside, rng.uniform(0.15, 0.75), opacity)
        color = np.where(inside[..., None], rng.uniform(170, 255, 3), color)
    return np.concatenate([color, 255.0 * opacity[..., None]], -1).astype(np.uint8)


def _loft(rings: int, around: int) -> Indices:
    """Join rings of equal size into triangles seen from both sides."""
    here = np.arange(around)
    after = (here + 1) % around
    faces = []
    for k in range(rings - 1):
        a, b = k * around, (k + 1) * around
        faces += [np.stack([a + here, b + here, b + after], -1), np.stack([a + here, b + after, a + after], -1)]
    return np.concatenate(faces).astype(np.int32)


def _tube(points: NDArray[np.float64], high: float, deep: float, *, closed: bool) -> Piece:
    """Sweep a rectangle along a polyline; both windings, so that it need not know its inside."""
    count = len(points)
    after, before = np.roll(points, -1, 0), np.roll(points, 1, 0)
    if not closed:
        after[-1], before[0] = points[-1], points[0]
    along = after - before
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    forward = np.where(np.abs(along[:, 2:]) > 0.7, np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    side = np.cross(along, forward)
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
    out = np.cross(side, along)
    offsets = [side * high + out * deep, -side * high + out * deep, -side * high - out * deep, side * high - out * deep]
    corners = np.stack([points + offset for offset in offsets], 1).reshape(-1, 3)
    normals = np.stack(offsets, 1).reshape(-1, 3)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    faces = []
    for k in range(count if closed else count - 1):
        a, b = 4 * k, 4 * ((k + 1) % count)
        for s in range(4):
            t = (s + 1) % 4
            faces += [[a + s, b + s, b + t], [a + s, b + t, a + t]]
    both = np.array(faces)
    triangles = np.concatenate([both, both[:, ::-1]]).astype(np.int32)
    return Piece(
        corners.astype(np.float32), normals.astype(np.float32), triangles, np.zeros((len(corners), 2), np.float32)
    )


def _join(pieces: list[Piece]) -> Piece:
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    return Piece(
        np.concatenate([piece.vertices for piece in pieces]),
        np.concatenate([piece.normals for piece in pieces]),
        np.concatenate([piece.triangles + start for piece, start in zip(pieces, starts, strict=False)]).astype(
            np.int32
        ),
        np.concatenate([piece.uv for piece in pieces]),
    )


def _discs(rims: list[NDArray[np.float64]]) -> Piece:
    """Fill rims with fans."""
    pieces = []
    for rim in rims:
        points = np.concatenate([rim.mean(0, keepdims=True), rim])
        low, high = points.min(0), points.max(0)
        uv = ((points - low) / np.maximum(high - low, 1e-6))[:, :2] * (1.0, -1.0) + (0.0, 1.0)
        here = np.arange(RIM)
        triangles = np.stack([np.zeros(RIM, int), 1 + here, 1 + (here + 1) % RIM], -1)
        normals = np.tile([0.0, 0.0, 1.0], (len(points), 1))
        pieces.append(
            Piece(
                points.astype(np.float32), normals.astype(np.float32), triangles.astype(np.int32), uv.astype(np.float32)
            )
        )
    return _join(pieces)
