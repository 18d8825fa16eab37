"""The weights of MediaPipe's face mesh, out of its own package, as the trunk of a regressor begins with them.

They are Google's, under the Apache License 2.0, and were trained on real faces; what is trained on top begins there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from capture.face_mesh import packaged_model
from models.mesh_trunk import MeshTrunk

MODEL = Path("modules/face_landmark/face_landmark.tflite")
"""Where the network lies in MediaPipe's package: 468 landmarks of a crop of 192 pixels."""
SIZE, WIDTHS, NARROW = 192, (16, 32, 64, 128), 32
"""What a `MeshTrunk` must be to take the weights over."""


def mesh_model_path() -> Path:
    """Say where the installed MediaPipe keeps the network. Raises `FileNotFoundError` where it has none."""
    return packaged_model(MODEL)


@torch.no_grad()
def load_mesh_weights(trunk: MeshTrunk, path: Path | None = None) -> None:
    """Copy the weights into `trunk`. Raises `ValueError` where its shape is another."""
    layers = _layers(path or mesh_model_path())
    convolutions = list(trunk.convolutions())
    if len(layers) != len(convolutions):
        raise ValueError(f"mesh weights: expected {len(convolutions)} convolutions, got {len(layers)}")
    for (conv, slope), (weight, bias, slopes) in zip(convolutions, layers, strict=True):
        if conv.weight.shape != weight.shape or (slope is None) != (slopes is None):
            raise ValueError(f"mesh weights: expected a layer of {list(conv.weight.shape)}, got {list(weight.shape)}")
        conv.weight.copy_(torch.from_numpy(weight))
        assert conv.bias is not None
        conv.bias.copy_(torch.from_numpy(bias))
        if slope is not None and slopes is not None:
            slope.weight.copy_(torch.from_numpy(slopes))


Layer = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]


def _layers(path: Path) -> list[Layer]:
    """Read every convolution in order: weights, bias, and the slopes of the rectifier behind it."""
    import openvino

    core = openvino.Core()
    wanted: list[Any] = []
    is_rectified: list[bool] = []
    network = core.read_model(path)
    for node in network.get_ordered_ops():
        if node.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        added = _after(node)
        follower = _after(added)
        if follower.get_type_name() == "Add":  # of a block to its input
            follower = _after(follower)
        is_rectified.append(follower.get_type_name() == "PRelu")
        wanted += [node.input_value(1), added.input_value(1), follower.input_value(1)][: 2 + is_rectified[-1]]
    # Constants, but half precision and in another order: evaluated all at once, as a network of no inputs.
    model = openvino.Model([openvino.opset13.convert(output, "f32").output(0) for output in wanted], [])
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    values = iter([np.array(value, np.float32) for value in core.compile_model(model, "CPU", precise)([]).values()])
    layers: list[Layer] = []
    for has_slopes in is_rectified:
        weight, bias = next(values), next(values).reshape(-1)
        if weight.ndim == 5:  # groups, outputs and inputs of each
            weight = weight.reshape(-1, *weight.shape[2:])
        layers.append((weight, bias, next(values).reshape(-1) if has_slopes else None))
    return layers


def _after(node: Any) -> Any:  # noqa: ANN401 - untyped package
    """Give what reads a layer's result first."""
    return next(iter(node.output(0).get_target_inputs())).get_node()
