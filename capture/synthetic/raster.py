"""Rasterize and shade whole heads in compiled loops: textured skin, eyes, hair cards with holes, glasses."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Indices = NDArray[np.int32]

SKIN, PLAIN, EYE, HAIR, LASH, TEETH, LENS, CLOTH = range(8)
"""Materials of triangles. `PLAIN` takes its colour from the vertices alone."""

TEXTURE_SHAPES = {SKIN: (727, 394), HAIR: (384, 384), LASH: (256, 256), TEETH: (128, 128), EYE: (96, 96),
                  LENS: (64, 64), CLOTH: (128, 128)}  # fmt: skip
"""Rows and columns of each material's texture."""

_offsets = np.cumsum([0, *(h * w * 4 for h, w in TEXTURE_SHAPES.values())])
ATLAS_BYTES = int(_offsets[-1])
TABLE = np.zeros((8, 3), np.int64)
"""Of each material: offset in the atlas, rows, columns."""
for (_material, _shape), _offset in zip(TEXTURE_SHAPES.items(), _offsets, strict=False):
    TABLE[_material] = (_offset, *_shape)

IS_THIN = np.zeros(8, np.bool_)
IS_THIN[[LASH, LENS, CLOTH]] = True
"""Materials seen from both sides."""
HAS_HOLES = np.zeros(8, np.bool_)
HAS_HOLES[[HAIR, LASH, LENS]] = True
"""Materials whose texture says how opaque they are."""

_codes = np.arange(256) / 255.0
TO_LINEAR = np.where(_codes <= 0.04045, _codes / 12.92, ((_codes + 0.055) / 1.055) ** 2.4).astype(np.float32)
"""Decodes 8-bit sRGB."""

_bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])
DITHER = ((_bayer + 0.5) / 16).astype(np.float32)


def texture(atlas: Bytes, material: int) -> Bytes:
    """Give the view `[h, w, 4]` of one material's texture in an atlas `[ATLAS_BYTES]`."""
    start, height, width = TABLE[material]
    return atlas[start : start + height * width * 4].reshape(height, width, 4)


@numba.njit(inline="always")
def _narrow(
    row: np.float32, step: np.float32, over: np.float32, low: np.float32, high: np.float32
) -> tuple[np.float32, np.float32]:  # pragma: no cover - compiled
    """Narrow a span to where a weight, `row` at its start and rising by `step`, is not negative; `over` is 1 / step."""
    if step > 0.0:
        low = max(low, -row * over)
    elif step < 0.0:
        high = min(high, -row * over)
    elif row < 0.0:
        high = np.float32(-1.0)
    return low, high


@numba.njit(inline="always")
def _alpha(
    atlas: Bytes, material: int, uv: Array, wa: np.float32, wb: np.float32, wc: np.float32
) -> np.float32:  # pragma: no cover - compiled
    """Look up the opacity at weights of a triangle whose corners lie at `uv [3, 2]`."""
    rows, columns = TABLE[material, 1], TABLE[material, 2]
    column = int((wa * uv[0, 0] + wb * uv[1, 0] + wc * uv[2, 0]) * columns)
    row = int((wa * uv[0, 1] + wb * uv[1, 1] + wc * uv[2, 1]) * rows)
    column, row = min(max(column, 0), columns - 1), min(max(row, 0), rows - 1)
    return np.float32(atlas[TABLE[material, 0] + (row * columns + column) * 4 + 3] * np.float32(1 / 255))


@numba.njit(cache=True, fastmath={"contract", "arcp", "nsz"}, error_model="numpy", boundscheck=False)
def draw(
    pixels: Array,
    inverse_depth: Array,
    triangles: Indices,
    materials: Bytes,
    uv: Array,
    atlas: Bytes,
    depth: Array,
    face: Indices,
    weights: Array,
) -> None:  # pragma: no cover - compiled
    """Find what every sample sees: fill `depth [h, w]` (inverse metres), `face [h, w]`, `weights [h, w, 2]`.

    `pixels [V, 2]` are in samples, `uv [F, 3, 2]` belong to corners. Holes are decided per sample by an ordered dither,
    so that averaging samples gives opacity whatever the order of the triangles.
    """
    height, width = depth.shape
    depth[:] = 0.0
    face[:] = -1
    zero, one, half = np.float32(0.0), np.float32(1.0), np.float32(0.5)
    for f in range(triangles.shape[0]):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        ia, ib, ic = inverse_depth[a], inverse_depth[b], inverse_depth[c]
        if ia <= 0.0 or ib <= 0.0 or ic <= 0.0:
            continue
        ax, ay = pixels[a, 0], pixels[a, 1]
        bx, by = pixels[b, 0], pixels[b, 1]
        cx, cy = pixels[c, 0], pixels[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        material = materials[f]
        if not area < -1e-9:
            if not (area > 1e-9 and IS_THIN[material]):
                continue
        left = int(np.ceil(max(min(ax, bx, cx) - 0.5, 0.0)))
        right = int(np.floor(min(max(ax, bx, cx) - 0.5, width - 1.0)))
        top = int(np.ceil(max(min(ay, by, cy) - 0.5, 0.0)))
        bottom = int(np.floor(min(max(ay, by, cy) - 0.5, height - 1.0)))
        if left > right or top > bottom:
            continue
        holes = HAS_HOLES[material]
        scale = one / area
        step_a, step_b = (by - cy) * scale, (cy - ay) * scale
        down_a, down_b = (cx - bx) * scale, (ax - cx) * scale
        step_c = -step_a - step_b
        px, py = left + half, top + half
        first_a = ((bx - px) * (cy - py) - (by - py) * (cx - px)) * scale
        first_b = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) * scale
        # Each row's span is where none of the three weights is negative: no sample outside it is looked at.
        over_a = one / step_a if step_a != zero else zero
        over_b = one / step_b if step_b != zero else zero
        over_c = one / step_c if step_c != zero else zero
        for y in range(top, bottom + 1):
            down = np.float32(y - top)
            row_a, row_b = first_a + down * down_a, first_b + down * down_b
            row_c = one - row_a - row_b
            low, high = zero, np.float32(right - left)
            low, high = _narrow(row_a, step_a, over_a, low, high)
            low, high = _narrow(row_b, step_b, over_b, low, high)
            low, high = _narrow(row_c, step_c, over_c, low, high)
            for k in range(int(np.ceil(low)), int(np.floor(high)) + 1):
                x = left + k
                wa = row_a + np.float32(k) * step_a
                wb = row_b + np.float32(k) * step_b
                wc = one - wa - wb
                inverse = wa * ia + wb * ib + wc * ic
                if inverse > depth[y, x]:
                    pa, pb = wa * ia / inverse, wb * ib / inverse
                    if holes:
                        alpha = _alpha(atlas, material, uv[f], pa, pb, one - pa - pb)
                        if alpha < DITHER[(y + f) & 3, (x + (f >> 2)) & 3]:
                            continue
                    depth[y, x] = inverse
                    face[y, x] = f
                    weights[y, x, 0] = pa
                    weights[y, x, 1] = pb


@numba.njit(cache=True, fastmath={"contract", "arcp", "nsz"}, error_model="numpy", boundscheck=False)
def shade(
    face: Indices,
    weights: Array,
    triangles: Indices,
    materials: Bytes,
    uv: Array,
    atlas: Bytes,
    surface: Array,
    eyes: Array,
    eye_frames: Array,
    glints: Array,
    samples: int,
    is_smooth: bool,
    background: Array,
    output: Array,
) -> None:  # pragma: no cover - compiled
    """Colour `samples` x `samples` of the visibility buffer into each pixel of `output [H, W, 3]`, linear light.

    `surface [V, 9]` holds irradiance over pi, reflections, and colour (or place on the unit eyeball).
    `eyes [8]`: radius of the iris and of the pupil (sines), colour of the whites, redness, darkness under the lids,
    softness. `eye_frames [2, 3, 3]` turn the unit eyeballs into the view frame, `glints [L, 8]` are half vectors,
    colours, cosine of their size and strength. With `is_smooth` textures are interpolated: for heads so large that
    texels show.
    """
    height, width = output.shape[0], output.shape[1]
    share = np.float32(1.0 / (samples * samples))
    rows_of_skin, columns_of_skin = TABLE[SKIN, 1], TABLE[SKIN, 2]  # the first in the atlas
    for i in range(height):
        for j in range(width):
            red = green = blue = np.float32(0.0)
            open_share = np.float32(0.0)
            for s in range(samples * samples):
                y, x = i * samples + s // samples, j * samples + s % samples
                f = face[y, x]
                if f < 0:
                    open_share += share
                    continue
                a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
                wa, wb = weights[y, x, 0], weights[y, x, 1]
                wc = np.float32(1.0) - wa - wb
                material = materials[f]
                lr = wa * surface[a, 0] + wb * surface[b, 0] + wc * surface[c, 0]
                lg = wa * surface[a, 1] + wb * surface[b, 1] + wc * surface[c, 1]
                lb = wa * surface[a, 2] + wb * surface[b, 2] + wc * surface[c, 2]
                if material == SKIN:
                    u = (wa * uv[f, 0, 0] + wb * uv[f, 1, 0] + wc * uv[f, 2, 0]) * columns_of_skin
                    v = (wa * uv[f, 0, 1] + wb * uv[f, 1, 1] + wc * uv[f, 2, 1]) * rows_of_skin
                    if is_smooth:
                        tr, tg, tb = _bilinear(atlas, 0, rows_of_skin, columns_of_skin, u, v)
                    else:
                        start = (min(int(v), rows_of_skin - 1) * columns_of_skin + min(int(u), columns_of_skin - 1)) * 4
                        tr, tg, tb = TO_LINEAR[atlas[start]], TO_LINEAR[atlas[start + 1]], TO_LINEAR[atlas[start + 2]]
                    red += tr * lr + wa * surface[a, 3] + wb * surface[b, 3] + wc * surface[c, 3]
                    green += tg * lg + wa * surface[a, 4] + wb * surface[b, 4] + wc * surface[c, 4]
                    blue += tb * lb + wa * surface[a, 5] + wb * surface[b, 5] + wc * surface[c, 5]
                    continue
                tr = wa * surface[a, 6] + wb * surface[b, 6] + wc * surface[c, 6]
                tg = wa * surface[a, 7] + wb * surface[b, 7] + wc * surface[c, 7]
                tb = wa * surface[a, 8] + wb * surface[b, 8] + wc * surface[c, 8]
                if material == EYE:
                    r, g, b_ = _eye(tr, tg, tb, lr, lg, lb, surface[a, 3] > 0.5, atlas, eyes, eye_frames, glints)
                    red, green, blue = red + r, green + g, blue + b_
                    continue
                if material != PLAIN:
                    rows, columns = TABLE[material, 1], TABLE[material, 2]
                    u = (wa * uv[f, 0, 0] + wb * uv[f, 1, 0] + wc * uv[f, 2, 0]) * columns
                    v = (wa * uv[f, 0, 1] + wb * uv[f, 1, 1] + wc * uv[f, 2, 1]) * rows
                    if is_smooth and material != CLOTH:
                        cr, cg, cb = _bilinear(atlas, TABLE[material, 0], rows, columns, u, v)
                    else:
                        if material == CLOTH:
                            u, v = u % columns, v % rows
                        column = min(max(int(u), 0), columns - 1)
                        row = min(max(int(v), 0), rows - 1)
                        start = TABLE[material, 0] + (row * columns + column) * 4
                        cr, cg, cb = TO_LINEAR[atlas[start]], TO_LINEAR[atlas[start + 1]], TO_LINEAR[atlas[start + 2]]
                    tr, tg, tb = tr * cr, tg * cg, tb * cb
                red += tr * lr + wa * surface[a, 3] + wb * surface[b, 3] + wc * surface[c, 3]
                green += tg * lg + wa * surface[a, 4] + wb * surface[b, 4] + wc * surface[c, 4]
                blue += tb * lb + wa * surface[a, 5] + wb * surface[b, 5] + wc * surface[c, 5]
            output[i, j, 0] = red * share + open_share * background[i, j, 0]
            output[i, j, 1] = green * share + open_share * background[i, j, 1]
            output[i, j, 2] = blue * share + open_share * background[i, j, 2]


@numba.njit(cache=True, fastmath={"contract", "arcp", "nsz"}, error_model="numpy", boundscheck=False, inline="always")
def _bilinear(
    atlas: Bytes, start: int, rows: int, columns: int, u: float, v: float
) -> tuple[float, float, float]:  # pragma: no cover - compiled
    u, v = min(max(u - 0.5, 0.0), columns - 1.001), min(max(v - 0.5, 0.0), rows - 1.001)
    x, y = int(u), int(v)
    du, dv = u - x, v - y
    place = start + (y * columns + x) * 4
    below = place + columns * 4
    wa, wb, wc, wd = (1 - du) * (1 - dv), du * (1 - dv), (1 - du) * dv, du * dv
    return (
        wa * TO_LINEAR[atlas[place]] + wb * TO_LINEAR[atlas[place + 4]]
        + wc * TO_LINEAR[atlas[below]] + wd * TO_LINEAR[atlas[below + 4]],
        wa * TO_LINEAR[atlas[place + 1]] + wb * TO_LINEAR[atlas[place + 5]]
        + wc * TO_LINEAR[atlas[below + 1]] + wd * TO_LINEAR[atlas[below + 5]],
        wa * TO_LINEAR[atlas[place + 2]] + wb * TO_LINEAR[atlas[place + 6]]
        + wc * TO_LINEAR[atlas[below + 2]] + wd * TO_LINEAR[atlas[below + 6]],
    )  # fmt: skip


@numba.njit(cache=True, fastmath={"contract", "arcp", "nsz"}, error_model="numpy", boundscheck=False)
def _eye(
    qx: float,
    qy: float,
    qz: float,
    lr: float,
    lg: float,
    lb: float,
    is_right: bool,
    atlas: Bytes,
    eyes: Array,
    eye_frames: Array,
    glints: Array,
) -> tuple[float, float, float]:  # pragma: no cover - compiled
    length = 1.0 / np.sqrt(qx * qx + qy * qy + qz * qz + 1e-12)
    qx, qy, qz = qx * length, qy * length, qz * length
    away = np.sqrt(qx * qx + qy * qy)  # sine of the angle from the line of sight
    iris, pupil, soft = eyes[0], eyes[1], eyes[7]
    # Whites: warmer and redder towards the corners.
    red_share = eyes[5] * min(max((away - iris) / (1.0 - iris), 0.0), 1.0)
    r, g, b = eyes[2], eyes[3] * (1.0 - 0.45 * red_share), eyes[4] * (1.0 - 0.5 * red_share)
    if qz > 0.0 and away < iris + soft:
        # The pupil of the texture is 0.33 of its radius: stretch it to this one.
        t = away / iris
        p = pupil / iris
        if t < p:
            t = t / p * 0.33
        else:
            t = 0.33 + (t - p) / (1.0 - p) * 0.67
        t = min(t, 0.97)
        rows, columns = TABLE[EYE, 1], TABLE[EYE, 2]
        u = (0.5 + 0.5 * t * qx / max(away, 1e-6)) * columns
        v = (0.5 - 0.5 * t * qy / max(away, 1e-6)) * rows
        place = TABLE[EYE, 0] + (min(int(v), rows - 1) * columns + min(int(u), columns - 1)) * 4
        edge = min(max((iris + soft - away) / (2.0 * soft), 0.0), 1.0)
        edge = edge * edge * (3.0 - 2.0 * edge)
        limbus = 1.0 - 0.5 * min(max((away - 0.8 * iris) / (0.2 * iris), 0.0), 1.0)
        r = r * (1 - edge) + edge * limbus * TO_LINEAR[atlas[place]]
        g = g * (1 - edge) + edge * limbus * TO_LINEAR[atlas[place + 1]]
        b = b * (1 - edge) + edge * limbus * TO_LINEAR[atlas[place + 2]]
    frame = eye_frames[1 if is_right else 0]
    nx = frame[0, 0] * qx + frame[0, 1] * qy + frame[0, 2] * qz
    ny = frame[1, 0] * qx + frame[1, 1] * qy + frame[1, 2] * qz
    nz = frame[2, 0] * qx + frame[2, 1] * qy + frame[2, 2] * qz
    r, g, b = r * lr, g * lg, b * lb
    for k in range(glints.shape[0]):
        toward = nx * glints[k, 0] + ny * glints[k, 1] + nz * glints[k, 2]
        strength = (toward - glints[k, 6]) / (1.0 - glints[k, 6])
        if strength > 0.0:
            strength = min(2.5 * strength, 1.0) * glints[k, 7]
            r, g, b = r + strength * glints[k, 3], g + strength * glints[k, 4], b + strength * glints[k, 5]
    return r, g, b
