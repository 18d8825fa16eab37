"""The supervised loss: what the regressor says against the known truth of synthetic faces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from capture.formation import FaceFormation, posed, project, sh_basis
from capture.formation_losses import LossWeights
from models.camera import rotation_matrix
from models.face import FaceModel
from models.level_priors import LevelPriors
from models.levels import LEVELS
from models.params import BLINKS, EXPRESSION_INDEX, EXPRESSION_NAMES
from models.regressor import Regressed, place

VERTICES = 512
"""Vertices of the skin that are compared in one step, drawn anew each time."""
LIDS = [EXPRESSION_INDEX[f"eye{what}{side}"] for what in ("Blink", "Squint", "Wide") for side in ("Left", "Right")]
FREE = [index for index, name in enumerate(EXPRESSION_NAMES) if not name.startswith("eyeLook")]
"""Blendshapes that are regressed: the eight `eyeLook*` follow from gaze."""


@dataclass(frozen=True, slots=True)
class Truth:
    """A batch of synthetic crops and all that is known of them, as tensors; pose in the camera of the crop."""

    crop: Tensor
    """`[B, 3, S, S]` sRGB, 0 to 1."""
    identity: Tensor
    expression: Tensor
    reflectance: Tensor
    illumination: Tensor
    """As in `FaceParams`."""
    rotation: Tensor
    """`[B, 3, 3]` matrices."""
    translation: Tensor
    """`[B, 3]` metres."""
    gaze: Tensor
    """`[B, 2, 2]` radians."""
    focal_px: Tensor
    """`[B]` of the crop's camera."""
    vertices: Tensor
    """`[B, V, 3]` the true head at rest, metres."""
    albedo: Tensor
    """`[B, V, 3]` the true albedo, linear."""
    landmarks: Tensor
    """`[B, 478, 2]` where the landmarks of `capture.landmarks` lie in the crop, pixels."""
    visible: Tensor
    """`[B, V]` 1 where nothing hides a vertex, else 0."""
    confidence: Tensor
    """`[B]` 1 for a face, 0 for a crop that shows none, or badly; the other fields mean nothing then."""

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], device: torch.device) -> Self:
        """Take over a batch of `capture.synthetic`: crops `[B, S, S, 3]` uint8, rotations as angles `[B, 3]`.

        What a crop without a face says of it may be anything, and is replaced.
        """
        is_face = torch.from_numpy(arrays["confidence"] > 0.5).to(device)
        values = {}
        for name in NAMES:
            if name not in ("crop", "rotation"):
                value = torch.from_numpy(np.ascontiguousarray(arrays[name])).to(device).float()
                values[name] = value.where(is_face.reshape(-1, *[1] * (value.ndim - 1)), value.new_tensor(0.0))
        values["focal_px"] = values["focal_px"].where(is_face, values["focal_px"].new_tensor(100.0))
        values["translation"][~is_face] = torch.tensor([0.0, 0.0, -0.6], device=device)
        crop = torch.from_numpy(np.ascontiguousarray(arrays["crop"])).to(device).permute(0, 3, 1, 2)
        angles = np.where(arrays["confidence"][:, None] > 0.5, arrays["rotation"], 0.0)
        rotation = torch.from_numpy(rotation_matrix(angles)).to(device)
        return cls(crop=crop.float() / 255.0, rotation=rotation, **values)


NAMES = tuple(Truth.__dataclass_fields__)
"""Arrays that a batch of synthetic faces must have."""


class Supervision(nn.Module):
    """Compares what a regressor says with the truth; buffers only, nothing to train."""

    def __init__(self, model: FaceModel, weights: LossWeights) -> None:
        super().__init__()
        self.weights = weights
        priors = LevelPriors(model)
        self.register_buffer("skin", torch.nonzero(priors.face).flatten(), persistent=False)
        directions = np.random.default_rng(0).standard_normal((64, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        directions[:, 2] = np.abs(directions[:, 2])  # what the camera sees faces it
        harmonics = sh_basis(torch.from_numpy(directions.astype(np.float32)))
        self.register_buffer("harmonics", harmonics, persistent=False)

    skin: Tensor
    harmonics: Tensor

    def forward(
        self, formation: FaceFormation, said: Regressed, truth: Truth, rounding: float = 1.0
    ) -> dict[str, Tensor]:
        """Give the weighted terms, scalars; crops without a face count for the confidence alone.

        `rounding` scales the errors below which squares are compared.
        """
        w, face = self.weights, truth.confidence
        count = face.sum().clamp(min=1.0)

        def average(errors: Tensor) -> Tensor:  # over faces; `errors [B, ...]`
            return (errors.flatten(1).mean(1) * face).sum() / count

        true_place = place(truth.translation, truth.rotation, truth.focal_px, truth.crop.shape[-1])
        seen = seen_eyes(truth, formation.lids)
        turned = rotation_angle(said.rotation, truth.rotation)
        weight_error = (said.expression - truth.expression).abs()
        terms = {
            "rotation": w.rotation * average(huber(turned, rounding * ROUND_RAD)[:, None]),
            "place": w.place * average(huber((said.place - true_place).abs(), rounding * ROUND_PLACE)),
            "expression": w.expression * average(huber(weight_error[:, FREE], rounding * ROUND_WEIGHT)),
            "lids": w.lids * average(huber(weight_error[:, LIDS], rounding * ROUND_WEIGHT)),
            "gaze": w.gaze * average(huber(sight_angle(said.gaze, truth.gaze), rounding * ROUND_RAD) * seen),
            "identity": w.identity * average((said.identity - truth.identity).square())
            + w.identity * average((said.reflectance - truth.reflectance).square()),
            "light": w.light
            * average((self.harmonics @ (said.illumination - truth.illumination).transpose(1, 2)).abs()),
            "confidence": w.confidence * functional.binary_cross_entropy_with_logits(said.confidence, face),
        }
        at = self.skin[torch.randint(len(self.skin), (VERTICES,), device=self.skin.device)]
        shapes = formation.shapes(said.identity, said.geometry_levels, at)
        true_shape = truth.vertices.index_select(1, at)
        colors = formation.colors(said.reflectance, said.reflectance_levels, at)
        true_color = truth.albedo.index_select(1, at)
        for level in LEVELS:
            distance = 1e3 * (same_size(shapes[level], true_shape) - true_shape).square().sum(2).add(1e-10).sqrt()
            terms[f"vertices_{level}"] = w.vertices[level] * average(distance)
            terms[f"albedo_{level}"] = w.albedo[level] * average((colors[level] - true_color).abs())
        both = torch.cat([said.expression, truth.expression]), torch.cat([said.gaze, truth.gaze])
        moved, true_moved = formation.motion(*both, at).chunk(2)
        terms["motion"] = w.motion * average(1e3 * (moved - true_moved).square().sum(2).add(1e-10).sqrt())
        size = truth.crop.shape[-1]
        translation = said.translation(truth.focal_px, size)
        pixels = project(posed(shapes[2] + moved, said.rotation, translation), truth.focal_px, size)
        true_view = posed(true_shape + true_moved, truth.rotation, truth.translation)
        off = (pixels - project(true_view, truth.focal_px, size)).square().sum(2).add(1e-4).sqrt()
        terms["reprojection"] = w.reprojection * average(off.clamp(max=size))
        return terms


SEEN_LIDS = 0.7
"""Share of an eye's lid vertices in sight from which its gaze counts in full; a fifth of them lie in folds."""
ROUND_RAD, ROUND_PLACE, ROUND_WEIGHT = 0.12, 0.06, 0.35
"""Errors below which squares are compared. Absolute errors alone would ask for the median of what the network cannot
tell yet, which for blendshapes is next to zero, and leave no slope away from it."""


def seen_eyes(truth: Truth, lids: tuple[Tensor, Tensor]) -> Tensor:
    """Say how far each eye can be seen, `[B, 2]` from 0 to 1: open, and nothing before its `lids` (vertices)."""
    opened = 1.0 - truth.expression[:, BLINKS].clamp(0.0, 1.0)
    seen = torch.stack([truth.visible[:, lid].mean(1) for lid in lids], 1)
    return opened * (seen / SEEN_LIDS).clamp(max=1.0)


def huber(error: Tensor, delta: float) -> Tensor:
    """Square errors (not negative) below `delta`, and go on straight above, with slope 1 (Huber 1964)."""
    return torch.where(error < delta, error.square() / (2 * delta), error - delta / 2)


def same_size(shape: Tensor, target: Tensor) -> Tensor:
    """Scale `shape [B, N, 3]` about the head's origin to the size of `target`, least squares.

    How large a head is, a picture hardly says: a small one may be near. What it does say is compared without that.
    """
    with torch.no_grad():
        scale = (shape * target).sum((1, 2)) / shape.square().sum((1, 2)).clamp(min=1e-9)
    return shape * scale[:, None, None]


def rotation_angle(one: Tensor, other: Tensor) -> Tensor:
    """Give the angle `[B]`, radians, between rotations `[B, 3, 3]`; well-behaved where they are close."""
    chord = (one - other).square().sum((1, 2)).add(1e-8).sqrt()
    return 2.0 * torch.asin((chord / (2.0 * 2.0**0.5)).clamp(max=0.9999))


def sight_angle(one: Tensor, other: Tensor) -> Tensor:
    """Give the angle `[B, 2]`, radians, between lines of sight `[B, 2, 2]` (yaw, pitch)."""
    chord = (_sight(one) - _sight(other)).square().sum(2).add(1e-8).sqrt()
    return 2.0 * torch.asin((chord / 2.0).clamp(max=0.9999))


def _sight(gaze: Tensor) -> Tensor:
    (cy, cp), (sy, sp) = gaze.cos().unbind(-1), gaze.sin().unbind(-1)
    return torch.stack([sy * cp, sp, cy * cp], -1)
