from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from capture import regressor_engines
from capture.quantization import measure_ranges, ranges_path, save_ranges
from capture.regressor_engines import (
    ENGINES,
    TOLERANCE,
    RegressorEngineError,
    TorchRegressor,
    converted,
    disagreement,
    make_regressor_engine,
)
from models import network_cache
from models import regressor as regressor_module
from models.regressor import FaceRegressor, RegressorConfig

SMALL = RegressorConfig(
    size=128, widths=(4, 4, 8, 8), narrow=4, eye_window=(16, 24), eye_widths=(4, 4, 8), summary_channels=(4, 4),
    code=(16, 8), solver=(16, 16, 16), geometry_levels=(3, 5), reflectance_levels=(2, 4),
)  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(network_cache, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(regressor_engines, "_fastest", {})
    return tmp_path


@pytest.fixture(scope="module")
def regressor() -> FaceRegressor:
    torch.manual_seed(0)
    regressor = FaceRegressor(SMALL)
    regressor.train()
    regressor(torch.rand(16, 3, 128, 128))  # so that the normalisation has statistics to fold
    return regressor.eval()


def crop(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (128, 128, 3)).astype(np.uint8)


def test_the_torch_engine_gives_the_network_in_its_units(regressor: FaceRegressor) -> None:
    values = TorchRegressor(regressor).run(crop())
    image = torch.from_numpy(crop()).permute(2, 0, 1)[None] / 255.0
    with torch.inference_mode():
        raw = regressor(image)
    assert values == pytest.approx(regressor.values(raw)[0].numpy(), abs=1e-5)
    assert values[SMALL.fields["expression"]] == pytest.approx(
        regressor.split(raw).expression[0].numpy().clip(0, 1), abs=0.3
    )


@pytest.mark.openvino
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_openvino_agrees_with_torch(regressor: FaceRegressor, precision: str, cache: Path) -> None:
    try:
        engine = make_regressor_engine(regressor, "openvino", precision).engine
    except RegressorEngineError as error:
        pytest.skip(str(error))
    assert disagreement(engine, regressor) < (1e-4 if precision == "fp32" else TOLERANCE)
    kept = list(cache.glob("openvino/*.xml"))
    assert len(kept) == 1
    again = make_regressor_engine(regressor, "openvino", precision).engine
    assert again.run(crop()) == pytest.approx(engine.run(crop()), abs=1e-6)
    assert list(cache.glob("openvino/*.xml")) == kept
    for made in (engine, again):
        made.close()


def test_auto_takes_the_fastest_that_agrees(regressor: FaceRegressor, monkeypatch: pytest.MonkeyPatch) -> None:
    class Engine:
        def __init__(self, name: str, precision: str) -> None:
            self.name, self.precision, self.is_closed = name, precision, False

        def run(self, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
            return TorchRegressor(regressor).run(crop) + (0.5 if self.precision == "bf16" else 0.0)

        def close(self) -> None:
            self.is_closed = True

    made: list[Engine] = []
    times = {"fp32": 1.0, "int8": 0.9}
    monkeypatch.setattr(regressor_engines, "time_regressors", lambda engines, _: [times[e.precision] for e in engines])

    def make(regressor: FaceRegressor, name: str, precision: str, threads: int) -> Engine:
        if (name, precision) == ("openvino", "fp32"):
            raise RegressorEngineError("not here")
        made.append(Engine(name, precision))
        return made[-1]

    monkeypatch.setattr(regressor_engines, "_make", make)
    selection = make_regressor_engine(regressor)
    assert (selection.engine.name, selection.engine.precision) == ("torch", "fp32")
    assert "not here" in selection.reason
    assert "bf16 not: differs" in selection.reason
    # int8 was a little faster, which is not worth what it loses.
    assert [(engine.precision, engine.is_closed) for engine in made] == [
        ("int8", True),
        ("bf16", True),
        ("fp32", False),
    ]
    again = make_regressor_engine(regressor)
    assert (again.engine.precision, again.reason, len(made)) == ("fp32", selection.reason, 4)  # not timed again
    regressor_engines._fastest.clear()
    times["int8"] = 0.8
    assert make_regressor_engine(regressor).engine.precision == "int8"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu_and_leaves_its_weights_there(regressor: FaceRegressor) -> None:
    engine = make_regressor_engine(regressor, "cuda").engine
    assert disagreement(engine, regressor) < TOLERANCE
    assert regressor.out.weight.device.type == "cpu"
    engine.close()


@pytest.mark.openvino
def test_int8_holds_what_its_ranges_were_measured_for(
    regressor: FaceRegressor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regressor_module, "DEFAULT_PATH", tmp_path / "regressor.safetensors")
    with pytest.raises(RegressorEngineError, match="nobody measured"):
        make_regressor_engine(regressor, "openvino", "int8")
    ranges = measure_ranges(converted(regressor), [crop(seed) for seed in range(4)])
    layers = [module for module in regressor.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    # Depthwise convolutions stay as they are, and where each eye's answers belong is a matrix product too.
    assert len(ranges) == 1 + sum(getattr(layer, "groups", 1) == 1 for layer in layers)
    assert next(iter(ranges.values())) == pytest.approx((0.0, 1.0), abs=0.05)  # what the first layer is fed
    save_ranges(regressor, ranges)
    engine = make_regressor_engine(regressor, "openvino", "int8").engine
    reference = TorchRegressor(regressor)
    errors = [(engine.run(crop(9)) - reference.run(crop(9))) / regressor.scale.numpy()]
    assert 1e-6 < np.sqrt(np.mean(np.square(errors))) < TOLERANCE
    engine.close()
    other = FaceRegressor(SMALL).eval()
    with pytest.raises(RegressorEngineError, match="other weights"):
        make_regressor_engine(other, "openvino", "int8")
    ranges_path().write_text("{}", encoding="utf-8")
    with pytest.raises(RegressorEngineError, match="cannot be read"):
        make_regressor_engine(regressor, "openvino", "int8")
    with pytest.raises(RegressorEngineError, match="not in int8"):
        make_regressor_engine(regressor, "torch", "int8")


def test_unknown_and_impossible_engines_are_refused(regressor: FaceRegressor) -> None:
    with pytest.raises(ValueError, match="expected one of auto, openvino, torch, cuda"):
        make_regressor_engine(regressor, "abacus")
    with pytest.raises(ValueError, match="precision"):
        make_regressor_engine(regressor, "torch", "int3")
    if not torch.cuda.is_available():
        with pytest.raises(RegressorEngineError, match="NVIDIA"):
            make_regressor_engine(regressor, "cuda")
    assert ENGINES == ("openvino", "torch", "cuda")
