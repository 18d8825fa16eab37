"""MediaPipe's refined face mesh, run by OpenVINO: the same network and the same crops, without the graph around them.

Grishchenko et al., "Attention Mesh: High-fidelity Face Mesh Prediction in Real-time" (CVPR workshop 2020). The weights
are read out of MediaPipe's own package. Three of the network's operations are MediaPipe's own and known to no other
program; they are built here of common ones: where in the crop a part of the face lies, its features cut out and turned
upright, and what was found there put back.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numba
import numpy as np
from numpy.typing import NDArray

from models.network_cache import live_properties, network_folder, stored

Image = NDArray[np.uint8]
Array = NDArray[np.float32]

MODEL = Path("modules/face_landmark/face_landmark_with_attention.tflite")
"""Where the network lies in MediaPipe's package."""
COUNT = 478
"""Face mesh 0-467, the actor's right iris 468-472, the left iris 473-477 (centre first)."""
MESH = 468
CROP_PX = 192
MARGIN = 1.5
"""Width of the crop over that of the landmarks' box, or of a detected face's."""
RIGHT_CORNER, LEFT_CORNER = 33, 263
"""Outer corners of the eyes, the left one in the image first: their line is level in a crop."""

FEATURES_PX, PART_PX = 48, 16
"""Width of the features that parts of the face are cut out of, and of such a part."""

LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409, 78, 95, 88, 178, 87, 14,
    317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415, 76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306,
    184, 74, 73, 72, 11, 302, 303, 304, 408, 62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268,
    271, 272, 407,
)  # fmt: skip
RIGHT_EYE = (
    33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173, 130, 25, 110, 24, 23, 22, 26, 112, 243,
    247, 30, 29, 27, 28, 56, 190, 226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189, 35,
    124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245, 156, 70, 63, 105, 66, 107, 55, 193,
)  # fmt: skip
LEFT_EYE = (
    263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398, 359, 255, 339, 254, 253, 252, 256,
    341, 463, 467, 260, 259, 257, 258, 286, 414, 446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444, 443, 442,
    441, 413, 265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465, 383, 300, 293, 334, 296, 336,
    285, 417,
)  # fmt: skip
RIM = 16
"""The first so many of an eye's landmarks are the rim of its lids."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the face that the network looks at once more."""

    landmarks: tuple[int, ...]
    level: tuple[int, int]
    """Landmarks whose line is level in the part, left one in the image first."""


PARTS = {
    "output_lips": Part(LIPS, (61, 291)),
    "output_left_eye": Part(RIGHT_EYE, (33, 133)),
    "output_right_eye": Part(LEFT_EYE, (362, 263)),
}
"""By the network's output. It names eyes by their side in the image."""
IRISES = {"output_left_iris": RIGHT_EYE, "output_right_iris": LEFT_EYE}
"""By the network's output, in the order of their landmarks: the eye around each."""


@dataclass(frozen=True, slots=True)
class Region:
    """A turned square of an image."""

    center_px: tuple[float, float]
    """(u, v)."""
    size_px: float
    """Width of the square."""
    angle_rad: float
    """How far its lower edge is turned downwards to the right."""

    @classmethod
    def of_landmarks(cls, points_px: Array) -> Self:
        """Frame a face by its landmarks `[478, 2]`."""
        low, high = points_px.min(0), points_px.max(0)
        return cls._around(low, high, points_px[LEFT_CORNER] - points_px[RIGHT_CORNER])

    @classmethod
    def of_box(cls, box_px: Array, eyes_px: Array) -> Self:
        """Frame a detected face: its box (left, top, width, height) and both eyes `[2, 2]`, left in the image first."""
        return cls._around(box_px[:2], box_px[:2] + box_px[2:], eyes_px[1] - eyes_px[0])

    @classmethod
    def _around(cls, low: Array, high: Array, level: Array) -> Self:
        center = (low + high) / 2
        size = MARGIN * float((high - low).max())
        return cls((float(center[0]), float(center[1])), size, float(np.arctan2(level[1], level[0])))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """`[2, 3]` from pixels of the crop to pixels of the image."""
        scale = self.size_px / CROP_PX
        cosine, sine = scale * np.cos(self.angle_rad), scale * np.sin(self.angle_rad)
        half = CROP_PX / 2
        u, v = self.center_px
        return np.array(
            [[cosine, -sine, u - half * (cosine - sine)], [sine, cosine, v - half * (sine + cosine)]], np.float64
        )


class FaceMesh:
    """Reads landmarks where a face is, from one thread."""

    def __init__(self) -> None:
        """Load the network. Raises `FileNotFoundError` where MediaPipe does not carry it."""
        import openvino

        path = packaged_model(MODEL)
        source = inspect.getsource(sys.modules[__name__])
        digest = hashlib.sha256(path.read_bytes() + f"{openvino.__version__} {source}".encode()).hexdigest()
        network = stored(network_folder() / f"mesh_{digest[:24]}.xml", lambda: _convert(path))
        # Landmarks are read off to a hundredth of a pixel: bfloat16 would round them to one.
        properties = live_properties("f32", threads=1)
        self._request = openvino.Core().compile_model(network, "CPU", properties).create_infer_request()
        self._crop = np.zeros((1, CROP_PX, CROP_PX, 3), np.float32)
        self._request.set_input_tensor(openvino.Tensor(self._crop, shared_memory=True))
        self._points = self._request.get_output_tensor(0).data
        self._presence = self._request.get_output_tensor(1).data

    def look(self, image: Image, region: Region) -> tuple[Array, float]:
        """Look at `region` of `image [H, W, 3]` uint8 RGB.

        Gives `[478, 3]` (u, v, depth) in pixels of the image, and how probable it is that a face is there, 0 to 1.
        """
        matrix = region.matrix
        _sample(image, matrix, self._crop[0])
        self._request.infer()
        points = np.empty((COUNT, 3), np.float32)
        points[:, :2] = self._points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        points[:, 2] = self._points[:, 2] * (region.size_px / CROP_PX)
        return points, float(1.0 / (1.0 + np.exp(-self._presence.flat[0])))

    def close(self) -> None:
        """Free the network."""
        del self._request, self._points, self._presence


def packaged_model(model: Path) -> Path:
    """Say where the installed MediaPipe keeps a network. Raises `FileNotFoundError` where it has none."""
    import mediapipe

    path = Path(mediapipe.__file__).parent / model
    if not path.is_file():
        raise FileNotFoundError(f"MediaPipe {mediapipe.__version__} does not carry {model.name}: install 0.10.21")
    return path


def _convert(path: Path) -> Any:  # noqa: ANN401 - untyped package
    """Read the network, put common operations for MediaPipe's own, and join its outputs to `[478, 3]`."""
    import openvino
    from openvino import opset15 as op
    from openvino.frontend import FrontEndManager

    frontend = FrontEndManager().load_by_framework("tflite")
    partial = frontend.convert_partially(frontend.load(str(path)))
    results = {next(iter(result.input_value(0).get_names())): result for result in partial.get_results()}
    for name, part in PARTS.items():
        _replace(op, results, name, part)
    joined = _joined(op, {name: result.input_value(0) for name, result in results.items()})
    presence = op.reshape(results["conv_faceflag"].input_value(0), [1], special_zero=False)
    network = openvino.Model([joined.output(0), presence.output(0)], partial.get_parameters(), "face_mesh")
    network.validate_nodes_and_infer_types()
    return network


def _replace(op: Any, results: dict[str, Any], name: str, part: Part) -> None:  # noqa: ANN401
    """Replace the operations that lead to the output `name`, and to the iris of an eye."""
    placed = results[name].input_value(0).get_node().input_value(0).get_node()  # [1, N, 2] put back
    scaled = placed.input_value(1).get_node()  # matrix, from features to crop
    framed = next(value.get_node() for value in scaled.input_values() if _is_foreign(value.get_node()))
    cuts = [
        target.get_node() for target in framed.output(0).get_target_inputs() if _is_foreign(target.get_node())
    ]  # the features cut out
    matrix = _framing(op, framed.input_value(0), part)
    for cut in cuts:
        cut.output(0).replace(_cut_out(op, cut.input_value(0), matrix).output(0))
    framed.output(0).replace(matrix.output(0))
    for target in list(scaled.output(0).get_target_inputs()):
        back = target.get_node()
        back.output(0).replace(_put_back(op, back.input_value(0), scaled.output(0)).output(0))


def _is_foreign(node: Any) -> bool:  # noqa: ANN401
    return "FrameworkNode" in str(node.get_type_name())


def _framing(op: Any, landmarks: Any, part: Part) -> Any:  # noqa: ANN401
    """Find where `part` lies in features, by `landmarks [1, 468, 3]`: `[1, 4, 4]` from pixels of the part to there."""
    f32 = np.float32

    def pick(indices: tuple[int, ...]) -> Any:  # noqa: ANN401
        flat = op.gather(op.squeeze(landmarks, [0]), np.array(indices, np.int64), np.int64(0))
        return op.slice(flat, np.array([0]), np.array([2]), np.array([1]), np.array([1]))  # [N, 2]

    ends = pick(part.level)
    along = op.subtract(op.gather(ends, np.int64(1), np.int64(0)), op.gather(ends, np.int64(0), np.int64(0)))
    along = op.divide(along, op.sqrt(op.reduce_sum(op.multiply(along, along), np.int64(0), True)))  # (cos, sin)
    turn = op.reshape(
        op.matmul(along, np.array([[1, 0, 0, 1], [0, 1, -1, 0]], f32), False, False), [2, 2], special_zero=False
    )  # rows (cos, sin), (-sin, cos): from features to upright
    upright = op.matmul(pick(part.landmarks), turn, False, True)
    low, high = op.reduce_min(upright, np.int64(0), False), op.reduce_max(upright, np.int64(0), False)
    size = op.multiply(op.subtract(high, low), np.array([MARGIN / PART_PX] * 2, f32))
    middle = op.matmul(op.multiply(op.add(low, high), np.array([0.5, 0.5], f32)), turn, False, False)
    linear = op.multiply(op.transpose(turn, np.array([1, 0])), op.unsqueeze(size, np.int64(0)))  # [2, 2]
    half = np.array([PART_PX / 2] * 2, f32)
    shift = op.unsqueeze(op.subtract(middle, op.matmul(linear, half, False, False)), np.int64(1))
    rows = op.concat([linear, op.constant(np.zeros((2, 1), f32)), shift], 1)
    rest = op.constant(np.array([[0, 0, 1, 0], [0, 0, 0, 1]], f32))
    return op.unsqueeze(op.concat([rows, rest], 0), np.int64(0))


def _cut_out(op: Any, features: Any, matrix: Any) -> Any:  # noqa: ANN401
    """Cut `[1, P, P, C]` out of `features [1, F, F, C]`, bilinear, 0 outside."""
    centers = np.arange(PART_PX, dtype=np.float32) + 0.5
    places = np.stack([*np.meshgrid(centers, centers), np.zeros((PART_PX, PART_PX)), np.ones((PART_PX, PART_PX))], -1)
    reached = op.matmul(places.reshape(-1, 4).astype(np.float32), op.squeeze(matrix, [0]), False, True)  # [P * P, 4]
    reached = op.slice(reached, np.array([0]), np.array([2]), np.array([1]), np.array([1]))
    # Middles of pixels lie at halves; the grid runs from -1 to 1 between the outermost edges.
    grid = op.subtract(op.multiply(reached, np.float32(2.0 / FEATURES_PX)), np.float32(1.0))
    grid = op.reshape(grid, [1, PART_PX, PART_PX, 2], special_zero=False)
    planes = op.transpose(features, np.array([0, 3, 1, 2]))
    cut = op.grid_sample(planes, grid, {"align_corners": False, "mode": "bilinear", "padding_mode": "zeros"})
    return op.transpose(cut, np.array([0, 2, 3, 1]))


def _put_back(op: Any, points: Any, matrix: Any) -> Any:  # noqa: ANN401
    """Take `points [1, N, 2]` of a part to where `matrix [1, 4, 4]` leads."""
    rows = op.slice(op.squeeze(matrix, [0]), np.array([0]), np.array([2]), np.array([1]), np.array([0]))  # [2, 4]
    linear = op.slice(rows, np.array([0]), np.array([2]), np.array([1]), np.array([1]))
    shift = op.squeeze(op.slice(rows, np.array([3]), np.array([4]), np.array([1]), np.array([1])), [1])
    return op.add(op.matmul(points, linear, False, True), shift)


def _joined(op: Any, outputs: dict[str, Any]) -> Any:  # noqa: ANN401
    """Join the outputs to `[478, 3]`: parts have places of their own, and the mesh's depth."""
    mesh = op.reshape(outputs["output_mesh_identity"], [MESH, 3], special_zero=False)
    places = op.slice(mesh, np.array([0]), np.array([2]), np.array([1]), np.array([1]))
    depths = op.slice(mesh, np.array([2]), np.array([3]), np.array([1]), np.array([1]))
    for name, part in PARTS.items():
        refined = op.reshape(outputs[name], [len(part.landmarks), 2], special_zero=False)
        index = np.array(part.landmarks, np.int64)[:, None]
        places = op.scatter_nd_update(places, index, refined)
    irises = []
    for name, eye in IRISES.items():
        rim = op.gather(depths, np.array(eye[:RIM], np.int64), np.int64(0))
        depth = op.broadcast(op.reduce_mean(rim, np.array([0, 1]), True), np.array([5, 1]))
        irises.append(op.concat([op.reshape(outputs[name], [5, 2], special_zero=False), depth], 1))
    return op.concat([op.concat([places, depths], 1), *irises], 0)


@numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy", boundscheck=False)
def _sample(image: Image, matrix: NDArray[np.float64], crop: Array) -> None:  # pragma: no cover - compiled
    """Fill `crop [S, S, 3]`, 0 to 1, from `image` where `matrix` leads; bilinear, edges repeated."""
    last_row, last_column = image.shape[0] - 1, image.shape[1] - 1
    bottom, right = np.float32(last_row), np.float32(last_column)
    share = np.float32(1.0 / 255.0)
    a, b = np.float32(matrix[0, 0]), np.float32(matrix[1, 0])
    for y in range(crop.shape[0]):
        u_row, v_row = np.float32(matrix[0, 1] * y + matrix[0, 2]), np.float32(matrix[1, 1] * y + matrix[1, 2])
        out = crop[y]
        for x in range(crop.shape[1]):
            u = min(max(u_row + a * np.float32(x), np.float32(0.0)), right)
            v = min(max(v_row + b * np.float32(x), np.float32(0.0)), bottom)
            j, i = int(u), int(v)
            du, dv = u - np.float32(j), v - np.float32(i)
            above, below = image[i], image[min(i + 1, last_row)]
            k = min(j + 1, last_column)
            for channel in range(3):
                top = np.float32(above[j, channel])
                top += du * (np.float32(above[k, channel]) - top)
                low = np.float32(below[j, channel])
                low += du * (np.float32(below[k, channel]) - low)
                out[x, channel] = (top + dv * (low - top)) * share
