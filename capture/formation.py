"""Differentiable image formation: from face parameters to vertices, light, colours and places in the picture.

What Tewari et al. (CVPR 2018) call the expert-designed renderer: a multi-level face model, a perspective camera and
spherical-harmonic light, evaluated at the vertices. PyTorch, batched, float32; the same functions as `FaceModel`,
`FaceLevels`, `models.illumination` and `models.camera` have in NumPy, which stay the reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from capture.deformation import Deformation
from models.face import FaceModel
from models.levels import FaceLevels, Level, LevelsConfig, eyeball_projections

GEOMETRY_UNIT = 1e-3
"""Metres that one unit of a geometry level's parameters stands for: optimisers like numbers of about one."""
REFLECTANCE_UNIT = 1e-2
"""Albedo that one unit of a reflectance level's parameters stands for."""


@dataclass(frozen=True, slots=True)
class Formed:
    """A batch of heads as the camera sees them."""

    vertices: Tensor
    """`[B, V, 3]` view frame, metres."""
    normals: Tensor
    """`[B, V, 3]` unit vectors, view frame."""
    pixels: Tensor
    """`[B, V, 2]` (u, v) in the crop."""
    albedo: Tensor
    """`[B, V, 3]` linear, 0 to 1."""
    light: Tensor
    """`[B, V, 3]` irradiance over pi that falls on each vertex, linear, not negative."""
    facing: Tensor
    """`[B, V]` cosine between the normal and the direction to the camera: not above 0 where turned away."""

    @property
    def color(self) -> Tensor:
        """`[B, V, 3]` linear colour: what the light makes of the albedo."""
        return self.albedo * self.light


class FaceFormation(nn.Module):
    """The face model with its learned levels as parameters, and the way from it to a picture."""

    def __init__(self, model: FaceModel, levels: FaceLevels | None = None) -> None:
        """Begin at `levels`, or at levels that change nothing."""
        super().__init__()
        self.model = model
        levels = levels or FaceLevels.empty(model)
        count = len(model.mean)
        self.deformation = Deformation(model)
        for name in ("mean", "identity_basis", "reflectance_mean", "reflectance_basis"):
            array = getattr(model, name)
            flat = array.reshape(len(array), -1) if array.ndim == 3 else array.reshape(-1)
            self.register_buffer(name, torch.from_numpy(flat.copy()), persistent=False)
        self.register_buffer("triangles", torch.from_numpy(model.triangles.astype(np.int64)), persistent=False)
        for side, motions in zip(("left", "right"), eyeball_projections(model), strict=True):
            self.register_buffer(f"sphere_{side}", torch.from_numpy(motions), persistent=False)
        self.geometry_levels = nn.ParameterList(
            torch.from_numpy(basis.reshape(len(basis), 3 * count) / GEOMETRY_UNIT) for basis in levels.geometry
        )
        self.reflectance_levels = nn.ParameterList(
            torch.from_numpy(basis.reshape(len(basis), 3 * count) / REFLECTANCE_UNIT) for basis in levels.reflectance
        )

    mean: Tensor
    identity_basis: Tensor
    reflectance_mean: Tensor
    reflectance_basis: Tensor
    triangles: Tensor
    sphere_left: Tensor
    sphere_right: Tensor

    @property
    def lids(self) -> tuple[Tensor, Tensor]:
        """Vertices of the left and the right eye's lids."""
        return self.deformation.lid_left, self.deformation.lid_right

    @property
    def config(self) -> LevelsConfig:
        """The sizes of the levels."""
        (a, b), (c, d) = (
            (len(first), len(second)) for first, second in (self.geometry_levels, self.reflectance_levels)
        )
        return LevelsConfig(geometry=(a, b), reflectance=(c, d))

    def levels(self) -> FaceLevels:
        """Copy the learned bases out."""
        kinds = []
        for parameters, unit in ((self.geometry_levels, GEOMETRY_UNIT), (self.reflectance_levels, REFLECTANCE_UNIT)):
            bases = [basis.detach().cpu().numpy() * np.float32(unit) for basis in parameters]
            kinds.append(tuple(basis.reshape(len(basis), -1, 3) for basis in bases))
        (a, b), (c, d) = kinds
        return FaceLevels((a, b), (c, d))

    @torch.no_grad()
    def hold_eyeballs(self) -> None:
        """Keep eyeballs spheres of one colour, as `FaceLevels` promises: call after each step of an optimiser."""
        for motions, (start, stop) in zip((self.sphere_left, self.sphere_right), self.model.eye_ranges, strict=True):
            for basis in self.geometry_levels:
                part = basis[:, 3 * start : 3 * stop]
                part.copy_(part @ motions.T @ motions)
            for basis in self.reflectance_levels:
                basis[:, 3 * start : 3 * stop] = 0.0

    def geometry_correction(self, coefficients: Tensor, level: Level = 2) -> Tensor:
        """Give offsets in metres `[B, V, 3]` of `coefficients [B, K1+K2]`, of the levels up to `level`."""
        return GEOMETRY_UNIT * self._correct(self.geometry_levels, coefficients, level)

    def reflectance_correction(self, coefficients: Tensor, level: Level = 2) -> Tensor:
        """Give offsets of albedo `[B, V, 3]` of `coefficients [B, K1+K2]`, of the levels up to `level`."""
        return REFLECTANCE_UNIT * self._correct(self.reflectance_levels, coefficients, level)

    def _correct(self, bases: nn.ParameterList, coefficients: Tensor, level: Level) -> Tensor:
        offset = coefficients.new_zeros(len(coefficients), self.mean.numel())
        start = 0
        for basis in list(bases)[:level]:
            offset = torch.addmm(offset, coefficients[:, start : start + len(basis)], basis)
            start += len(basis)
        return offset.reshape(len(offset), -1, 3)

    def neutral(self, identity: Tensor) -> Tensor:
        """Give heads at rest `[B, V, 3]`, metres, of level 0 for `identity [B, 80]`."""
        return torch.addmm(self.mean, identity, self.identity_basis).reshape(len(identity), -1, 3)

    def albedo(self, reflectance: Tensor) -> Tensor:
        """Give linear albedo `[B, V, 3]` of level 0 for `reflectance [B, 80]`, not clipped."""
        return torch.addmm(self.reflectance_mean, reflectance, self.reflectance_basis).reshape(len(reflectance), -1, 3)

    def shapes(self, identity: Tensor, coefficients: Tensor, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give the vertices `at [S]` of heads at rest, `[B, S, 3]` metres, of levels 0, 1 and 2."""
        return self._levels_at(
            self.mean, self.identity_basis, self.geometry_levels, GEOMETRY_UNIT, identity, coefficients, at
        )

    def colors(self, reflectance: Tensor, coefficients: Tensor, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give linear albedo `[B, S, 3]` of the vertices `at [S]`, of levels 0, 1 and 2, not clipped."""
        bases = (self.reflectance_mean, self.reflectance_basis, self.reflectance_levels)
        return self._levels_at(*bases, REFLECTANCE_UNIT, reflectance, coefficients, at)

    def motion(self, expression: Tensor, gaze: Tensor, at: Tensor) -> Tensor:
        """Give the offsets in metres `[B, S, 3]` by which the blendshapes move the vertices `at [S]` of the skin."""
        offset = (expression + self.deformation.look_weights(gaze)) @ _columns(self.deformation.basis, at)
        return offset.reshape(len(expression), -1, 3)

    @staticmethod
    def _levels_at(
        mean: Tensor, basis: Tensor, levels: nn.ParameterList, unit: float, base: Tensor, more: Tensor, at: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sum up only the columns of some vertices: a step of training needs a sample of them."""
        values = [mean.reshape(-1, 3).index_select(0, at).flatten() + base @ _columns(basis, at)]
        start = 0
        for level in levels:
            values.append(values[-1] + unit * (more[:, start : start + len(level)] @ _columns(level, at)))
            start += len(level)
        a, b, c = (value.reshape(len(base), -1, 3) for value in values)
        return a, b, c

    def deform(self, neutral: Tensor, expression: Tensor, gaze: Tensor) -> Tensor:
        """Move heads at rest `[B, V, 3]` by `expression [B, 52]` and `gaze [B, 2, 2]`: `[B, V, 3]`, head frame."""
        moved: Tensor = self.deformation(neutral, expression, gaze)
        return moved

    def normals(self, vertices: Tensor) -> Tensor:
        """Average area-weighted face normals at each vertex of `[B, V, 3]`; gives unit vectors."""
        # Rows of one vertex of the whole batch: gathering and adding up then walk through memory in order.
        rows = vertices.transpose(0, 1).contiguous()
        a, b, c = (rows[self.triangles[:, corner]] for corner in range(3))
        faces = torch.linalg.cross(b - a, c - a)
        total = torch.zeros_like(rows)
        for corner in range(3):
            total = total.index_add(0, self.triangles[:, corner], faces)
        return functional.normalize(total, dim=2, eps=1e-20).transpose(0, 1)

    def forward(
        self,
        neutral: Tensor,
        albedo: Tensor,
        expression: Tensor,
        gaze: Tensor,
        illumination: Tensor,
        rotation: Tensor,
        translation: Tensor,
        focal_px: Tensor,
        size: int,
    ) -> Formed:
        """Form a batch of pictures at the vertices.

        `neutral` and `albedo` are `[B, V, 3]` of any level, `rotation [B, 3, 3]`, `translation [B, 3]` metres and
        `focal_px [B]` are in the camera of crops `size` pixels wide; the rest as in `FaceParams`.
        """
        vertices = posed(self.deform(neutral, expression, gaze), rotation, translation)
        normals = self.normals(vertices)
        return Formed(
            vertices=vertices,
            normals=normals,
            pixels=project(vertices, focal_px, size),
            albedo=albedo.clamp(0.0, 1.0),
            light=irradiance(normals, illumination),
            facing=-(normals * functional.normalize(vertices, dim=2)).sum(2),
        )


def _columns(basis: Tensor, at: Tensor) -> Tensor:
    """Take the vertices `at [S]` out of a flat basis `[K, 3 V]`: `[K, 3 S]`."""
    return basis.reshape(len(basis), -1, 3).index_select(1, at).flatten(1)


def posed(vertices: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
    """Bring `[B, V, 3]` from the head frame into the view frame."""
    return vertices @ rotation.transpose(1, 2) + translation[:, None]


def project(vertices: Tensor, focal_px: Tensor, size: int) -> Tensor:
    """Project view-frame `[B, N, 3]` into crops `size` pixels wide with focal lengths `[B]`: `[B, N, 2]` (u, v)."""
    scale = focal_px[:, None, None] / (-vertices[..., 2:]).clamp(min=0.05)
    return size / 2 + vertices[..., :2] * scale * vertices.new_tensor([1.0, -1.0])


def sh_basis(normals: Tensor) -> Tensor:
    """Evaluate the nine real spherical harmonics at unit `normals [..., 3]`; gives `[..., 9]`."""
    x, y, z = normals.unbind(-1)
    terms = [
        torch.full_like(x, 0.28209479),
        0.48860251 * y, 0.48860251 * z, 0.48860251 * x,
        1.09254843 * x * y, 1.09254843 * y * z, 0.31539157 * (3 * z * z - 1), 1.09254843 * x * z,
        0.54627422 * (x * x - y * y),
    ]  # fmt: skip
    return torch.stack(terms, -1)


def irradiance(normals: Tensor, illumination: Tensor) -> Tensor:
    """Evaluate `illumination [B, 3, 9]` at `normals [B, N, 3]`: `[B, N, 3]`, linear, not negative."""
    return (sh_basis(normals) @ illumination.transpose(1, 2)).clamp(min=0.0)


def sample_image(image: Tensor, pixels: Tensor) -> Tensor:
    """Read `image [B, C, H, W]` at `pixels [B, N, 2]` (u, v) bilinearly, edges continued: `[B, N, C]`."""
    size = pixels.new_tensor([image.shape[3], image.shape[2]])
    grid = (2.0 * pixels / size - 1.0)[:, None]
    sampled = functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled[:, :, 0].transpose(1, 2)


def srgb_to_linear(color: Tensor) -> Tensor:
    """Decode sRGB values in 0 to 1 to linear light (IEC 61966-2-1)."""
    return torch.where(color <= 0.04045, color / 12.92, ((color.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(color: Tensor) -> Tensor:
    """Encode linear light to sRGB values. Above 1 the curve goes on: what is too bright still has a gradient."""
    return torch.where(
        color <= 0.0031308, 12.92 * color.clamp(min=0.0), 1.055 * color.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    )
