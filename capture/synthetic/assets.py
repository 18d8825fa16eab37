"""What synthetic faces wear, as baked by `python -m models.build.synthetic_assets`, unpacked and split in two."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numba
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file

from models.face import FaceModel

Array = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Indices = NDArray[np.int32]
Split = Literal["train", "test"]

DEFAULT_PATH = Path(__file__).resolve().parents[2] / "models" / "weights" / "synthetic_assets.safetensors"

TEXTURE_BOX = (0.615, 0.16, 1.0, 0.87)
"""Left, top, right, bottom of the head's island in a skin texture, as shares of its side."""
SKIN_SHAPE = (727, 394)
"""Rows and columns of that island."""

TEST_SKINS = (
    "middleage_lightskinned_male_diffuse2", "young_darkskinned_male_diffuse", "young_lightskinned_female_diffuse3",
)  # fmt: skip
TEST_HAIR = ("bob02", "short02", "ponytail01")
TEST_CARDS = ("eyebrow003", "eyebrow007", "eyebrow011", "eyelashes03")
TEST_IRISES = ("green_eye", "deepblue_eye")
"""What only the test split wears; everything else is for training."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """A mesh that hangs on vertices of the face model."""

    name: str
    vertices: Array
    """`[N, 3]` on the average head."""
    uv: Array
    """`[N, 2]` texture coordinates, v downwards."""
    triangles: Indices
    anchors: Indices
    """`[N, K]` vertices of the face model."""
    weights: Array
    """`[N, K]` their weights."""
    texture: Bytes | None
    """`[h, w, 4]` sRGB and alpha, None where there is none."""


@dataclass(frozen=True, slots=True)
class Assets:
    """Everything of one split."""

    split: Split
    skins: Bytes
    """`[S, 727, 394, 3]` the head's island of the skin textures, sRGB."""
    skin_vertices: Array
    """`[S, V, 3]` their colour at the vertices, sRGB 0 to 1."""
    corner_uv: Array
    """`[F, 3, 2]` coordinates of the triangles' corners in the island, v downwards."""
    is_textured: NDArray[np.bool_]
    """`[F]` triangles that lie in the island."""
    occlusion: Array
    """`[V]` share of the sky that the average head leaves free."""
    hair: tuple[Mesh, ...]
    lashes: tuple[Mesh, ...]
    brows: Array
    """`[B, 727, 394]` opacity of the eyebrows, laid into the island."""
    teeth: Mesh
    teeth_jaw: Array
    """`[4, N, 3]` how jawOpen, jawForward, jawLeft and jawRight move the teeth."""
    irises: Bytes
    """`[I, 96, 96, 3]` irises seen from the front, sRGB."""
    shapes: Array
    """`[K, V, 3]` shapes beyond the identity basis, one standard deviation each: training."""
    head_identity: Array
    """`[H, 80]` identity of whole heads that no training head is one of: test."""
    head_shapes: Array
    """`[H, V, 3]` what the basis leaves of them."""

    @classmethod
    def load(cls, model: FaceModel, split: Split, path: Path | None = None) -> Self:
        """Read and unpack. Raises `ValueError` when the file belongs to another face model."""
        tensors = load_file(path or DEFAULT_PATH)
        if tensors["corner_uv"].shape[0] != len(model.triangles):
            raise ValueError(
                f"synthetic assets: expected {len(model.triangles)} triangles, got {tensors['corner_uv'].shape[0]}"
            )
        names = sorted(name.removeprefix("skin.") for name in tensors if name.startswith("skin."))
        chosen = [k for k, name in enumerate(names) if (name in TEST_SKINS) == (split == "test")]
        corner_uv, is_textured = _island(tensors["corner_uv"])
        count = len(model.mean)
        brows = [_mesh(tensors, f"brow.{name}") for name in _named(tensors, "brow", split)]
        irises = [name for name in tensors if name.startswith("iris.")]
        irises = [name for name in irises if (name.removeprefix("iris.") in TEST_IRISES) == (split == "test")]
        return cls(
            split=split,
            skins=np.stack([_decode(tensors[f"skin.{names[k]}"])[..., :3] for k in chosen]),
            skin_vertices=(tensors["skin_vertices"][chosen] / 255.0).astype(np.float32),
            corner_uv=corner_uv,
            is_textured=is_textured,
            occlusion=(tensors["occlusion"] / 255.0).astype(np.float32),
            hair=tuple(_mesh(tensors, f"hair.{name}") for name in _named(tensors, "hair", split)),
            lashes=tuple(_mesh(tensors, f"lash.{name}") for name in _named(tensors, "lash", split)),
            brows=np.stack([_lay_down(brow, model, corner_uv, is_textured) for brow in brows]),
            teeth=_mesh(tensors, "teeth"),
            teeth_jaw=tensors["teeth.jaw"].astype(np.float32),
            irises=np.stack([_decode(tensors[name])[..., :3] for name in sorted(irises)]),
            shapes=_fields(tensors, "shapes", count),
            head_identity=tensors["heads.identity"].astype(np.float32),
            head_shapes=_fields(tensors, "heads.shape", count),
        )


def _named(tensors: dict[str, NDArray[np.generic]], kind: str, split: Split) -> list[str]:
    names = sorted({name.split(".")[1] for name in tensors if name.startswith(f"{kind}.")})
    return [name for name in names if (name in TEST_HAIR + TEST_CARDS) == (split == "test")]


def _decode(packed: NDArray[np.generic]) -> Bytes:
    image = Image.open(io.BytesIO(packed.tobytes()))
    return np.asarray(image.convert("RGBA"), np.uint8)


def _mesh(tensors: dict[str, NDArray[np.generic]], prefix: str) -> Mesh:
    uv = tensors[f"{prefix}.uv"].astype(np.float32) / 65535.0
    texture = tensors.get(f"{prefix}.texture")
    return Mesh(
        name=prefix.rpartition(".")[2],
        vertices=tensors[f"{prefix}.vertices"].astype(np.float32),
        uv=np.stack([uv[:, 0], 1.0 - uv[:, 1]], -1),
        triangles=tensors[f"{prefix}.triangles"].astype(np.int32),
        anchors=tensors[f"{prefix}.anchors"].astype(np.int32),
        weights=tensors[f"{prefix}.weights"].astype(np.float32),
        texture=None if texture is None else _decode(texture),
    )


def _fields(tensors: dict[str, NDArray[np.generic]], name: str, count: int) -> Array:
    values = tensors[name].astype(np.float32) * tensors[f"{name}.scale"].astype(np.float32)[:, None, None]
    full = np.zeros((len(values), count, 3), np.float32)
    full[:, : values.shape[1]] = values
    return full


def _island(packed: NDArray[np.generic]) -> tuple[Array, NDArray[np.bool_]]:
    """Bring texture coordinates into the head's island; tell which triangles lie in it."""
    uv = packed.astype(np.float64) / 65535.0
    left, top, right, bottom = TEXTURE_BOX
    inside = np.stack([(uv[..., 0] - left) / (right - left), (1.0 - uv[..., 1] - top) / (bottom - top)], -1)
    is_textured = ((inside >= 0.0) & (inside <= 1.0)).all((1, 2)) & (uv.max((1, 2)) > 0)
    return np.where(is_textured[:, None, None], inside, 0.0).astype(np.float32), is_textured


def vertex_uv(count: int, triangles: Indices, corner_uv: Array, is_textured: NDArray[np.bool_]) -> Array:
    """Give one coordinate in the island per vertex `[V, 2]`, NaN for those that have none."""
    uv = np.full((count, 2), np.nan, np.float32)
    uv[triangles[is_textured]] = corner_uv[is_textured]
    return uv


def _lay_down(brow: Mesh, model: FaceModel, corner_uv: Array, is_textured: NDArray[np.bool_]) -> Array:
    """Paint the opacity of a card into the island, where the skin below it lies."""
    uv = vertex_uv(len(model.mean), model.triangles, corner_uv, is_textured)
    places = (uv[brow.anchors] * brow.weights[..., None]).sum(1)
    output = np.zeros(SKIN_SHAPE, np.float32)
    assert brow.texture is not None
    alpha = brow.texture[..., 3].astype(np.float32) / 255.0
    _paint(places[brow.triangles], brow.uv[brow.triangles], alpha, output)
    return output


def to_island(values: Array, triangles: Indices, corner_uv: Array, shape: tuple[int, int]) -> Array:
    """Spread values at vertices `[V]` over the island at another resolution `shape`."""
    output = np.zeros(shape, np.float32)
    _spread(corner_uv, values[triangles].astype(np.float32), output)
    return output


@numba.njit(cache=True, error_model="numpy")
def _paint(places: Array, uv: Array, alpha: Array, output: Array) -> None:  # pragma: no cover - compiled
    height, width = output.shape
    for f in range(places.shape[0]):
        ax, ay = places[f, 0, 0] * width, places[f, 0, 1] * height
        bx, by = places[f, 1, 0] * width, places[f, 1, 1] * height
        cx, cy = places[f, 2, 0] * width, places[f, 2, 1] * height
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if not abs(area) > 1e-9:
            continue
        for y in range(max(int(min(ay, by, cy)), 0), min(int(max(ay, by, cy)) + 1, height - 1) + 1):
            for x in range(max(int(min(ax, bx, cx)), 0), min(int(max(ax, bx, cx)) + 1, width - 1) + 1):
                total = np.float32(0.0)
                for k in range(16):  # a texel of the island covers several of the card's
                    px, py = x + (k % 4 + 0.5) / 4, y + (k // 4 + 0.5) / 4
                    wa = ((bx - px) * (cy - py) - (by - py) * (cx - px)) / area
                    wb = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) / area
                    wc = 1.0 - wa - wb
                    if wa >= 0.0 and wb >= 0.0 and wc >= 0.0:
                        u = wa * uv[f, 0, 0] + wb * uv[f, 1, 0] + wc * uv[f, 2, 0]
                        v = wa * uv[f, 0, 1] + wb * uv[f, 1, 1] + wc * uv[f, 2, 1]
                        column = min(max(int(u * alpha.shape[1]), 0), alpha.shape[1] - 1)
                        row = min(max(int(v * alpha.shape[0]), 0), alpha.shape[0] - 1)
                        total += alpha[row, column]
                output[y, x] = min(output[y, x] + total / 16, 1.0)


@numba.njit(cache=True, error_model="numpy")
def _spread(places: Array, values: Array, output: Array) -> None:  # pragma: no cover - compiled
    height, width = output.shape
    for f in range(places.shape[0]):
        ax, ay = places[f, 0, 0] * width, places[f, 0, 1] * height
        bx, by = places[f, 1, 0] * width, places[f, 1, 1] * height
        cx, cy = places[f, 2, 0] * width, places[f, 2, 1] * height
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if not abs(area) > 1e-9:
            continue
        for y in range(max(int(min(ay, by, cy)), 0), min(int(max(ay, by, cy)) + 1, height - 1) + 1):
            for x in range(max(int(min(ax, bx, cx)), 0), min(int(max(ax, bx, cx)) + 1, width - 1) + 1):
                px, py = x + 0.5, y + 0.5
                wa = ((bx - px) * (cy - py) - (by - py) * (cx - px)) / area
                wb = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) / area
                wc = 1.0 - wa - wb
                if wa >= -0.2 and wb >= -0.2 and wc >= -0.2:  # a little beyond the edges: no seams
                    output[y, x] = max(output[y, x], wa * values[f, 0] + wb * values[f, 1] + wc * values[f, 2])
