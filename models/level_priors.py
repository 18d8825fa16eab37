"""What is expected of the learned levels before any picture is seen: the regularisers of their training."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.build.skins import face_regions
from models.camera import Camera
from models.face import FaceModel
from models.rasterize import Rasterizer

Mask = NDArray[np.bool_]

MIN_RIGIDITY = 0.5
"""Vertices that follow the skull less than this (the lower neck) are not part of the face."""
PLAIN_SKIN = 0.1
"""Most that lips, brows or beard may weigh on plain skin."""


class LevelPriors(nn.Module):
    """The regularisers of Tewari et al. 2018 on the graph of one mesh; all give scalars, means over what they sum.

    Buffers only, nothing to train. The paper's smoothness, reflectance sparsity, global reflectance constancy and
    stabilization terms; symmetry is ours.
    """

    def __init__(self, model: FaceModel) -> None:
        super().__init__()
        edges = mesh_edges(model.triangles)
        self.register_buffer("edges", torch.from_numpy(edges), persistent=False)
        self.register_buffer("mirror", torch.from_numpy(mirror_vertices(model)), persistent=False)
        self.register_buffer("flip", torch.tensor([-1.0, 1.0, 1.0]), persistent=False)
        face = torch.from_numpy(face_mask(model))
        plain = torch.from_numpy(np.flatnonzero(plain_skin_mask(model)))
        self.register_buffer("face", face, persistent=False)
        self.register_buffer("plain_skin", plain, persistent=False)
        on_face = face[self.edges].all(1)
        self.register_buffer("face_edges", self.edges[on_face], persistent=False)
        degree = torch.zeros(len(model.mean)).index_add_(0, self.edges.flatten(), torch.ones(edges.size))
        self.register_buffer("inverse_degree", 1.0 / degree.clamp(min=1.0), persistent=False)

    edges: Tensor
    mirror: Tensor
    flip: Tensor
    face: Tensor
    plain_skin: Tensor
    face_edges: Tensor
    inverse_degree: Tensor

    def laplacian(self, fields: Tensor) -> Tensor:
        """Take from each vertex of `fields [K, V, 3]` the mean of its neighbours."""
        a, b = self.edges.unbind(1)
        total = torch.zeros_like(fields).index_add(1, a, fields[:, b]).index_add(1, b, fields[:, a])
        return fields - total * self.inverse_degree[:, None]

    def smoothness(self, fields: Tensor) -> Tensor:
        """Average the squared Laplacian of correctives `[K, V, 3]` (the paper's smoothness term)."""
        return self.laplacian(fields).square().sum(-1).mean()

    def symmetry(self, fields: Tensor, *, mirrors: bool = True) -> Tensor:
        """Average the squared difference of fields `[K, V, 3]` from their mirror images.

        `mirrors`: the fields are offsets, whose x changes sign in a mirror, and not colours.
        """
        image = fields[:, self.mirror]
        return (fields - (image * self.flip if mirrors else image)).square().sum(-1).mean()

    def stabilization(self, offsets: Tensor) -> Tensor:
        """Average the squares of correctives `[B, V, 3]`: they stay small (the paper's stabilization term)."""
        return offsets.square().sum(-1).mean()

    def sparsity(
        self, albedo: Tensor, observed: Tensor, visible: Tensor, *, alpha: float = 80.0, power: float = 0.9
    ) -> Tensor:
        """Ask that reflectance changes only where the picture's chromaticity does (the paper's reflectance sparsity).

        Averages `w |r_i - r_j|^power` over the edges of the face, `w = exp(-alpha |c_i - c_j|)`, with `albedo`
        `[B, V, 3]` and chromaticity `c` of `observed [B, V, 3]`, colours of the picture at the vertices, linear light;
        `visible [B, V]` bool says where they mean anything.
        """
        a, b = self.face_edges.unbind(1)
        with torch.no_grad():
            chromaticity = observed / observed.sum(-1, keepdim=True).clamp(min=0.05)
            weight = torch.exp(-alpha * (chromaticity[:, a] - chromaticity[:, b]).norm(dim=-1))
            weight = weight * (visible[:, a] & visible[:, b])
        # The small constant keeps the gradient finite where two colours are the same.
        step = ((albedo[:, a] - albedo[:, b]).square().sum(-1) + 1e-6) ** (power / 2)
        return (weight * step).sum() / weight.sum().clamp(min=1.0)

    def constancy(self, albedo: Tensor, pairs: int = 500) -> Tensor:
        """Ask that plain skin has one colour (the paper's global reflectance constancy).

        Averages the squared difference of `albedo [B, V, 3]` over random pairs of vertices without lips, brows, beard.
        """
        pick = torch.randint(len(self.plain_skin), (2, pairs), device=albedo.device)
        a, b = self.plain_skin[pick].unbind(0)
        return (albedo[:, a] - albedo[:, b]).square().sum(-1).mean()


def mesh_edges(triangles: NDArray[np.int32]) -> NDArray[np.int64]:
    """List each edge of `triangles [F, 3]` once, `[E, 2]`."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    return np.unique(np.sort(sides, axis=1), axis=0).astype(np.int64)


def mirror_vertices(model: FaceModel) -> NDArray[np.int64]:
    """Find for each vertex the one on the other side of the average head, `[V]`."""
    squared = (model.mean**2).sum(1)
    product = (model.mean * np.array([-1, 1, 1], np.float32)) @ model.mean.T
    return np.asarray((squared[None] - 2 * product).argmin(1), np.int64)


def face_mask(model: FaceModel) -> Mask:
    """Mark the skin of the head `[V]`: no eyeballs, no tongue, no lower neck."""
    skin = (model.base_indices >= 0) & (model.rigidity > MIN_RIGIDITY)
    return np.asarray(skin & (connected_parts(model) == 0))


def plain_skin_mask(model: FaceModel) -> Mask:
    """Mark the front of the face `[V]` where skin is all there is: no lips, brows or beard."""
    centers = model.eye_centers(model.mean).astype(np.float64)
    regions = face_regions(model.mean.astype(np.float64), model.expression_basis.astype(np.float64), centers)
    other = np.max(list(regions.values()), axis=0)
    return face_mask(model) & (other < PLAIN_SKIN) & _seen_from_front(model)


def _seen_from_front(model: FaceModel) -> Mask:
    """Mark the vertices `[V]` of the average head that a camera in front sees: nothing inside the mouth."""
    camera = Camera(width=512, height=512, focal_px=1024.0, center_px=(256.0, 256.0))
    view = model.mean - np.array([0.0, 0.0, 0.6], np.float32)
    rasterizer = Rasterizer(model.triangles, camera.height, camera.width)
    rasterizer.draw(camera.project(view), -view[:, 2])
    seen = np.zeros(len(view), bool)
    seen[model.triangles[np.unique(rasterizer.face[rasterizer.face >= 0])]] = True
    return seen


def connected_parts(model: FaceModel) -> NDArray[np.int64]:
    """Give each vertex the number of its connected part `[V]`: 0 is the skin, then the tongue and the eyeballs."""
    edges = mesh_edges(model.triangles)
    label = np.arange(len(model.mean))
    while True:  # spread the smallest label along each edge until nothing changes
        before = label.copy()
        np.minimum.at(label, edges[:, 0], before[edges[:, 1]])
        np.minimum.at(label, edges[:, 1], before[edges[:, 0]])
        label = label[label]
        if np.array_equal(before, label):
            break
    return np.asarray(np.unique(label, return_inverse=True)[1], np.int64)
