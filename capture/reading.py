"""What the regressor says of one frame, taken from the camera of its crop to that of the frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from capture.crop import Crop
from models.camera import rotation_angles
from models.framing import translation_in_crop
from models.params import EXPRESSION_NAMES, EXPRESSION_REACH, FaceParams

Array = NDArray[np.float32]

LOOKS = np.array([index for index, name in enumerate(EXPRESSION_NAMES) if name.startswith("eyeLook")])
"""The weights that the face model derives from gaze: zero in `FaceParams`."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One frame as the network saw it, before anything is smoothed or learned."""

    params: FaceParams
    """Everything of `FaceParams`, pose and light in the view of the frame's camera."""
    confidence: float
    """0 to 1: whether the crop shows a face, well centred and mostly visible."""
    geometry_levels: Array
    """`[K1 + K2]` coefficients of the corrective geometry."""
    reflectance_levels: Array
    """`[K1r + K2r]` coefficients of the corrective reflectance."""


def read_values(values: Array, fields: dict[str, slice], crop: Crop) -> Reading:
    """Give an engine's answer `[D]`, in the order of `RegressorConfig.fields`, for `crop` its meaning."""
    part = {name: values[where] for name, where in fields.items()}
    rotation = rotation_from_six(part["rotation"])
    place = translation_in_crop(part["place"].astype(np.float64), rotation, crop.camera.focal_px, crop.pixels)
    expression = np.clip(part["expression"], 0.0, EXPRESSION_REACH)
    expression[LOOKS] = 0.0
    seen = FaceParams(
        identity=part["identity"].copy(),
        expression=expression,
        reflectance=part["reflectance"].copy(),
        illumination=part["illumination"].reshape(3, 9),
        rotation=rotation_angles(rotation.astype(np.float32)),
        translation=place.astype(np.float32),
        gaze=part["gaze"].reshape(2, 2).copy(),
    )
    return Reading(
        params=crop.to_frame(seen),
        confidence=float(1.0 / (1.0 + np.exp(-np.clip(part["confidence"][0], -30.0, 30.0)))),
        geometry_levels=part["geometry_levels"].copy(),
        reflectance_levels=part["reflectance_levels"].copy(),
    )


@numba.njit(cache=True)
def rotation_from_six(six: Array) -> NDArray[np.float64]:  # pragma: no cover - compiled
    """Orthonormalise two columns `[6]` (x first) to a rotation matrix `[3, 3]` (Zhou et al. 2019, equation 15).

    Columns that say nothing, zero or parallel, give no turn about what they leave open.
    """
    x0, x1, x2 = float(six[0]), float(six[1]), float(six[2])
    y0, y1, y2 = float(six[3]), float(six[4]), float(six[5])
    length = math.sqrt(x0 * x0 + x1 * x1 + x2 * x2)
    if length > 1e-9:
        x0, x1, x2 = x0 / length, x1 / length, x2 / length
    else:
        x0, x1, x2 = 1.0, 0.0, 0.0
    along = x0 * y0 + x1 * y1 + x2 * y2
    y0, y1, y2 = y0 - along * x0, y1 - along * x1, y2 - along * x2
    length = math.sqrt(y0 * y0 + y1 * y1 + y2 * y2)
    if length <= 1e-9:  # the axis that `x` is furthest from
        least = min(abs(x0), abs(x1), abs(x2))
        y0, y1, y2 = 0.0, 0.0, 0.0
        if abs(x0) == least:
            y0, along = 1.0, x0
        elif abs(x1) == least:
            y1, along = 1.0, x1
        else:
            y2, along = 1.0, x2
        y0, y1, y2 = y0 - along * x0, y1 - along * x1, y2 - along * x2
        length = math.sqrt(y0 * y0 + y1 * y1 + y2 * y2)
    y0, y1, y2 = y0 / length, y1 / length, y2 / length
    matrix = np.empty((3, 3))
    matrix[0, 0], matrix[0, 1], matrix[0, 2] = x0, y0, x1 * y2 - x2 * y1
    matrix[1, 0], matrix[1, 1], matrix[1, 2] = x1, y1, x2 * y0 - x0 * y2
    matrix[2, 0], matrix[2, 1], matrix[2, 2] = x2, y2, x0 * y1 - x1 * y0
    return matrix
