"""What training minimises: every weight in one place, and the losses that need no truth but the picture itself.

Terms are named as in Tewari et al., "Self-supervised Multi-level Face Model Learning for Monocular Reconstruction at
over 250 Hz" (CVPR 2018, section 5); those that compare with the known truth of a synthetic face are ours.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from capture.binding import LandmarkBinding
from capture.formation import FaceFormation, Formed, linear_to_srgb, sample_image, srgb_to_linear
from models.face import FaceModel
from models.level_priors import LevelPriors
from models.rasterize import Rasterizer
from models.regressor import Regressed


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWeights:
    """Weight of each term; 0 leaves it out."""

    photometric: float = 20.0
    """Photometric alignment: mean distance between the formed and the pictured sRGB colour (0 to 1) at visible vertices
    of the skin, an L2,1 norm; once for the base level, once for all levels."""
    landmarks: float = 0.3
    """Sparse landmark alignment: mean distance in crop pixels to the detected landmarks, each weighted by how well it
    is bound to the face model; for all levels."""
    prior: float = 0.02
    """Statistical regularisation: mean squares of identity, reflectance and the levels' coefficients, all in standard
    deviations; expression by its mean absolute value."""
    smoothness: tuple[float, float] = (0.6, 0.04)
    """Smoothness of the geometry levels 1 and 2: mean squared Laplacian of their bases, mm²."""
    symmetry: float = 0.004
    """Symmetry (ours): mean squared difference of each geometry corrective from its mirror image, mm²."""
    stabilization: float = 0.01
    """Stabilization: mean squared geometry corrective of a face, mm²; the levels leave to the base what it can do."""
    sparsity: float = 0.5
    """Reflectance sparsity: differences of albedo along edges, to the power of 0.9, weighted by the likeness of the
    picture's chromaticity."""
    constancy: float = 1.0
    """Global reflectance constancy: mean squared difference of albedo between places of plain skin."""
    rotation: float = 12.0
    """Angle between the true and the given rotation, radians (supervised; squared below `ROUND_RAD`)."""
    place: float = 12.0
    """Mean absolute error of `Regressed.place` (supervised; squared below `ROUND_PLACE`)."""
    reprojection: float = 0.1
    """Mean distance in crop pixels between vertices with the given and with the true pose, shape and expression
    (supervised)."""
    expression: float = 60.0
    """Mean absolute error of the blendshape weights (supervised; squared below `ROUND_WEIGHT`, like lids)."""
    motion: float = 0.3
    """Mean distance in millimetres between what the given and the true expression do to vertices (supervised)."""
    lids: float = 30.0
    """Mean absolute error of the blink, squint and wide weights, once more (supervised)."""
    gaze: float = 40.0
    """Mean angle between the given and the true lines of sight, radians, as far as each eye can be seen (supervised;
    squared below `ROUND_RAD`)."""
    vertices: tuple[float, float, float] = (0.06, 0.05, 0.05)
    """Mean distance in millimetres to the true head at rest, size apart, for levels 0, 1 and 2 (supervised)."""
    identity: float = 0.05
    """Mean squared error of identity and of reflectance coefficients, standard deviations (supervised)."""
    albedo: tuple[float, float, float] = (1.0, 0.7, 0.7)
    """Mean absolute error of albedo, for levels 0, 1 and 2 (supervised)."""
    light: float = 0.5
    """Mean absolute error of the light on a sphere (supervised)."""
    pointing: float = 1.0
    """What the regressor gets wrong about landmarks inside: cross entropy of their maps, pixels (supervised)."""
    recombined: float = 0.5
    """What its solver gets wrong about faces dealt anew, in the terms above (supervised)."""
    confidence: float = 1.0
    """Binary cross entropy of the confidence (supervised)."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if min(value if isinstance(value, tuple) else (value,)) < 0:
                raise ValueError(f"weights: expected {field.name} of 0 or more, got {value}")


class FormationLosses(nn.Module):
    """The self-supervised loss: form the picture of what the regressor says and compare it with the crop."""

    def __init__(self, model: FaceModel, binding: LandmarkBinding, weights: LossWeights) -> None:
        super().__init__()
        self.weights = weights
        self.priors = LevelPriors(model)
        self.register_buffer("corners", torch.from_numpy(binding.corners(model).astype(np.int64)), persistent=False)
        self.register_buffer("barycentric", torch.from_numpy(binding.barycentric), persistent=False)
        trust = 1.0 / np.maximum(binding.spread_m, 0.002)
        self.register_buffer("trust", torch.from_numpy((trust / trust.mean()).astype(np.float32)), persistent=False)

    corners: Tensor
    barycentric: Tensor
    trust: Tensor

    def forward(
        self,
        formation: FaceFormation,
        said: Regressed,
        crop: Tensor,
        focal_px: Tensor,
        landmarks_px: Tensor,
        visible: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Give the weighted terms for crops `[B, 3, S, S]` (sRGB, 0 to 1) with landmarks `[B, 478, 2]` in pixels.

        `visible [B, V]` bool is what nothing hides; without it all that faces the camera counts.
        """
        base, full = self.form(formation, said, focal_px, crop.shape[-1])
        w = self.weights
        terms = {
            "photometric": w.photometric
            * (self.photometric(base, crop, visible) + self.photometric(full, crop, visible))
        }
        terms["landmarks"] = w.landmarks * self.landmarks(full, landmarks_px)
        squares = [said.identity, said.reflectance, said.geometry_levels, said.reflectance_levels]
        terms["prior"] = w.prior * (
            torch.stack([values.square().mean() for values in squares]).sum() + said.expression.abs().mean()
        )
        offsets = 1e3 * formation.geometry_correction(said.geometry_levels)
        terms["stabilization"] = w.stabilization * self.priors.stabilization(offsets)
        observed = srgb_to_linear(sample_image(crop, full.pixels.detach()))
        seen = full.facing.detach() > MIN_FACING if visible is None else visible
        terms["sparsity"] = w.sparsity * self.priors.sparsity(full.albedo, observed, seen)
        terms["constancy"] = w.constancy * self.priors.constancy(full.albedo)
        return terms

    def form(self, formation: FaceFormation, said: Regressed, focal_px: Tensor, size: int) -> tuple[Formed, Formed]:
        """Form the picture of the base level and that of all levels."""
        neutral, albedo = formation.neutral(said.identity), formation.albedo(said.reflectance)
        pose = (said.rotation, said.translation(focal_px, size), focal_px, size)
        rest = (said.expression, said.gaze, said.illumination, *pose)
        base = formation(neutral, albedo, *rest)
        corrected = neutral + formation.geometry_correction(said.geometry_levels)
        return base, formation(corrected, albedo + formation.reflectance_correction(said.reflectance_levels), *rest)

    def photometric(self, formed: Formed, crop: Tensor, visible: Tensor | None = None) -> Tensor:
        """Average the distance between formed and pictured sRGB colours over the visible vertices of the skin."""
        with torch.no_grad():
            seen = (formed.facing > MIN_FACING) & self.priors.face
            inside = ((formed.pixels > 0) & (formed.pixels < crop.shape[-1])).all(2)
            weight = (seen & inside if visible is None else seen & inside & visible).float()
        difference = linear_to_srgb(formed.color) - sample_image(crop, formed.pixels)
        # The small constant keeps the gradient of the norm finite at zero.
        distance = (difference.square().sum(2) + 1e-6).sqrt()
        return (distance * weight).sum() / weight.sum().clamp(min=1.0)

    def landmarks(self, formed: Formed, landmarks_px: Tensor) -> Tensor:
        """Average the trusted distances in pixels between formed and detected landmarks."""
        points = (formed.pixels[:, self.corners] * self.barycentric[None, :, :, None]).sum(2)
        distance = ((points - landmarks_px).square().sum(2) + 1e-4).sqrt()
        return (distance * self.trust).mean()

    def regularise(self, formation: FaceFormation) -> dict[str, Tensor]:
        """Give the weighted terms that ask only the bases: smoothness and symmetry, mm², of a few vectors at random."""
        first, second = (_some(basis).reshape(-1, len(self.priors.face), 3) for basis in formation.geometry_levels)
        w = self.weights
        smooth = w.smoothness[0] * self.priors.smoothness(first) + w.smoothness[1] * self.priors.smoothness(second)
        symmetric = self.priors.symmetry(first) + self.priors.symmetry(second)
        return {"smoothness": smooth, "symmetry": w.symmetry * symmetric}


def _some(basis: Tensor) -> Tensor:
    """Draw `REGULARISED` vectors of a basis: their mean square is that of all on average, at a fraction of the cost."""
    return basis[torch.randint(len(basis), (REGULARISED,), device=basis.device)]


REGULARISED = 4
"""Vectors of each level that are regularised in one step."""
MIN_FACING = 0.1
"""Cosine below which a vertex is too oblique to compare colours."""


class VisibleVertices:
    """Which vertices nothing hides, by a z-buffer: compiled, without gradients."""

    def __init__(self, model: FaceModel, size: int) -> None:
        """Draw at twice the `size` of the crop: triangles smaller than a pixel would be missed."""
        self._triangles = model.triangles
        self._rasterizer = Rasterizer(model.triangles, 2 * size, 2 * size)
        self._count = len(model.mean)

    def find(self, formed: Formed) -> NDArray[np.bool_]:
        """Mark the visible vertices of each head, `[B, V]`."""
        pixels = 2.0 * formed.pixels.detach().cpu().numpy()
        depth = -formed.vertices.detach().cpu().numpy()[..., 2]
        visible = np.zeros(depth.shape, bool)
        for i in range(len(depth)):
            self._rasterizer.draw(pixels[i], depth[i])
            faces = self._rasterizer.face[self._rasterizer.face >= 0]
            visible[i, self._triangles[np.unique(faces)].ravel()] = True
        return visible
