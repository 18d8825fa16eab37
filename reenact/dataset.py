"""A target's recording: pictures and the parameters behind them, from an exact rendering or from a tracked video."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.camera import Camera, rotation_angles
from models.face import FaceModel
from models.params import EXPRESSION_NAMES, IDENTITY_SIZE, VERTICES, FaceParams
from reenact.square import Square

Array = NDArray[np.float32]
Indices = NDArray[np.int64]

WORLD_TO_AXES = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float64)
"""From a rendering's world (z up, face along -y) to our axes (y up, face along +z)."""


@dataclass(frozen=True)
class Recording:
    """Parameters of every frame, pictures of some of them."""

    params: FaceParams
    """Batch over all `T` frames in order of time; `identity` is the same in each."""
    camera: Camera
    """Camera of the pictures, at their own size."""
    frame_rate: float
    """Frames per second."""
    pictured: Indices
    """`[N]` frames that have a picture, ascending."""
    held_out: Indices
    """Pictured frames never to be trained on."""
    pictures: tuple[Path, ...]
    """`[N]` picture files, one for each of `pictured`."""
    name: str
    """Where it came from."""
    square: Square | None = None
    """Part of the video's frames that the pictures are; None where there is no video."""
    shape: Array = field(default_factory=lambda: np.zeros((VERTICES, 3), np.float32))
    """`[V, 3]` metres by which the head lies off the model of that identity, see `capture.own_shape`."""
    teeth_rise: Array = field(default_factory=lambda: np.zeros(2, np.float32))
    """`[2]` metres by which upper and lower teeth lie higher than that head's, see `reenact.own_teeth`."""
    checks: dict[str, float] = field(default_factory=dict)
    """How well a video was tracked, see `capture.whole_video`; empty where there is no video."""

    @property
    def training(self) -> Indices:
        """Pictured frames to train on."""
        return self.pictured[~np.isin(self.pictured, self.held_out)]

    def neutral(self, model: FaceModel) -> Array:
        """Give the head at rest `[V, 3]`, metres, head frame."""
        return model.neutral(self.params.identity[0]) + self.shape

    def picture(self, frame: int, resolution: int) -> NDArray[np.uint8]:
        """Read the picture of `frame` as `[resolution, resolution, 3]` RGB, area-averaged when made smaller."""
        index = int(np.searchsorted(self.pictured, frame))
        if index >= len(self.pictured) or self.pictured[index] != frame:
            raise ValueError(f"{self.name}: frame {frame} has no picture")
        with Image.open(self.pictures[index]) as image:
            rgb = image.convert("RGB")
            if rgb.width > resolution and rgb.width % resolution == 0:
                rgb = rgb.reduce(rgb.width // resolution)
            elif rgb.width != resolution:
                rgb = rgb.resize((resolution, resolution), Image.Resampling.LANCZOS)
            return np.asarray(rgb)

    def window(self, frame: int, length: int) -> Indices:
        """Give the `length` frame numbers up to and including `frame`, the first one repeated before the start."""
        return np.maximum(np.arange(frame - length + 1, frame + 1), 0)


def read_rendering(folder: Path, model: FaceModel) -> Recording:
    """Read frames rendered with exact parameters (`models/build/milo` describes the format).

    Raises `ValueError` where a file or array is missing, or where the head is not of the model's family.
    """
    for name in ("performance.npz", "neutral.npz"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder}: expected {name} beside frames/, found none")
    with np.load(folder / "performance.npz") as data:
        performance = {name: data[name] for name in data.files}
    if tuple(str(name) for name in performance["names"]) != EXPRESSION_NAMES:
        raise ValueError(f"{folder}: its expression names are not the 52 ARKit blendshapes in order")
    with np.load(folder / "neutral.npz") as data:
        base = data["vertices_hm08_m"].astype(np.float64)
    identity, rest = fit_identity(model, base)
    matrices = _head_matrices(performance)
    # head -> world (rest) -> world (posed) -> view
    posed = matrices @ rest
    view = np.eye(4)
    view[:3, :3] = WORLD_TO_AXES
    view[:3, 3] = -WORLD_TO_AXES @ performance["camera_position_m"]
    posed = view @ posed
    count = len(posed)
    gaze = np.deg2rad(performance["gaze_deg"]).astype(np.float32)
    look = [index for index, name in enumerate(EXPRESSION_NAMES) if name.startswith("eyeLook")]
    expression = performance["expression"].astype(np.float32).copy()
    expression[:, look] = 0.0
    blank = FaceParams.neutral()
    params = FaceParams(
        identity=np.repeat(identity[None], count, 0),
        expression=expression,
        reflectance=np.repeat(blank.reflectance[None], count, 0),
        illumination=np.repeat(blank.illumination[None], count, 0),
        rotation=rotation_angles(posed[:, :3, :3].astype(np.float32)),
        translation=posed[:, :3, 3].astype(np.float32),
        gaze=np.repeat(gaze[:, None], 2, 1),
    )
    size = int(performance["size"])
    center = performance["center_px"]
    camera = Camera(
        width=size, height=size, focal_px=float(performance["focal_px"]), center_px=(float(center[0]), float(center[1]))
    )
    files = {int(path.stem): path for path in (folder / "frames").glob("*.jpg")}
    pictured = np.array(sorted(set(files) & set(performance["frame"].tolist())), np.int64)
    return Recording(
        params=params,
        camera=camera,
        frame_rate=float(performance["fps"]),
        pictured=pictured,
        held_out=np.intersect1d(performance["test_frames"], pictured).astype(np.int64),
        pictures=tuple(files[int(frame)] for frame in pictured),
        name=str(folder),
    )


RESIDUAL_M = 0.0002
"""Expected distance between a head of the model's family and its fit: weighs the unit prior on identity."""


def fit_identity(model: FaceModel, base: NDArray[np.float64]) -> tuple[Array, NDArray[np.float64]]:
    """Fit identity to a head at rest on the hm08 base mesh `[19158, 3]`, world axes, metres.

    Gives coefficients `[80]` and the rigid transform `[4, 4]` from our head frame to the rest pose in the world.
    """
    chosen = np.flatnonzero((model.base_indices >= 0) & (model.rigidity > 0.99))
    truth = base[model.base_indices[chosen]] @ WORLD_TO_AXES.T
    mean = model.mean[chosen].astype(np.float64)
    basis = model.identity_basis[:, chosen].astype(np.float64).reshape(IDENTITY_SIZE, -1)
    identity = np.zeros(IDENTITY_SIZE)
    gram = basis @ basis.T + RESIDUAL_M**2 * np.eye(IDENTITY_SIZE)
    for _ in range(30):  # alternate rigid alignment and coefficients
        shape = mean + (identity @ basis).reshape(-1, 3)
        rotation, shift = _align_rigid(shape, truth)
        local = (truth - shift) @ rotation  # inverse rotation
        identity = np.linalg.solve(gram, basis @ (local - mean).ravel())
    residual = local - mean - (identity @ basis).reshape(-1, 3)
    if np.sqrt((residual**2).sum(1).mean()) > 0.004:
        raise ValueError("the head at rest does not fit the face model: more than 4 mm off on average")
    transform = np.eye(4)
    transform[:3, :3] = WORLD_TO_AXES.T @ rotation
    transform[:3, 3] = WORLD_TO_AXES.T @ shift
    return identity.astype(np.float32), transform


def _align_rigid(
    points: NDArray[np.float64], truth: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find rotation and shift with `points @ R.T + shift ~ truth` (Kabsch)."""
    a, b = points.mean(0), truth.mean(0)
    u, _, vt = np.linalg.svd((points - a).T @ (truth - b))
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u @ sign @ vt).T
    return rotation, b - rotation @ a


NECK_SHARES = (0.18, 0.18, 0.22, 0.42)
"""How a rendering spreads the head's angles over three neck bones and the head."""


def _head_matrices(performance: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Complete the head's matrices `[T, 4, 4]`: known on pictured frames, and from the neck's chain on the others.

    A chain of rotations about four fixed pivots moves the head: the pivots follow linearly from the known matrices.
    """
    known, exact = performance["frame"], performance["frame_head_matrix"].astype(np.float64)
    turns = np.stack([_euler(performance["pose_deg"] * share) for share in NECK_SHARES], 1)  # [T, 4, 3, 3]
    before = np.zeros_like(turns)
    before[:, 0] = np.eye(3)
    for bone in range(1, 4):
        before[:, bone] = before[:, bone - 1] @ turns[:, bone - 1]
    rotation = before[:, 3] @ turns[:, 3]
    lever = np.concatenate([before[:, bone] @ (np.eye(3) - turns[:, bone]) for bone in range(4)], -1)  # [T, 3, 12]
    shift = exact[:, :3, 3] - performance["translation_m"][known]
    pivots, *_ = np.linalg.lstsq(lever[known].reshape(-1, 12), shift.ravel(), rcond=None)
    matrices = np.repeat(np.eye(4)[None], len(rotation), 0)
    matrices[:, :3, :3] = rotation
    matrices[:, :3, 3] = lever @ pivots + performance["translation_m"]
    error = np.abs(matrices[known] - exact).max()
    if error > 1e-3:
        raise ValueError(f"head matrices do not follow the neck's chain: off by {error:.4f}")
    matrices[known] = exact
    return matrices


def _euler(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn (yaw, pitch, roll) `[T, 3]` in degrees into world rotations `[T, 3, 3]` (z up, face along -y)."""
    yaw, pitch, roll = np.deg2rad(degrees.astype(np.float64)).T
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)

    def matrix(rows: list[list[NDArray[np.float64]]]) -> NDArray[np.float64]:
        return np.stack([np.stack(row, -1) for row in rows], -2)

    turn = matrix([[np.cos(yaw), -np.sin(yaw), zero], [np.sin(yaw), np.cos(yaw), zero], [zero, zero, one]])
    nod = matrix([[one, zero, zero], [zero, np.cos(pitch), np.sin(pitch)], [zero, -np.sin(pitch), np.cos(pitch)]])
    tilt = matrix([[np.cos(roll), zero, np.sin(roll)], [zero, one, zero], [-np.sin(roll), zero, np.cos(roll)]])
    return turn @ nod @ tilt
