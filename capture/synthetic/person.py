"""Who is drawn: a head beyond the bases, its skin, brows, eyes, hair and glasses."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from capture.synthetic.assets import SKIN_SHAPE, Assets, Mesh, to_island, vertex_uv
from capture.synthetic.config import SyntheticConfig
from models.build.skins import HAEMOGLOBIN, MELANIN, face_regions, smooth_noise
from models.face import FaceModel, projection
from models.illumination import srgb_to_linear, vertex_normals
from models.params import EXPRESSION_INDEX

Array = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Indices = NDArray[np.int32]

FIELDS = 192
"""Smooth random fields over the head that displacements are mixed from."""
SCALP_CENTER_M = 0.03
"""Height of the middle of the skull over the eyes."""
GRID = (12, 7)
"""Rows and columns of the coarse fields of pigment over the island."""

HAIR_COLORS = np.array([
    (0.010, 0.008, 0.007), (0.018, 0.011, 0.008), (0.035, 0.020, 0.012), (0.075, 0.040, 0.020), (0.14, 0.085, 0.045),
    (0.30, 0.20, 0.10), (0.48, 0.36, 0.20), (0.20, 0.055, 0.02), (0.28, 0.27, 0.26), (0.60, 0.58, 0.55),
])  # fmt: skip
"""Black to white, linear light."""
HAIR_SHARES = np.array([0.22, 0.18, 0.16, 0.12, 0.08, 0.07, 0.04, 0.04, 0.06, 0.03])


@dataclass(frozen=True, slots=True)
class Person:
    """One random person."""

    neutral: Array
    """`[V, 3]` head at rest, metres."""
    identity: Array
    """`[80]` nearest coefficients of the identity basis."""
    reflectance: Array
    """`[80]` nearest coefficients of the reflectance basis."""
    albedo: Array
    """`[V, 3]` linear albedo at the vertices, brows, beard and make-up included."""
    skin: Bytes
    """`[727, 394, 4]` texture of the head's island, sRGB; the fourth channel means nothing."""
    iris: Bytes
    """`[96, 96, 3]`"""
    eye: Array
    """`[8]` see `raster.shade`."""
    hair: Mesh | None
    hair_vertices: Array
    """`[N, 3]` the hair on this head."""
    hair_triangles: Indices
    """`[G, 3]` its triangles, seen from outside."""
    hair_texture: Bytes | None
    hair_color: Array
    """`[3]` linear; tints the hair's texture."""
    lash: Mesh
    lash_shift: Array
    """`[N, 3]` offset of each lash vertex from its place on the skin."""
    teeth_vertices: Array
    """`[N, 3]` the teeth in this head at rest."""
    teeth_color: Array
    gloss: Array
    """`[V]` strength of reflections."""
    shine: float
    """Exponent of reflections."""
    wears_glasses: bool


class People:
    """Draws people of one split; what is the same for all of them is made once."""

    def __init__(self, model: FaceModel, assets: Assets, config: SyntheticConfig) -> None:
        self._model, self._assets, self._config = model, assets, config
        is_test = config.split == "test"
        # Fields of the two splits come from different seeds whatever the config's own.
        rng = np.random.default_rng([config.seed, 77, is_test])
        self._fields = self._smooth_fields(rng)
        skin = (model.base_indices >= 0) & (model.rigidity > 0.5)
        self._weights = np.where(skin, model.rigidity**2, 0.0).astype(np.float32)
        self._identity_of = projection(model.identity_basis, self._weights, 1e-7)
        face = np.where(skin & (model.mean[:, 2] > -0.02), 1.0, 0.0).astype(np.float32)
        self._reflectance_of = projection(model.reflectance_basis, face, 2.0)
        self._uv = vertex_uv(len(model.mean), model.triangles, assets.corner_uv, assets.is_textured)
        self._masks, self._places = self._make_masks()
        ones = np.ones(len(model.mean), np.float32)
        self._is_used = to_island(ones, model.triangles, assets.corner_uv, SKIN_SHAPE) > 0.0
        self._normals = vertex_normals(model.mean, model.triangles)
        self._greyed: dict[str, Bytes] = {}
        self._tongue = np.flatnonzero((model.reflectance_basis.std((0, 2)) < 1e-4) & (model.base_indices >= 0))

    def _smooth_fields(self, rng: np.random.Generator) -> Array:
        """Make displacements along the normals `[FIELDS, V]`, metres: broad ones, then finer ones; part symmetric."""
        mean = self._model.mean.astype(np.float64)
        mirrored = mean * (-1.0, 1.0, 1.0)
        third = FIELDS // 3
        fields = []
        for scale_m, size_m in ((0.035, 0.0011), (0.018, 0.0006), (0.009, 0.00028)):
            both = smooth_noise(np.concatenate([mean, mirrored]), third, scale_m, rng)
            one, other = both[:, : len(mean)], both[:, len(mean) :]
            fields.append(size_m * (0.62 * (one + other) + 0.38 * one))
        # Lids must stay on the eyeballs, and the neck must stay closed.
        calm = np.where(self._model.base_indices >= 0, self._model.rigidity, 0.0)
        for center in self._model.eye_centers(self._model.mean):
            calm = calm * (1.0 - 0.85 * np.exp(-((np.linalg.norm(mean - center, axis=1) / 0.019) ** 4)))
        # Lips part and meet with expressions alone.
        lips = self._lips(mean)
        return np.asarray(np.concatenate(fields) * calm * (1.0 - 0.75 * lips), np.float32)

    def _lips(self, mean: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weigh the lips `[V]`, by what the shapes that roll them move."""
        rolls = [EXPRESSION_INDEX[name] for name in ("mouthRollUpper", "mouthRollLower")]
        motion = np.linalg.norm(self._model.expression_basis[rolls], axis=2).sum(0)
        middle = np.average(mean, 0, motion)
        return np.asarray(np.exp(-((((mean - middle) / (0.032, 0.014, 0.03)) ** 2).sum(1) ** 2)))

    def _make_masks(self) -> tuple[Array, dict[str, Array]]:
        """Spread regions over the island `[4, 727, 394]`: lips, beard, lids, cheeks; and at the vertices."""
        model = self._model
        mean = model.mean.astype(np.float64)
        centers = model.eye_centers(model.mean)
        regions = face_regions(mean, model.expression_basis.astype(np.float64), centers.astype(np.float64))
        around = [np.exp(-(((mean - c - (0, 0.004, 0.012)) / (0.020, 0.011, 0.03)) ** 2).sum(1)) for c in centers]
        cheeks = [
            np.exp(-(((mean - c - (np.sign(c[0]) * 0.006, -0.038, 0.01)) / (0.02, 0.018, 0.03)) ** 2).sum(1))
            for c in centers
        ]
        moustache = np.exp(-(((mean - (0, centers[0, 1] - 0.062, 0.125)) / (0.028, 0.009, 0.03)) ** 2).sum(1))
        beard = np.maximum(regions["beard"], moustache * (1 - regions["lips"]))
        places = {
            "lips": regions["lips"], "beard": beard, "lids": np.maximum(*around), "cheeks": np.maximum(*cheeks),
        }  # fmt: skip
        at_vertices = {name: values.astype(np.float32) for name, values in places.items()}
        assets = self._assets
        maps = [to_island(values, model.triangles, assets.corner_uv, SKIN_SHAPE) for values in at_vertices.values()]
        return np.clip(np.stack(maps), 0.0, 1.0), at_vertices

    def draw(self, rng: np.random.Generator) -> Person:
        """Draw one person."""
        model, assets = self._model, self._assets
        neutral = self._head(rng)
        offset = (neutral - model.mean).ravel()
        identity = np.clip(self._identity_of @ offset, -5.0, 5.0).astype(np.float32)
        hair_color = _hair_color(rng)
        skin, plain = self._skin(rng, hair_color)
        albedo = self._at_vertices(skin, plain)
        reflectance = self._reflectance_of @ (albedo - model.reflectance_mean).ravel()
        hair = assets.hair[rng.integers(len(assets.hair))] if rng.random() < self._config.hair else None
        hair_vertices = carry(hair, neutral - model.mean) if hair else np.zeros((0, 3), np.float32)
        mirrored = bool(rng.random() < 0.5)  # partings on either side
        if mirrored:
            hair_vertices = hair_vertices * np.array([-1.0, 1.0, 1.0], np.float32)
        hair_vertices = _brushed_back(hair_vertices, rng.uniform(0.0, 0.28))
        lash = assets.lashes[rng.integers(len(assets.lashes))]
        return Person(
            neutral=neutral,
            identity=identity,
            reflectance=np.clip(reflectance, -5.0, 5.0).astype(np.float32),
            albedo=albedo,
            skin=skin,
            iris=self._iris(rng),
            eye=self._eye(rng),
            hair=hair,
            hair_vertices=hair_vertices,
            hair_triangles=_turned_over(hair, mirrored),
            hair_texture=self._hair_texture(hair, rng) if hair else None,
            hair_color=hair_color,
            lash=lash,
            lash_shift=_shift(lash, model.mean) * np.float32(rng.uniform(0.5, 1.15)),
            teeth_vertices=carry(assets.teeth, neutral - model.mean),
            teeth_color=_teeth_color(rng),
            gloss=self._gloss(rng),
            shine=float(rng.uniform(6.0, 40.0)),
            wears_glasses=bool(rng.random() < self._config.glasses),
        )

    def _head(self, rng: np.random.Generator) -> Array:
        """Draw a head: identity, shapes beyond its basis, and smooth displacements."""
        model, assets, detail = self._model, self._assets, np.float32(self._config.detail)
        if assets.split == "test" and rng.random() < 0.8:
            one, other = rng.integers(len(assets.head_identity), size=2)
            share = np.float32(rng.uniform(0.0, 0.35))
            identity = (1 - share) * assets.head_identity[one] + share * assets.head_identity[other]
            neutral = model.neutral(identity) + detail * assets.head_shapes[one]
        else:
            identity = rng.normal(0.0, 1.0, len(model.identity_basis)) * rng.uniform(0.5, 1.2)
            neutral = model.neutral(identity.astype(np.float32))
            weights = rng.normal(0.0, 1.1, len(assets.shapes)).astype(np.float32)
            neutral = neutral + detail * np.tensordot(weights, assets.shapes, 1)
        amounts = rng.normal(0.0, 1.0, 10) * rng.uniform(0.2, 1.0)
        chosen = np.concatenate(
            [rng.integers(k * FIELDS // 3, (k + 1) * FIELDS // 3, n) for k, n in enumerate((4, 3, 3))]
        )
        field = detail * (amounts @ self._fields[chosen]).astype(np.float32) * np.float32(0.62)
        return np.asarray(neutral + field[:, None] * self._normals, np.float32)

    def _skin(self, rng: np.random.Generator, hair_color: Array) -> tuple[Bytes, Array]:
        """Mix two skins and vary pigment, blood, lips, beard, lids, cheeks and brows.

        Gives the island `[727, 394, 4]` and colours at the vertices `[V, 3]`, linear, for what lies outside it.
        """
        assets = self._assets
        one, other = rng.integers(len(assets.skins), size=2)
        share = rng.uniform(0.0, 1.0) if rng.random() < 0.6 else 0.0
        melanin = rng.normal(0.0, 0.28) + (rng.uniform(0.0, 1.0) if rng.random() < 0.25 else 0.0)
        blood = rng.normal(0.0, 0.14)
        grid = 0.07 * rng.normal(size=(2, *GRID))
        base = np.array([melanin, blood])
        per_unit = np.stack([MELANIN, HAEMOGLOBIN]) / 2.2
        regions = np.zeros((4, 3))
        regions[0] = rng.normal(0.05, 0.14) * HAEMOGLOBIN + rng.normal(0.0, 0.06)
        if rng.random() < 0.25:  # lipstick
            regions[0] = rng.uniform(0.0, 0.6, 3) * (0.3, 1.0, 0.8)
        if rng.random() < 0.3:
            regions[1] = rng.uniform(0.05, 0.9) + rng.normal(0.0, 0.03, 3)
        regions[2] = np.abs(rng.normal(0.0, 0.12)) + rng.normal(0.0, 0.03, 3)
        if rng.random() < 0.15:
            regions[2] = rng.uniform(0.0, 0.7, 3)
        regions[3] = rng.normal(0.06, 0.12) * HAEMOGLOBIN
        brow = rng.integers(len(assets.brows))
        # Brows are darker than hair, and dyed hair has brows of a natural colour.
        brow_color = np.clip(0.3 * hair_color + 0.7 * HAIR_COLORS[rng.integers(4)], 0.003, 0.07) ** (1 / 2.2) * 255.0
        brow_share = rng.uniform(0.6, 2.2)
        output = np.zeros((*SKIN_SHAPE, 4), np.uint8)
        grain = rng.integers(0, 256, 4096).astype(np.uint8)
        # sRGB codes are about the 2.2th root of linear light.
        gains = np.exp(-np.tensordot(base[:, None, None] + grid, per_unit, (0, 0)))
        _mix_skin(
            assets.skins[one], assets.skins[other], np.float32(share), gains.astype(np.float32), self._is_used,
            self._masks, (regions / 2.2).astype(np.float32), assets.brows[brow], np.float32(brow_share),
            brow_color.astype(np.float32), grain, np.float32(rng.uniform(0.0, 0.035)), output,
        )  # fmt: skip
        mixed = (1 - share) * assets.skin_vertices[one] + share * assets.skin_vertices[other]
        plain = srgb_to_linear(mixed * np.exp(-(base @ per_unit)))
        return output, plain

    def _at_vertices(self, skin: Bytes, plain: Array) -> Array:
        """Read the albedo `[V, 3]`, linear, at the vertices: the island where it reaches, `plain` elsewhere."""
        model = self._model
        albedo = np.where(model.base_indices[:, None] < 0, model.reflectance_mean, plain)
        inside = np.flatnonzero(np.isfinite(self._uv[:, 0]))
        height, width = SKIN_SHAPE
        column = np.clip((self._uv[inside, 0] * width).astype(int), 1, width - 2)
        row = np.clip((self._uv[inside, 1] * height).astype(int), 1, height - 2)
        around = [skin[row + dy, column + dx, :3] for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        albedo[inside] = srgb_to_linear(np.mean(around, 0, dtype=np.float32) / 255.0)
        albedo[self._tongue] = model.reflectance_mean[self._tongue]
        return albedo.astype(np.float32)

    def _iris(self, rng: np.random.Generator) -> Bytes:
        """Choose an iris, often browned: most people's are."""
        iris = self._assets.irises[rng.integers(len(self._assets.irises))].astype(np.float32)
        if rng.random() < 0.72:
            grey = iris.mean(-1, keepdims=True)
            brown = grey * (np.array([1.25, 0.8, 0.5]) * rng.uniform(0.2, 0.9)).astype(np.float32)
            iris = iris + rng.uniform(0.6, 1.0) * (brown - iris)
        return np.asarray(np.clip(iris * rng.uniform(0.75, 1.25), 0, 255), np.uint8)

    @staticmethod
    def _eye(rng: np.random.Generator) -> Array:
        iris = np.sin(np.deg2rad(rng.normal(20.5, 0.7)))
        white = rng.uniform(0.28, 0.58) * np.array([1.0, rng.uniform(0.90, 0.99), rng.uniform(0.82, 0.98)])
        return np.array([iris, iris * rng.uniform(0.25, 0.55), *white, rng.uniform(0.05, 0.8), 0.5, 0.035], np.float32)

    def _hair_texture(self, hair: Mesh, rng: np.random.Generator) -> Bytes:
        """Grey the texture, so that a colour can tint it; a style without one gets curls."""
        if hair.name in self._greyed:
            return self._greyed[hair.name]
        if hair.texture is None:
            shade = rng.integers(60, 255, (384, 384)).astype(np.float32)
            for _ in range(2):
                shade = (shade + np.roll(shade, 1, 0) + np.roll(shade, 2, 0)) / 3
            alpha = np.full_like(shade, 255.0)
        else:
            grey = hair.texture[..., :3].astype(np.float32).mean(-1)
            alpha = hair.texture[..., 3].astype(np.float32)
            usual = grey[alpha > 128].mean() if (alpha > 128).any() else 128.0
            shade = np.clip(grey * (150.0 / max(float(usual), 1.0)), 0, 255)
        self._greyed[hair.name] = np.stack([shade, shade, shade, alpha], -1).astype(np.uint8)
        return self._greyed[hair.name]

    def _gloss(self, rng: np.random.Generator) -> Array:
        """Draw how much of each vertex' light is reflected: more on forehead, nose and lips."""
        lips = self._places["lips"]
        mean = self._model.mean
        middle = np.exp(-((mean[:, 0] / 0.03) ** 2)) * (mean[:, 2] > 0.09)
        strength = rng.gamma(1.5, 0.05)
        field = np.clip(1.0 + 0.4 * rng.normal() * self._fields[rng.integers(FIELDS // 3)] / 0.001, 0.2, 2.0)
        gloss = strength * field * (1.0 + rng.uniform(0, 1.2) * middle) + lips * rng.gamma(1.2, 0.08)
        return np.asarray(np.where(self._model.base_indices >= 0, gloss, 0.0), np.float32)


def carry(mesh: Mesh, offsets: Array) -> Array:
    """Move a bound mesh with the head's vertices, that lie `offsets [V, 3]` from the average head's."""
    return np.asarray(mesh.vertices + _weigh(offsets, mesh.anchors, mesh.weights), np.float32)


def _shift(mesh: Mesh, mean: Array) -> Array:
    return mesh.vertices - _weigh(mean, mesh.anchors, mesh.weights)


@numba.njit(cache=True, error_model="numpy")
def _weigh(values: Array, anchors: NDArray[np.int32], weights: Array) -> Array:  # pragma: no cover - compiled
    output = np.zeros((anchors.shape[0], 3), np.float32)
    for n in range(anchors.shape[0]):
        for k in range(anchors.shape[1]):
            for axis in range(3):
                output[n, axis] += weights[n, k] * values[anchors[n, k], axis]
    return output


def _hair_color(rng: np.random.Generator) -> Array:
    if rng.random() < 0.04:  # dyed
        return rng.uniform(0.02, 0.6, 3).astype(np.float32)
    color = HAIR_COLORS[rng.choice(len(HAIR_COLORS), p=HAIR_SHARES)]
    return np.asarray(color * np.exp(rng.normal(0.0, 0.2) + rng.normal(0.0, 0.06, 3)), np.float32)


def _turned_over(hair: Mesh | None, mirrored: bool) -> Indices:
    """Give the triangles of a style; in a mirror they turn the other way round."""
    if hair is None:
        return np.zeros((0, 3), np.int32)
    return np.ascontiguousarray(hair.triangles[:, ::-1] if mirrored else hair.triangles)


def _brushed_back(vertices: Array, angle_rad: float) -> Array:
    """Turn hair back over the head, so that not every fringe hangs into the eyes."""
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    height, depth = vertices[:, 1] - SCALP_CENTER_M, vertices[:, 2]
    return np.stack(
        [vertices[:, 0], SCALP_CENTER_M + cosine * height + sine * depth, cosine * depth - sine * height], -1
    ).astype(np.float32)


def _teeth_color(rng: np.random.Generator) -> Array:
    return (rng.uniform(0.9, 1.6) * np.array([1.0, rng.uniform(0.88, 1.0), rng.uniform(0.72, 0.98)])).astype(np.float32)


@numba.njit(cache=True, fastmath={"contract", "arcp", "nsz"}, error_model="numpy", boundscheck=False)
def _mix_skin(
    one: Bytes,
    other: Bytes,
    share: np.float32,
    gains: Array,
    is_used: NDArray[np.bool_],
    masks: Array,
    regions: Array,
    brow: Array,
    brow_share: np.float32,
    brow_color: Array,
    grain: Bytes,
    grain_share: np.float32,
    output: Bytes,
) -> None:  # pragma: no cover - compiled
    """Fill `output`: codes of two skins blended, times interpolated `gains`, times `exp(-regions)`, then brows."""
    rows, columns = output.shape[0], output.shape[1]
    line = np.empty((gains.shape[1], 3), np.float32)
    one_, least = np.float32(1.0), np.float32(0.004)
    for y in range(rows):
        v = np.float32(y) / np.float32(rows) * np.float32(gains.shape[0] - 1.001)
        top = int(v)
        dv = v - np.float32(top)
        for k in range(gains.shape[1]):
            for c in range(3):
                line[k, c] = gains[top, k, c] + dv * (gains[top + 1, k, c] - gains[top, k, c])
        for x in range(columns):
            if not is_used[y, x]:
                continue
            u = np.float32(x) / np.float32(columns) * np.float32(gains.shape[1] - 1.001)
            left = int(u)
            du = u - np.float32(left)
            noise = one_ + grain_share * (
                np.float32(grain[(y * 61 + x * 17 + (x * y) % 29) & 4095]) / np.float32(128) - one_
            )
            lips, beard, lids, cheeks = masks[0, y, x], masks[1, y, x], masks[2, y, x], masks[3, y, x]
            is_region = max(lips, beard, lids, cheeks) > least
            if is_region and beard > least:
                beard *= np.float32(0.6) + np.float32(0.8 / 255) * np.float32(grain[(y * 131 + x * 37) & 4095])
            cover = min(brow[y, x] * brow_share, np.float32(0.96))
            for c in range(3):
                gain = (line[left, c] + du * (line[left + 1, c] - line[left, c])) * noise
                if is_region:
                    absorbed = (
                        lips * regions[0, c] + beard * regions[1, c] + lids * regions[2, c] + cheeks * regions[3, c]
                    )
                    gain *= np.exp(-absorbed)
                code = np.float32(one[y, x, c]) + share * (np.float32(other[y, x, c]) - np.float32(one[y, x, c]))
                code *= gain
                code += cover * (brow_color[c] - code)
                output[y, x, c] = np.uint8(min(max(code, np.float32(2.0)), np.float32(255.0)))
