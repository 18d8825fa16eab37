"""Where one person's face lies off the face model: what the numbers of an identity leave over, found in a whole video.

A live tracker may keep such distances to itself, for it shows another face. A target's mesh must lie on its pictures:
where the drawn upper lip hangs before the real teeth, teeth are learned as a lip's colour, and the mouth never shuts.
So, with the head's pose known from all that is rigid, it is asked of every landmark how far it lies off the model. What
frames say counts by how little an expression moves the landmark in them, and heads that turn tell how deep it lies.
Lips at rest meet: what would keep them apart is taken for an expression that never left. Eyes sit between their lids.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import spsolve

from capture.binding import LandmarkBinding
from capture.face_mesh import COUNT, LEFT_EYE, MESH, RIGHT_EYE, RIM
from capture.fitting import PAIRS, Fitter
from capture.landmark_model import FREE_NAMES, Fit
from capture.mesh import IRISES
from models.camera import Camera
from models.face import FaceModel
from models.params import FaceParams

Array = NDArray[np.float64]

ROUNDS = 3
"""How often expressions and distances are found in turns."""
MOTION_M = 0.002
"""A frame whose expression moves a landmark by this counts half for it."""
STRAY_M = 0.004
"""And one in which it lies this far off what is known already."""
NOISE_M = 0.0015
"""Error of a landmark in one frame."""
FRAMES = 40.0
"""As how many independent frames a whole video counts: neighbours err alike."""
USUAL_M = (0.004, 0.004, 0.001)
"""How far landmarks lie off the model: sideways, up, in depth, which is seldom seen well."""
LIPS = PAIRS[0]
"""Upper and lower landmarks of the inner lips."""
PARTING = ("mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight")
"""Shapes that open lips, and are taken out of what holds them apart."""
RINGS = (LEFT_EYE[:RIM], RIGHT_EYE[:RIM])
"""Landmarks around the left and the right eye."""
STIFFNESS, FADING = 1.0, 1e-3
"""Weights beside a landmark's of how evenly distances change over the mesh, and of how they end where nothing is
known."""
FIRM_M = 0.001
"""Landmarks that stray further than this from their place on the mesh count less for it."""


def measure_own_shape(
    fitter: Fitter,
    points_px: Sequence[NDArray[np.float32]],
    camera: Camera,
    poses: Sequence[Fit],
    hints: Sequence[FaceParams | None] | None = None,
) -> Array:
    """Find where landmarks lie off the model's from `points_px [478, 2]` of frames in known `poses`.

    `hints` say of the expression in each what they do in `Fitter.fit`.

    Gives offsets `[478, 3]`, metres, head frame. The fitter keeps them: expressions that it finds from then on go with
    them. Where there are no frames nothing changes.
    """
    hints = hints or [None] * len(points_px)
    for _ in range(ROUNDS if len(points_px) else 0):
        fits = [
            fitter.fit_expression(points, camera, pose, hint)
            for points, pose, hint in zip(points_px, poses, hints, strict=True)
        ]
        offsets = _shut(fitter, _distances(fitter, points_px, camera, fits))
        for iris, ring in zip(IRISES, RINGS, strict=True):
            offsets[iris] = offsets[list(ring)].mean(0)
        # Known poses, and all of the video to smooth by: what pairs say of a known person gains nothing here.
        fitter.set_identity(fitter.identity, offsets, familiarity=0.0)
    return fitter.offsets


def _distances(fitter: Fitter, points_px: Sequence[NDArray[np.float32]], camera: Camera, fits: Sequence[Fit]) -> Array:
    """Give the offsets `[478, 3]` that explain all frames best; those of the irises stay."""
    model, known = fitter.landmarks, fitter.offsets[:MESH]
    hessian, gradient, total = np.zeros((MESH, 3, 3)), np.zeros((MESH, 3)), np.zeros(MESH)
    for points, fit in zip(points_px, fits, strict=True):
        placed = model.landmarks(fit, fitter.neutral, fitter.eye_centers)[:MESH]
        rays = fitter.rays(points, camera)[:MESH]
        missed = rays * -placed[:, 2:] - placed[:, :2]
        moved = np.linalg.norm(np.tensordot(fit.weights, model.expression_basis[:, :MESH], 1), axis=1)
        weight = 1.0 / (1.0 + (moved / MOTION_M) ** 2) / (1.0 + (missed**2).sum(1) / STRAY_M**2)
        # What moves away from the camera seems to move towards the middle of the picture.
        moves = fit.rotation[None, :2] + rays[:, :, None] * fit.rotation[None, 2:]
        hessian += np.einsum("n,nij,nik->njk", weight, moves, moves)
        gradient += np.einsum("n,nij,ni->nj", weight, moves, missed)
        total += weight
    certainty = np.minimum(total, FRAMES) / np.maximum(total, 1e-9) / NOISE_M**2
    hessian, gradient = hessian * certainty[:, None, None], gradient * certainty[:, None]
    gradient += np.einsum("nij,nj->ni", hessian, known)
    offsets = fitter.offsets.copy()
    offsets[:MESH] = np.linalg.solve(hessian + np.diag(1.0 / np.array(USUAL_M) ** 2), gradient[..., None])[..., 0]
    return offsets


def _shut(fitter: Fitter, offsets: Array) -> Array:
    """Take out of `offsets [478, 3]` what holds lips apart that meet on the model."""
    model = fitter.landmarks
    upper, lower = np.array(LIPS).T
    shapes = model.expression_basis[[FREE_NAMES.index(name) for name in PARTING]].sum(0)
    gap = float((offsets[upper] - offsets[lower])[:, 1].mean())
    opening = float((shapes[upper] - shapes[lower])[:, 1].mean())
    return np.asarray(offsets - max(gap / opening, 0.0) * shapes)


def spread_over_mesh(offsets: Array, model: FaceModel, binding: LandmarkBinding | None = None) -> NDArray[np.float32]:
    """Spread the landmarks' `offsets [478, 3]` over the vertices of the mesh, `[V, 3]`.

    As evenly as the landmarks allow (the squared graph Laplacian), along the mesh: what lies apart on it, an upper and
    a lower lip, moves apart. Eyeballs move as a whole, with the lids around them.
    """
    if offsets.shape != (COUNT, 3):
        raise ValueError(f"offsets: expected [{COUNT}, 3], got {list(offsets.shape)}")
    binding = binding or LandmarkBinding.load()
    count = len(model.mean)
    rows = np.repeat(np.arange(MESH), 3)
    columns = binding.corners(model)[:MESH].ravel()
    places = sparse.csr_matrix((binding.barycentric[:MESH].ravel(), (rows, columns)), shape=(MESH, count))
    edges = model.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    degree = np.maximum(np.bincount(edges[:, 0], minlength=count), 1)
    around = sparse.csr_matrix((1.0 / degree[edges[:, 0]], edges.T), shape=(count, count))
    laplacian = sparse.identity(count) - around
    weight = sparse.diags(1.0 / (1.0 + (binding.spread_m[:MESH].astype(np.float64) / FIRM_M) ** 2))
    left = places.T @ weight @ places + STIFFNESS * (laplacian.T @ laplacian) + FADING * sparse.identity(count)
    moved = np.asarray(spsolve(left.tocsc(), places.T @ (weight @ offsets[:MESH])))
    for vertices, iris in zip(model.eye_vertices, IRISES, strict=True):
        moved[vertices] = offsets[iris].mean(0)
    return moved.astype(np.float32)
