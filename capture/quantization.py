"""The regressor in int8: what each of its layers is fed, measured on synthetic faces, and the network made with it.

Post-training quantisation as OpenVINO's CPU plugin executes it (Jacob et al., CVPR 2018): every convolution and matrix
product reads 8-bit values, whose range was measured beforehand, and 8-bit weights, scaled by output channel.

`python -m capture.quantization` measures the ranges of the weights that ship and writes them beside the weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import regressor as regressor_module
from models.regressor import FaceRegressor

Image = NDArray[np.uint8]
Ranges = dict[str, tuple[float, float]]
"""Least and greatest value that each layer is fed, in the order of OpenVINO's form of the network."""

COVERED = 99.995
"""Percentile of the values of one crop that a range covers: the rare rest is cut off, for the sake of finer steps."""
CROPS = 192
LAYERS = ("Convolution", "MatMul")


def ranges_path() -> Path:
    """Say where the ranges of the weights that ship lie."""
    return regressor_module.DEFAULT_PATH.with_name("regressor_ranges.json")


def weights_hash(regressor: FaceRegressor) -> str:
    """Tell weights apart: a hash of them."""
    digest = hashlib.sha256()
    for name, value in regressor.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def load_ranges(regressor: FaceRegressor) -> Ranges:
    """Read the ranges of these weights. Raises `ValueError` with a sentence where there are none."""
    try:
        values = json.loads(ranges_path().read_text(encoding="utf-8"))
        measured_on, ranges = values["weights"], {
            str(name): (float(low), float(high)) for name, (low, high) in values["ranges"].items()
        }  # fmt: skip
    except FileNotFoundError:
        raise ValueError("nobody measured the ranges of its layers (python -m capture.quantization)") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the ranges of its layers cannot be read: {error}") from error
    if measured_on != weights_hash(regressor):
        raise ValueError("the ranges of its layers are those of other weights (python -m capture.quantization)")
    return ranges


def save_ranges(regressor: FaceRegressor, ranges: Ranges) -> None:
    """Write what `load_ranges` reads."""
    values = {"weights": weights_hash(regressor), "ranges": ranges}
    ranges_path().write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def measure_ranges(network: Any, crops: Sequence[Image]) -> Ranges:  # noqa: ANN401 - untyped package
    """Run OpenVINO's form of the network over crops `[S, S, 3]` and see what its layers are fed."""
    import openvino

    probe = network.clone()
    layers = _layers(probe)
    # Layers that read the same values share one output.
    sources = {name: layer.input(0).get_source_output() for name, layer in layers.items()}
    keys = {name: (source.get_node().get_friendly_name(), source.get_index()) for name, source in sources.items()}
    wanted = {keys[name]: source for name, source in sources.items()}
    probe.add_outputs(list(wanted.values()))
    compiled = openvino.Core().compile_model(probe, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    ranges: Ranges = {}
    for crop in crops:
        results = dict(zip(wanted, list(compiled(crop[None]).values())[1:], strict=True))
        for name in layers:
            values = results[keys[name]]
            low, high = ranges.get(name, (0.0, 0.0))
            seen = np.percentile(values, (100.0 - COVERED, COVERED))
            ranges[name] = (min(low, float(seen[0])), max(high, float(seen[1])))
    return ranges


def quantized(network: Any, ranges: Ranges) -> Any:  # noqa: ANN401
    """Give OpenVINO's form of the network anew, reading 8 bits. Raises `ValueError` where a range is missing."""
    network = network.clone()
    for name, layer in _layers(network).items():
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


def _layers(network: Any) -> dict[str, Any]:  # noqa: ANN401
    """Find the layers that are quantised, by their number and the shape of their weights: their names are no names."""
    found = [node for node in network.get_ordered_ops() if node.get_type_name() in LAYERS]
    return {
        f"{number} {node.get_type_name()} {'x'.join(map(str, _constant(node).data.shape))}": node
        for number, node in enumerate(found)
    }


def _constant(layer: Any) -> Any:  # noqa: ANN401
    """Find the weights that a layer reads."""
    node = layer.input(1).get_source_output().get_node()
    while node.get_type_name() != "Constant":
        node = node.input(0).get_source_output().get_node()
    return node


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the ranges of the weights that ship, on synthetic faces of the training split, and write them."""
    from capture.regressor_engines import OpenVinoRegressor, TorchRegressor, converted
    from capture.synthetic.config import SyntheticConfig
    from capture.synthetic.faces import SyntheticFaces

    parser = argparse.ArgumentParser(prog="python -m capture.quantization", description=main.__doc__)
    parser.add_argument("--crops", type=int, default=CROPS, help=f"faces to measure on (default {CROPS})")
    args = parser.parse_args(argv)
    try:
        regressor = FaceRegressor.load()
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    rng = np.random.default_rng(0)

    def draw(split: str, count: int) -> list[Image]:
        faces = SyntheticFaces(SyntheticConfig(split=split, seed=0, size=regressor.config.size))  # type: ignore[arg-type]
        return [faces.sample(rng).crop for _ in range(count)]

    network = converted(regressor)
    ranges = measure_ranges(network, draw("train", args.crops))
    save_ranges(regressor, ranges)
    engine, reference = OpenVinoRegressor(regressor, precision="int8"), TorchRegressor(regressor)
    scale = regressor.scale.numpy()
    errors = np.array([(engine.run(crop) - reference.run(crop)) / scale for crop in draw("test", args.crops // 4)])
    for name, where in regressor.config.fields.items():
        print(f"{name:20} {np.sqrt(np.mean(errors[:, where] ** 2)):.4f} standard deviations")
    print(f"{ranges_path()}: {len(ranges)} layers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
