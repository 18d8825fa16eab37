"""Bake the landmark binding: `python -m capture.build_binding --recording DIR` (DIR: frames of a known target).

Landmarks are detected on pictures whose every parameter is known, and bound to the surface points that they follow.
Two sources make up for each other's weakness: drawings of many random heads (any face, any skin, but no hair, teeth
or lashes) and the photo-real recording of one head. The same pictures give the same bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from capture.binding import DEFAULT_PATH, LandmarkBinding, bind
from capture.landmarks import LandmarkDetector
from capture.progress import Progress
from models.camera import Camera, rotation_angles
from models.face import LOOK_DOWN_RAD, LOOK_UP_RAD, LOOK_YAW_RAD, FaceModel
from models.illumination import linear_to_srgb, shade, vertex_normals
from models.params import EXPRESSION_INDEX, EXPRESSION_NAMES, FaceParams

Array = NDArray[np.float32]
Picture = tuple[NDArray[np.uint8], Camera, FaceParams, Array]
"""Image, camera, parameters and the head at rest `[V, 3]`."""

MAX_YAW_RAD = np.deg2rad(32.0)
"""Beyond this the far half of the face is the detector's guess."""
MAX_ERROR_SHARE = 2.0
"""Pictures whose median error is this many times the usual one show a detector gone astray."""
TO_HEAD_AXES = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""The recording's axes (z up, face along -y) to ours (y up, face along +z)."""


def draw(model: FaceModel, params: FaceParams, neutral: Array, camera: Camera, background: Array) -> NDArray[np.uint8]:
    """Paint a head, far triangles first, to `[H, W, 3]` uint8: slow, and enough for a detector."""
    large = camera.scaled(camera.width * 2, camera.height * 2)
    vertices = model.view_vertices(params, neutral)
    triangles = model.triangles[model.rigidity[model.triangles].min(1) > 0.5]
    shaded = shade(
        model.albedo(params.reflectance), vertex_normals(vertices, triangles).astype(np.float32), params.illumination
    )
    colors = linear_to_srgb(shaded)[triangles].mean(1) * 255.0
    corners = large.project(vertices)[triangles]
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    in_front = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0] < 0  # rows grow downwards
    order = np.argsort(vertices[triangles, 2].mean(1))
    image = np.ones((large.height, large.width, 3), np.uint8) * background.astype(np.uint8)
    for index in order[in_front[order]]:
        color = tuple(float(channel) for channel in colors[index])
        cv2.fillConvexPoly(image, (corners[index] * 16).round().astype(np.int32), color, cv2.LINE_8, 4)
    small = cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def random_heads(model: FaceModel, count: int, seed: int = 0) -> Iterator[Picture]:
    """Draw `count` pictures of random heads, skins, lights, poses and expressions."""
    rng = np.random.default_rng(seed)
    camera = Camera(width=480, height=480, focal_px=700.0, center_px=(240.0, 240.0))
    for _ in range(count):
        params = _random_params(rng)
        neutral = model.neutral(params.identity)
        yield draw(model, params, neutral, camera, rng.uniform(40, 220, 3).astype(np.float32)), camera, params, neutral


def _random_params(rng: np.random.Generator) -> FaceParams:
    weights = np.zeros(len(EXPRESSION_NAMES))
    weights[rng.choice(len(weights), 5, replace=False)] = rng.uniform(0, 0.8, 5)
    for name in EXPRESSION_NAMES:
        if name.startswith(("eyeLook", "eyeBlink")) or name in ("tongueOut", "mouthClose"):
            weights[EXPRESSION_INDEX[name]] = 0.0
    if rng.random() < 0.4:
        weights[EXPRESSION_INDEX["jawOpen"]] = rng.uniform(0, 0.8)
    if rng.random() < 0.3:
        for side in ("Left", "Right"):
            weights[EXPRESSION_INDEX["eyeBlink" + side]] = rng.uniform(0, 1)
    illumination = np.zeros((3, 9))
    illumination[:, 0], illumination[:, 1:4] = 2.6, rng.normal(0, 0.5, 3) + [0.0, 0.6, 0.0]
    gaze = rng.uniform((-0.4, -0.3), (0.4, 0.25))
    arrays = {
        "identity": rng.normal(0, 1, 80), "reflectance": rng.normal(0, 0.6, 80), "expression": weights,
        "illumination": illumination, "gaze": np.stack([gaze, gaze]),
        "rotation": rng.uniform((-0.5, -0.3, -0.25), (0.5, 0.3, 0.25)),
        "translation": rng.uniform((-0.03, -0.02, -0.75), (0.03, 0.05, -0.5)),
    }  # fmt: skip
    return FaceParams(**{name: value.astype(np.float32) for name, value in arrays.items()})


def recording(model: FaceModel, folder: Path, *, held_out: bool = False) -> Iterator[Picture]:
    """Read the frames of a rendered recording with their exact parameters; those kept for tests only if `held_out`."""
    data = np.load(folder / "performance.npz")
    base = np.load(folder / "neutral.npz")["vertices_hm08_m"]
    size = int(data["size"])
    center = (float(data["center_px"][0]), float(data["center_px"][1]))
    camera = Camera(width=size, height=size, focal_px=float(data["focal_px"]), center_px=center)
    eye = TO_HEAD_AXES @ data["camera_position_m"]
    neutral, identity, turn, shift = _at_rest(model, base)
    for index, number in enumerate(data["frame"]):
        if (number in data["test_frames"]) != held_out:
            continue
        matrix = data["frame_head_matrix"][index].astype(np.float64)
        rotation = TO_HEAD_AXES @ matrix[:3, :3] @ TO_HEAD_AXES.T
        translation = rotation @ shift + TO_HEAD_AXES @ matrix[:3, 3] - eye
        weights = data["frame_weights"][index].astype(np.float32)
        gaze = _gaze_of(weights)
        weights[[name.startswith("eyeLook") for name in EXPRESSION_NAMES]] = 0.0
        params = FaceParams.neutral().replace(
            identity=identity, expression=weights, gaze=gaze, translation=translation.astype(np.float32),
            rotation=rotation_angles((rotation @ turn).astype(np.float32)),
        )  # fmt: skip
        image = np.asarray(Image.open(folder / "frames" / f"{number:05d}.jpg").convert("RGB"), np.uint8)
        yield image, camera, params, neutral


def _at_rest(model: FaceModel, base: Array) -> tuple[Array, Array, NDArray[np.float64], NDArray[np.float64]]:
    """Bring a base mesh at rest `[., 3]` into the head frame.

    Gives vertices `[V, 3]`, the nearest identity `[80]`, and the rotation and shift from the head frame to the mesh's.
    """
    skin = model.base_indices >= 0
    target = base[model.base_indices[skin]] @ TO_HEAD_AXES.T
    rigid = (model.rigidity[skin] > 0.99).astype(np.float64)
    basis = model.identity_basis[:, skin].reshape(len(model.identity_basis), -1).astype(np.float64)
    weights = np.repeat(rigid, 3) / 1e-3**2
    # 30 unit priors stand for the correlation of neighbouring vertices.
    inverse = np.linalg.inv((basis * weights) @ basis.T + 30.0 * np.eye(len(basis)))
    identity = np.zeros(len(basis), np.float32)
    for _ in range(10):
        rest = model.neutral(identity)[skin].astype(np.float64)
        middle, goal = np.average(rest, 0, rigid), np.average(target, 0, rigid)
        u, _, vt = np.linalg.svd(((rest - middle) * rigid[:, None]).T @ (target - goal))
        turn = (u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt).T
        shift = goal - turn @ middle
        moved = (target - shift) @ turn
        identity = (inverse @ (basis * weights) @ (moved - model.mean[skin]).ravel()).astype(np.float32)
    neutral = model.neutral(identity)
    neutral[skin] = moved
    return neutral, identity, turn, shift


def _gaze_of(weights: Array) -> Array:
    """Turn `eyeLook*` weights into gaze `[2, 2]`."""
    gaze = np.zeros((2, 2), np.float32)
    for eye, (side, outward) in enumerate((("Left", 1.0), ("Right", -1.0))):
        look = {way: weights[EXPRESSION_INDEX[f"eyeLook{way}{side}"]] for way in ("In", "Out", "Up", "Down")}
        gaze[eye, 0] = outward * LOOK_YAW_RAD * (look["Out"] - look["In"])
        gaze[eye, 1] = LOOK_UP_RAD * look["Up"] - LOOK_DOWN_RAD * look["Down"]
    return gaze


def observe(model: FaceModel, pictures: list[Iterator[Picture]], total: int) -> tuple[Array, Array, Array]:
    """Detect landmarks: projected vertices `[N, V, 2]`, landmarks `[N, 478, 2]`, metres per pixel `[N]`."""
    vertices, landmarks, scale = [], [], []
    blank = np.zeros((64, 64, 3), np.uint8)
    with LandmarkDetector() as detector, Progress(total, "detect") as progress:
        for source in pictures:
            for image, camera, params, neutral in source:
                progress.advance()
                detector.detect(blank)  # each picture is searched anew, then from its own landmarks, as live
                if abs(params.rotation[0]) > MAX_YAW_RAD or detector.detect(image) is None:
                    continue
                found = detector.detect(image)
                if found is None:
                    continue
                vertices.append(camera.project(model.view_vertices(params, neutral)))
                landmarks.append(found.points_px)
                scale.append(-params.translation[2] / camera.focal_px)
    return np.stack(vertices), np.stack(landmarks), np.array(scale, np.float32)


def robust_bind(model: FaceModel, vertices: Array, landmarks: Array, scale: Array) -> LandmarkBinding:
    """Bind, leave out the pictures that the detector misread, and bind again."""
    first = bind(model, vertices, landmarks, scale, rounds=2)
    errors = np.linalg.norm(first.points(model, vertices) - landmarks, axis=-1) * scale[:, None]
    error = np.median(errors, axis=1)
    good = error < MAX_ERROR_SHARE * np.median(error)
    print(f"{good.sum()} of {len(good)} pictures agree; median error {1e3 * np.median(error[good]):.2f} mm")
    return bind(model, vertices[good], landmarks[good], scale[good])


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--recording", type=Path, required=True, help="folder with performance.npz, neutral.npz, frames/"
    )
    parser.add_argument("--heads", type=int, default=500, help="pictures of random heads (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, default=DEFAULT_PATH)
    args = parser.parse_args()
    model = FaceModel.load()
    frames = len(np.load(args.recording / "performance.npz")["frame"])
    sources = [random_heads(model, args.heads), recording(model, args.recording)]
    binding = robust_bind(model, *observe(model, sources, args.heads + frames))
    binding.save(args.output)
    print(f"{args.output}: spread {1e3 * np.median(binding.spread_m):.2f} mm")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
