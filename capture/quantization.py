"""The regressor in int8: what each of its layers is fed, measured on synthetic faces, and the network made with it.

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
from models.quantization import RangeProbe, Ranges
from models.regressor import FaceRegressor

Image = NDArray[np.uint8]
CROPS = 192


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

    probe = RangeProbe(network)
    compiled = openvino.Core().compile_model(probe.network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for crop in crops:
        probe.see(list(compiled(crop[None]).values())[1:])
    return probe.ranges


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
