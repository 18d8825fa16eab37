"""Where the parts of a target's face lie in its picture at rest: what a hand that drags there takes hold of."""

from __future__ import annotations

import numpy as np

from models.camera import rotation_matrix
from reenact.target import Target

EYES_M = (0.0, 0.0, 0.085)
MOUTH_M = (0.0, -0.072, 0.108)
"""Between the eyes, and the lips, on the average head, in its frame."""


def face_handles(target: Target) -> dict[str, object]:
    """Give `eyes` and `mouth` (u, v), and `size`, the distance between them: shares of the picture."""
    camera, rest = target.camera, target.neutral
    points = np.array([EYES_M, MOUTH_M], np.float32) @ rotation_matrix(rest.rotation).T + rest.translation
    places = camera.project(points) / np.array([camera.width, camera.height])
    eyes, mouth = np.round(places.astype(np.float64), 4).tolist()
    return {"eyes": eyes, "mouth": mouth, "size": round(float(np.hypot(*(places[1] - places[0]))), 4)}
