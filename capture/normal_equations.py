"""The compiled inner loop of fitting: normal equations of the landmarks."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

MIN_FACING = 0.1
"""Landmarks on skin that turns away slide along the outline: their weight falls with the cosine, down to this."""
CLOSED_WEIGHT = 0.02
"""Share that remains of an iris's weight behind closed lids, where the detector invents one."""


@numba.njit(
    cache=True, nogil=True, error_model="numpy", boundscheck=False, fastmath={"contract", "arcp", "nsz", "reassoc"}
)
def accumulate(  # noqa: C901 - one pass over the landmarks, nothing is stored between steps
    observed: Array,  # [478, 2] rays: x / depth, y / depth
    precision: Array,  # [478] 1 / m^2
    pose_precision: Array,  # [478] 1 / m^2, as far as pose is concerned
    normals: Array,  # [478, 3]
    neutral: Array,  # [478, 3]
    eye_centers: Array,  # [2, 3]
    eye_of_landmark: Indices,  # [478]
    look_basis: Array,  # [2, 4, 478, 3]
    starts: Indices,
    shapes: Indices,
    offsets: Array,
    slot_of_landmark: Indices,  # [478] row of a landmark that belongs to a pair, -1 for the others
    pairs: Indices,  # [P, 2] slots
    pair_precision: Array,  # [P] 1 / m^2
    rotation: Array,
    translation: Array,
    gaze: Array,  # [4] yaw, pitch, left minus right of both
    weights: Array,  # [shapes]
    openness: Array,  # [2]
    huber_m: float,
    hessian: Array,
    gradient: Array,
    pose_hessian: Array,
    pose_gradient: Array,
) -> float:  # pragma: no cover - compiled
    """Fill the Gauss-Newton `hessian [n, n]` and `gradient [n]` of half the weighted squared error, n = 10 + shapes.

    Pairs of landmarks are also held by their difference. `pose_hessian [6, 6]` and `pose_gradient [6]` are those of
    pose alone under `pose_precision`. Residuals are metres at the head's depth. Gives their root mean square, weighted.
    """
    size = hessian.shape[0]
    hessian[:] = 0.0
    gradient[:] = 0.0
    pose_hessian[:] = 0.0
    pose_gradient[:] = 0.0
    turns = np.zeros((2, 3, 3))
    by_yaw = np.zeros((2, 3, 3))
    by_pitch = np.zeros((2, 3, 3))
    angles = np.zeros((2, 2))
    for eye in range(2):
        sign = 0.5 if eye == 0 else -0.5
        yaw, pitch = gaze[0] + sign * gaze[2], gaze[1] + sign * gaze[3]
        angles[eye, 0], angles[eye, 1] = yaw, pitch
        cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
        _fill(turns[eye], cy, -sy * sp, sy * cp, 0.0, cp, sp, -sy, -cy * sp, cy * cp)
        _fill(by_yaw[eye], -sy, -cy * sp, cy * cp, 0.0, 0.0, 0.0, -cy, sy * sp, -sy * cp)
        _fill(by_pitch[eye], 0.0, -sy * cp, -sy * sp, 0.0, -sp, cp, 0.0, -cy * cp, -cy * sp)
    slots = slot_of_landmark.max() + 1
    pair_rows = np.zeros((slots, 2, size))
    pair_residuals = np.zeros((slots, 2))
    pair_openness = np.ones(slots)
    head = np.zeros(3)
    jacobian = np.zeros((2, size))
    columns = np.zeros(size, np.int64)
    gaze_move = np.zeros((4, 3))
    total, total_weight = 0.0, 0.0
    for i in range(observed.shape[0]):
        eye = eye_of_landmark[i]
        weight = precision[i]
        if weight == 0.0 and slot_of_landmark[i] < 0:
            continue
        gaze_move[:] = 0.0
        count = 6
        for k in range(6):
            columns[k] = k
        if eye >= 0:
            weight *= max(openness[eye], CLOSED_WEIGHT)
            sign = 0.5 if eye == 0 else -0.5
            for r in range(3):
                value, dyaw, dpitch = 0.0, 0.0, 0.0
                for c in range(3):
                    arm = neutral[i, c] - eye_centers[eye, c]
                    value += turns[eye, r, c] * arm
                    dyaw += by_yaw[eye, r, c] * arm
                    dpitch += by_pitch[eye, r, c] * arm
                head[r] = eye_centers[eye, r] + value
                gaze_move[0, r], gaze_move[1, r] = dyaw, dpitch
                gaze_move[2, r], gaze_move[3, r] = sign * dyaw, sign * dpitch
        else:
            for r in range(3):
                head[r] = neutral[i, r]
            for k in range(starts[i], starts[i + 1]):
                for r in range(3):
                    head[r] += weights[shapes[k]] * offsets[k, r]
            for e in range(2):
                sign = 0.5 if e == 0 else -0.5
                by_y = 0 if angles[e, 0] > 0 else 1
                by_p = 2 if angles[e, 1] > 0 else 3
                for r in range(3):
                    dyaw, dpitch = look_basis[e, by_y, i, r], look_basis[e, by_p, i, r]
                    head[r] += angles[e, 0] * dyaw + angles[e, 1] * dpitch
                    gaze_move[0, r] += dyaw
                    gaze_move[1, r] += dpitch
                    gaze_move[2, r] += sign * dyaw
                    gaze_move[3, r] += sign * dpitch
        moved = False
        for k in range(4):
            for r in range(3):
                moved |= abs(gaze_move[k, r]) > 1e-9
        x = rotation[0, 0] * head[0] + rotation[0, 1] * head[1] + rotation[0, 2] * head[2]
        y = rotation[1, 0] * head[0] + rotation[1, 1] * head[1] + rotation[1, 2] * head[2]
        z = rotation[2, 0] * head[0] + rotation[2, 1] * head[1] + rotation[2, 2] * head[2]
        px, py, pz = x + translation[0], y + translation[1], z + translation[2]
        depth = max(-pz, 0.02)
        nx = rotation[0, 0] * normals[i, 0] + rotation[0, 1] * normals[i, 1] + rotation[0, 2] * normals[i, 2]
        ny = rotation[1, 0] * normals[i, 0] + rotation[1, 1] * normals[i, 1] + rotation[1, 2] * normals[i, 2]
        nz = rotation[2, 0] * normals[i, 0] + rotation[2, 1] * normals[i, 1] + rotation[2, 2] * normals[i, 2]
        facing = -(nx * px + ny * py + nz * pz) / np.sqrt(px * px + py * py + pz * pz)
        weight *= max(facing, MIN_FACING)
        pose_weight = pose_precision[i] * max(facing, MIN_FACING)
        # Residual (predicted minus observed ray) times depth: metres at the head.
        rx, ry = px - observed[i, 0] * depth, py - observed[i, 1] * depth
        sx, sy_ = px / depth, py / depth
        error = np.sqrt(rx * rx + ry * ry)
        total += weight * error * error
        total_weight += weight
        if error > huber_m:
            weight *= huber_m / error
            pose_weight *= huber_m / error
        # d(ray * depth) = (dx + sx * dz, dy + sy * dz), with depth = -z held in the scale.
        _project(jacobian, 0, 0.0, -z, y, sx, sy_)
        _project(jacobian, 1, z, 0.0, -x, sx, sy_)
        _project(jacobian, 2, -y, x, 0.0, sx, sy_)
        _project(jacobian, 3, 1.0, 0.0, 0.0, sx, sy_)
        _project(jacobian, 4, 0.0, 1.0, 0.0, sx, sy_)
        _project(jacobian, 5, 0.0, 0.0, 1.0, sx, sy_)
        for a in range(6):
            ja0, ja1 = pose_weight * jacobian[0, a], pose_weight * jacobian[1, a]
            pose_gradient[a] += ja0 * rx + ja1 * ry
            for b in range(6):
                pose_hessian[a, b] += ja0 * jacobian[0, b] + ja1 * jacobian[1, b]
        if moved:
            for k in range(4):
                _turned(jacobian, count, rotation, gaze_move[k], sx, sy_)
                columns[count] = 6 + k
                count += 1
        if eye < 0:
            for k in range(starts[i], starts[i + 1]):
                _turned(jacobian, count, rotation, offsets[k], sx, sy_)
                columns[count] = 10 + shapes[k]
                count += 1
        slot = slot_of_landmark[i]
        if slot >= 0:
            pair_residuals[slot, 0], pair_residuals[slot, 1] = rx, ry
            pair_openness[slot] = max(openness[eye], CLOSED_WEIGHT) if eye >= 0 else 1.0
            for a in range(count):
                pair_rows[slot, 0, columns[a]] = jacobian[0, a]
                pair_rows[slot, 1, columns[a]] = jacobian[1, a]
        for a in range(count):
            ja0, ja1 = weight * jacobian[0, a], weight * jacobian[1, a]
            ca = columns[a]
            gradient[ca] += ja0 * rx + ja1 * ry
            for b in range(a, count):  # columns rise, so this is the upper triangle
                hessian[ca, columns[b]] += ja0 * jacobian[0, b] + ja1 * jacobian[1, b]
    row = np.zeros(size)
    for p in range(pairs.shape[0]):
        first, second = pairs[p, 0], pairs[p, 1]
        weight = pair_precision[p] * min(pair_openness[first], pair_openness[second])
        for axis in range(2):
            residual = pair_residuals[first, axis] - pair_residuals[second, axis]
            for a in range(size):
                row[a] = pair_rows[first, axis, a] - pair_rows[second, axis, a]
            for a in range(size):
                if row[a] != 0.0:
                    gradient[a] += weight * row[a] * residual
                    for b in range(a, size):
                        hessian[a, b] += weight * row[a] * row[b]
    for a in range(size):
        for b in range(a):
            hessian[a, b] = hessian[b, a]
    return np.sqrt(total / total_weight)


@numba.njit(cache=True, inline="always")
def _project(
    jacobian: Array, column: int, dx: float, dy: float, dz: float, sx: float, sy: float
) -> None:  # pragma: no cover - compiled
    jacobian[0, column] = dx + sx * dz
    jacobian[1, column] = dy + sy * dz


@numba.njit(cache=True, inline="always")
def _turned(
    jacobian: Array, column: int, rotation: Array, move: Array, sx: float, sy: float
) -> None:  # pragma: no cover - compiled
    dx = rotation[0, 0] * move[0] + rotation[0, 1] * move[1] + rotation[0, 2] * move[2]
    dy = rotation[1, 0] * move[0] + rotation[1, 1] * move[1] + rotation[1, 2] * move[2]
    dz = rotation[2, 0] * move[0] + rotation[2, 1] * move[1] + rotation[2, 2] * move[2]
    jacobian[0, column] = dx + sx * dz
    jacobian[1, column] = dy + sy * dz


@numba.njit(cache=True)
def _fill(
    matrix: Array, a: float, b: float, c: float, d: float, e: float, f: float, g: float, h: float, i: float
) -> None:  # pragma: no cover - compiled
    matrix[0, 0], matrix[0, 1], matrix[0, 2] = a, b, c
    matrix[1, 0], matrix[1, 1], matrix[1, 2] = d, e, f
    matrix[2, 0], matrix[2, 1], matrix[2, 2] = g, h, i
