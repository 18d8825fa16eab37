"""A network in int8, as OpenVINO's CPU plugin executes it: what its layers are fed, measured, and the network made.

Post-training quantisation (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018): every layer chosen reads 8-bit values, whose range was measured
beforehand, and 8-bit weights, scaled by output channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ranges = dict[str, tuple[float, float]]
"""Least and greatest value that each layer is fed, in the order of OpenVINO's form of the network."""

COVERED = 99.995
"""Percentile of one input's values that a range covers: the rare rest is cut off, for the sake of finer steps."""


def quantizable(network: Any, *, is_wide: bool = False) -> dict[str, Any]:  # noqa: ANN401 - untyped package
    """Find the layers that can read 8 bits, by their number and the shape of their weights: their names are no names.

    Convolutions and matrix products; `is_wide` leaves convolutions wider than one pixel.
    """
    found = [node for node in network.get_ordered_ops() if node.get_type_name() in ("Convolution", "MatMul")]
    layers = {}
    for number, node in enumerate(found):
        shape = _constant(node).data.shape
        if not is_wide or (node.get_type_name() == "Convolution" and max(shape[2:]) > 1):
            layers[f"{number} {node.get_type_name()} {'x'.join(map(str, shape))}"] = node
    return layers


class RangeProbe:
    """A network that also gives what its layers are fed, and the ranges of all that it was seen to give."""

    def __init__(self, network: Any, *, is_wide: bool = False, keep_every: int = 1) -> None:  # noqa: ANN401
        """Copy `network`; of all values, `keep_every` leaves so many out."""
        self.network = network.clone()
        """Its first outputs are the network's own."""
        layers = quantizable(self.network, is_wide=is_wide)
        # Layers that read the same values share one output.
        sources = {name: layer.input(0).get_source_output() for name, layer in layers.items()}
        self._keys = {
            name: (source.get_node().get_friendly_name(), source.get_index()) for name, source in sources.items()
        }
        self._wanted = {self._keys[name]: source for name, source in sources.items()}
        self._keep_every = keep_every
        self.network.add_outputs(list(self._wanted.values()))
        self.ranges: Ranges = dict.fromkeys(layers, (0.0, 0.0))

    def see(self, outputs: Sequence[NDArray[np.float32]]) -> None:
        """Take in what lies behind the network's own outputs, after one run."""
        given = dict(zip(self._wanted, outputs, strict=True))
        seen = {
            key: np.percentile(values.ravel()[:: self._keep_every], (100.0 - COVERED, COVERED))
            for key, values in given.items()
        }
        for name, (low, high) in self.ranges.items():
            least, greatest = seen[self._keys[name]]
            self.ranges[name] = (min(low, float(least)), max(high, float(greatest)))


def quantized(network: Any, ranges: Mapping[str, tuple[float, float]], *, is_wide: bool = False) -> Any:  # noqa: ANN401
    """Give OpenVINO's form of the network anew, reading 8 bits. Raises `ValueError` where a range is missing."""
    network = network.clone()
    for name, layer in quantizable(network, is_wide=is_wide).items():
        if name not in ranges:
            raise ValueError(f"the range of its layer {name} was not measured")
        low, high = ranges[name]
        if low > -1e-6:
            _insert(layer, 0, np.float32(0.0), np.float32(max(high, 1e-6)), 256)
        else:
            # Symmetric, with zero on the grid.
            reach = max(high, -low)
            _insert(layer, 0, np.float32(-reach * 128 / 127), np.float32(reach), 256)
        weights = _constant(layer).data.astype(np.float32)
        axes = tuple(range(1, weights.ndim))
        reach_of_channel = np.abs(weights).max(axes, keepdims=True) + np.float32(1e-12)
        _insert(layer, 1, -reach_of_channel, reach_of_channel, 255)
    network.validate_nodes_and_infer_types()
    return network


def _insert(layer: Any, port: int, low: Any, high: Any, levels: int) -> None:  # noqa: ANN401
    from openvino import opset13

    source, limits = layer.input(port).get_source_output(), [opset13.constant(limit) for limit in (low, high)]
    layer.input(port).replace_source_output(opset13.fake_quantize(source, *limits, *limits, levels).output(0))


def _constant(layer: Any) -> Any:  # noqa: ANN401
    """Find the weights that a layer reads."""
    node = layer.input(1).get_source_output().get_node()
    while node.get_type_name() != "Constant":
        node = node.input(0).get_source_output().get_node()
    return node
