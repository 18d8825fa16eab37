from __future__ import annotations

import datetime as dt
import logging
import shutil
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.face import FaceModel
from models.face_numbers import FACE_NUMBERS
from models.generator import SpaceTimeGenerator, into_blocks, out_of_blocks
from models.photo_generator import PhotoGenerator, soften
from models.quantization import RangeProbe
from reenact import consent
from reenact import portrait as portrait_module
from reenact.actor import ConsentError, sign_actor
from reenact.engines import int8_form as int8_form_module
from reenact.engines import live_kernels, openvino_engine, select
from reenact.engines.engine import Engine, EngineError
from reenact.engines.live_step import LiveInputs
from reenact.engines.openvino_engine import OpenVinoEngine, has_bf16
from reenact.engines.select import make_engine, refusal
from reenact.engines.torch_engine import TorchEngine
from reenact.moving_frames import POSES, SHAPES, STEPS, _pose, moving_frames
from reenact.portrait import FORGIVEN_S, Portrait
from reenact.target import LIMITED
from reenact.window import Step
from tests.unit.reenact.make import make_actor, make_generator, make_target

FRAMES = 14


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep converted networks of tests out of the user's cache, and share them among tests."""
    folder = tmp_path_factory.getbasetemp() / "engines"
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr(openvino_engine, "network_folder", lambda: folder)
    return folder


ROUNDING = {"lean": 0.5 + 255e-4, "full": 0.5 + 255e-4, "photo": 1.0 + 255e-4}
"""Levels that rounding may cost an engine, and 1e-4 of the range: the photo design's edges are rounded twice."""


def random_conditioning(count: int = FRAMES, size: int = 128) -> NDArray[Any]:
    """Make smooth frames `[count, 9, S, S]`, a third of each empty as beside a head."""
    rng = np.random.default_rng(4)
    coarse = torch.from_numpy(rng.uniform(0.05, 1, (count, 9, 8, 8)).astype(np.float32))
    frames = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear").numpy()
    frames[..., : size // 3] = 0
    return np.ascontiguousarray(frames)


def expected_levels(generator: SpaceTimeGenerator, frames: NDArray[Any], index: int) -> NDArray[Any]:
    """Compute the whole-window form of frame `index`, the first frame repeated before the start; 0 to 255."""
    rows = np.maximum(np.arange(index - generator.config.window + 1, index + 1), 0)
    with torch.no_grad():
        image = generator(torch.from_numpy(frames[rows])[None])
    return image[0].permute(1, 2, 0).numpy() * 255.0


def stream(engine: Engine, frames: NDArray[Any]) -> list[NDArray[Any]]:
    order = [Step.RESTART, Step.REPLACE] + [Step.APPEND] * len(frames)
    return [engine.generate(frame, step).copy() for frame, step in zip(frames, order, strict=False)]


@pytest.mark.parametrize(("window", "design"), [(1, "lean"), (2, "lean"), (11, "lean"), (11, "photo"), (11, "full")])
def test_streaming_equals_the_window_form(window: int, design: str) -> None:
    """Check the network itself to 1e-4, as floats; engines add only the rounding to bytes."""
    generator, frames = make_generator(window=window, design=design), torch.from_numpy(random_conditioning())
    with torch.no_grad():
        stems = [generator.stem(frame[None]) for frame in frames]
        for index in (0, 3, FRAMES - 1):
            rows = np.maximum(np.arange(index - window + 1, index + 1), 0)
            streamed = generator.decode(frames[index][None], torch.stack([stems[row] for row in rows], 1))
            whole = generator(frames[rows][None])
            assert float((streamed - whole).abs().max()) < 1e-4
            assert float(whole.std()) > 0.05


@pytest.mark.parametrize(
    ("window", "design", "magnification"),
    [(1, "lean", 1), (11, "lean", 1), (11, "lean", 2), (11, "photo", 1), (11, "photo", 2), (11, "full", 1)],
)
@pytest.mark.parametrize("make", [TorchEngine, pytest.param(OpenVinoEngine, marks=pytest.mark.openvino)])
def test_every_engine_streams_what_the_window_form_gives(
    make: Callable[..., Engine], window: int, design: str, magnification: int
) -> None:
    size = 128 * magnification
    generator = make_generator(window=window, design=design, magnification=magnification)
    frames = random_conditioning(size=size)
    engine = make(generator, precision="fp32")
    images = stream(engine, frames)
    for index, image in enumerate(images):
        assert image.shape == (size, size, 3)
        assert image.dtype == np.uint8
        if index in (0, 1, 2, 9, 10, 11, FRAMES - 1):
            assert np.abs(image - expected_levels(generator, frames, index)).max() < ROUNDING[design]
    engine.close()


def test_the_past_matters_and_a_restart_forgets_it() -> None:
    generator, frames = make_generator(), random_conditioning()
    engine = TorchEngine(generator)
    late = stream(engine, frames)[-1]
    fresh = engine.generate(frames[-1], Step.RESTART).copy()
    assert np.abs(late.astype(int) - fresh).max() > 2
    np.testing.assert_array_equal(fresh, TorchEngine(generator).generate(frames[-1], Step.RESTART))


@pytest.mark.openvino
def test_bfloat16_comes_within_a_few_levels() -> None:
    if not has_bf16():
        pytest.skip("this processor has no bfloat16")
    generator, frames = make_generator(), random_conditioning()
    images = stream(OpenVinoEngine(generator, precision="bf16"), frames)
    error = np.abs(images[-1] - expected_levels(generator, frames, FRAMES - 1))
    assert error.mean() < 1.5
    assert error.max() < 25


@pytest.mark.openvino
def test_int8_shows_the_same_pictures_and_is_measured_once(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8_form_module, "LEAST_DB", 33.0)  # a network of chance is a rougher one
    generator, frames = make_generator(), random_conditioning()
    images = stream(OpenVinoEngine(generator, precision="int8", frames=lambda: list(frames)), frames)
    errors = [images[index] - expected_levels(generator, frames, index) for index in (0, 3, FRAMES - 1)]
    psnr_db = 10 * np.log10(255.0**2 / np.mean(np.square(errors)))
    # Eight bits are neither the same pictures nor other ones.
    assert 33.0 < psnr_db < 60.0
    (form,) = own_cache.glob(f"{openvino_engine._fingerprint(generator)}-int8-*.xml")
    with monkeypatch.context() as patch:
        patch.setattr(int8_form_module, "RangeProbe", lambda *_, **__: pytest.fail("measured again"))
        OpenVinoEngine(generator, precision="int8", frames=lambda: list(frames)).close()
    form.with_suffix(".json").write_text('{"psnr_db": 30.0}')
    with pytest.raises(EngineError, match=r"differ from float32's \(PSNR 30.0 dB, wanted 33\)"):
        OpenVinoEngine(generator, precision="int8", frames=lambda: list(frames))


@pytest.mark.openvino
def test_ranges_of_other_pictures_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, frames = make_generator(window=2), random_conditioning(4)
    seen = RangeProbe.see

    def see_a_third(probe: RangeProbe, outputs: list[NDArray[Any]]) -> None:
        seen(probe, [output / 3 for output in outputs])

    monkeypatch.setattr(RangeProbe, "see", see_a_third)
    with pytest.raises(EngineError, match="Its pictures differ from float32's"):
        OpenVinoEngine(generator, precision="int8", frames=lambda: list(frames))
    with pytest.raises(EngineError, match="There are no frames of the target"):
        OpenVinoEngine(generator, precision="int8")


def test_a_target_is_measured_as_it_moves_within_its_limits() -> None:
    target, model, generator = make_target(), FaceModel.load(), make_generator()
    frames = moving_frames(target, generator, model)()
    assert len(frames) == (POSES - 1) * STEPS
    assert {frame.shape for frame in frames} == {(9, 128, 128)}
    steps = [float(np.abs(after - before).mean()) for before, after in pairwise(frames)]
    assert min(steps) > 0.0
    np.testing.assert_array_equal(frames[-1], moving_frames(target, generator, model)()[-1])
    poses = [_pose(target, np.random.default_rng(seed)) for seed in range(20)]
    for name in LIMITED:
        values = np.array([getattr(pose, name) for pose in poses])
        assert (values >= target.low[name] - 1e-6).all()
        assert (values <= target.high[name] + 1e-6).all()
    assert {int((pose.expression != target.neutral.expression).sum()) for pose in poses} == {SHAPES}


def test_a_dropped_conditioning_image_is_dropped_in_every_form() -> None:
    generator, frames = make_generator(dropped=("correspondence",)), random_conditioning(2)
    image = TorchEngine(generator).generate(frames[0], Step.RESTART)
    assert np.abs(image - expected_levels(generator, frames, 0)).max() < 0.6


@pytest.mark.parametrize(("design", "magnification"), [("lean", 1), ("lean", 2), ("photo", 2), ("full", 1)])
def test_inputs_are_laid_out_as_the_generator_does(design: str, magnification: int) -> None:
    generator = make_generator(design=design, magnification=magnification)
    frames = random_conditioning(1, size=128 * magnification)
    inputs = LiveInputs(generator)
    inputs.set(frames[0])
    tensor = torch.from_numpy(frames)
    with torch.no_grad():
        surface = torch.cat([generator.sample_texture(tensor[:, 3:6]), tensor[:, 6:9]], 1)
        trunk = functional.avg_pool2d(tensor, magnification)
    nested = into_blocks(into_blocks(surface, magnification), generator.block)
    expected = [functional.pixel_unshuffle(trunk, 2), nested, functional.avg_pool2d(tensor, generator.reduction)]
    for array, wanted in zip(inputs.arrays, expected, strict=True):
        np.testing.assert_allclose(array[0], wanted[0].permute(1, 2, 0).numpy(), atol=1e-4)
    assert inputs.surface[0, :, :, :-4].std() > 0.01
    inputs.set(np.zeros_like(frames[0]))
    assert not any(array.any() for array in inputs.arrays)


@pytest.mark.parametrize("is_half", [False, True])
def test_the_surface_follows_the_face_as_the_generators_does(is_half: bool) -> None:
    generator = make_generator(design="photo")
    assert isinstance(generator, PhotoGenerator)
    generator.changes[:, :, :3, :5] = 0.0  # never seen, and therefore not changing
    inputs, frame, rng = LiveInputs(generator, is_half=is_half), random_conditioning(1), np.random.default_rng(3)

    def surface(face: NDArray[np.float32] | None) -> torch.Tensor:
        """Give what is looked up of the texture, with coverage, laid out as the generator does."""
        inputs.set(frame[0], face)
        array = torch.from_numpy(inputs.surface.copy())
        values = array.view(torch.bfloat16).float() if is_half else array
        return out_of_blocks(values.permute(0, 3, 1, 2), generator.block)[:, :-3]

    def difference(face: NDArray[np.float32] | None) -> float:
        with torch.no_grad():
            codes = torch.from_numpy(frame[:, 3:6])
            wanted = generator.sample_texture(codes, None if face is None else torch.from_numpy(face[None]))
        # Of how far each channel goes: bfloat16 has eight bits.
        return float(((surface(face) - wanted).abs().amax((2, 3)) / wanted.abs().amax((2, 3))).max())

    limit = 2.0**-7 if is_half else 1e-4
    assert difference(None) < limit
    at_rest = surface(None)
    for _ in range(2):
        face = rng.normal(0, 1, FACE_NUMBERS).astype(np.float32)
        assert difference(face) < limit
        change = (surface(face) - at_rest).abs()
        assert change[:, :3].mean() > 0.1
        assert not change[:, 3:].any()
    assert inputs._texture.change[3:, 5:, :3].all()
    assert not inputs._texture.change[:3, :5].any()
    assert not inputs._texture.change[..., 3].any()


@pytest.mark.parametrize("make", [TorchEngine, pytest.param(OpenVinoEngine, marks=pytest.mark.openvino)])
def test_every_engine_shows_the_colours_of_the_face(make: Callable[..., Engine]) -> None:
    generator, frame = make_generator(window=1, design="photo"), random_conditioning(1)[0]
    engine = make(generator, precision="fp32")
    pictures = []
    for seed in range(2):
        face = np.random.default_rng(seed).normal(0, 1, FACE_NUMBERS).astype(np.float32)
        pictures.append(engine.generate(frame, Step.RESTART, face).copy())
        tensor = torch.from_numpy(frame[None])
        with torch.no_grad():
            wanted = generator.decode(tensor, generator.stem(tensor)[:, None], torch.from_numpy(face[None]))
        assert np.abs(pictures[-1] - 255.0 * wanted[0].permute(1, 2, 0).numpy()).max() < ROUNDING["photo"]
    assert np.abs(pictures[0].astype(int) - pictures[1]).max() > 5
    engine.close()


def test_edges_are_softened_as_the_generator_does() -> None:
    rng = np.random.default_rng(5)
    frame = random_conditioning(1)[0]
    frame[3:6, 30:50, 60:90] += 0.2
    frame[3:6, :, -1] += 0.3
    frame[3:6, -1, :] += 0.3
    before = rng.integers(0, 256, (128, 128, 3)).astype(np.uint8)
    after = before.copy()
    live_kernels.softener()(frame, after)
    picture, codes = (torch.from_numpy(array.astype(np.float32))[None] for array in (before.transpose(2, 0, 1), frame))
    expected = soften(picture, codes[:, 3:6])[0].permute(1, 2, 0).numpy()
    assert np.abs(after - expected).max() <= 0.5
    is_changed = (after != before).any(2)
    assert is_changed[29:31, 60:90].all()
    assert is_changed[:, 126:].all()
    assert 0.05 < is_changed.mean() < 0.15
    assert not is_changed[35:45, 65:85].any()
    engine = TorchEngine(make_generator(design="photo", dropped=("correspondence",)))
    assert engine._soften is None


def test_another_size_of_conditioning_is_refused() -> None:
    with pytest.raises(ValueError, match=r"conditioning: expected \(9, 128, 128\), got \(9, 64, 64\)"):
        LiveInputs(make_generator()).set(np.zeros((9, 64, 64), np.float32))


@pytest.mark.openvino
def test_a_damaged_cache_is_made_anew(own_cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    generator = make_generator(window=1)
    OpenVinoEngine(generator).close()
    (path,) = own_cache.glob(f"{openvino_engine._fingerprint(generator)}.xml")
    path.write_text("<net>")
    with caplog.at_level(logging.WARNING):
        OpenVinoEngine(generator).generate(random_conditioning(1)[0], Step.RESTART)
    assert "cannot be read" in caplog.text


def test_other_weights_get_another_place_in_the_cache() -> None:
    first, second = make_generator(), make_generator()
    second.plate[0, 0, 0, 0] += 0.01
    assert openvino_engine._fingerprint(first) != openvino_engine._fingerprint(second)


class FakeEngine:
    def __init__(self, name: str, precision: str) -> None:
        self.name, self.precision = name, precision
        self.is_closed = False

    def generate(self, conditioning: NDArray[Any], step: Step, face: NDArray[Any] | None = None) -> NDArray[Any]:
        raise NotImplementedError

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], float]:
    """Stand in for the engines; a test fills in what a step of each costs, in milliseconds."""
    costs: dict[tuple[str, str], float] = {}

    def make(_generator: SpaceTimeGenerator, name: str, precision: str, *_: object) -> Engine:
        if (name, precision) not in costs:
            raise EngineError(f"{name} is broken.")
        return FakeEngine(name, precision)

    monkeypatch.setattr(select, "_make", make)
    monkeypatch.setattr(select, "time_engines", lambda engines, _config: [costs[e.name, e.precision] for e in engines])
    monkeypatch.setattr(select, "_fastest", {})
    return costs


def test_auto_takes_the_fastest_and_says_why(fakes: dict[tuple[str, str], float]) -> None:
    fakes.update(dict(zip(select.AUTO, (7.0, 9.0, 5.0, 20.0), strict=True)))
    chosen = make_engine(make_generator())
    assert (chosen.engine.name, chosen.engine.precision) == ("openvino", "fp32")
    times = "openvino int8 7.0 ms, openvino bf16 9.0 ms, openvino fp32 5.0 ms, torch fp32 20.0 ms"
    assert chosen.reason == f"fastest here: {times}"


def test_auto_goes_on_when_an_engine_does_not_work(fakes: dict[tuple[str, str], float]) -> None:
    fakes[("torch", "fp32")] = 20.0
    chosen = make_engine(make_generator())
    assert chosen.engine.name == "torch"
    assert chosen.reason.startswith("fastest here: torch fp32 20.0 ms, openvino int8 not: openvino is broken.")
    fakes.clear()
    select._fastest.clear()
    with pytest.raises(EngineError, match="No engine works here: openvino int8 not: openvino is broken"):
        make_engine(make_generator())


def test_a_choice_is_remembered_for_the_next_session(fakes: dict[tuple[str, str], float]) -> None:
    fakes.update({("openvino", "bf16"): 9.0, ("openvino", "fp32"): 10.0, ("torch", "fp32"): 20.0})
    first = make_engine(make_generator())
    fakes[("openvino", "bf16")] = 50.0
    assert make_engine(make_generator()).reason == first.reason


def test_a_named_engine_that_cannot_run_is_refused_with_the_reason() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(EngineError, match="TensorRT needs an NVIDIA GPU, and PyTorch finds none here"):
        make_engine(make_generator(), "tensorrt")
    assert refusal("torch") is None
    with pytest.raises(EngineError, match="fp16 needs an engine on a GPU"):
        make_engine(make_generator(), "torch", "fp16")


def test_names_that_there_are_not_are_refused() -> None:
    with pytest.raises(ValueError, match="engine: expected one of auto, openvino, torch, tensorrt, got 'onnx'"):
        make_engine(make_generator(), "onnx")
    with pytest.raises(ValueError, match="precision: expected one of auto, fp32, bf16, fp16, int8, got 'int4'"):
        make_engine(make_generator(), "torch", "int4")


def test_a_named_engine_is_used_as_asked() -> None:
    chosen = make_engine(make_generator(), "torch", "bf16")
    assert (chosen.engine.name, chosen.engine.precision) == ("torch", "bf16")
    assert chosen.reason == "torch in bf16: asked for"


def test_a_portrait_goes_on_with_the_next_engine_when_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = make_actor(tmp_path)
    portrait = Portrait(actor, engine="openvino", precision="fp32")
    params = actor.target.neutral
    before = portrait.show(params, 0.0)
    monkeypatch.setattr(portrait._engine, "generate", lambda *_: 1 / 0)
    with pytest.raises(EngineError, match="openvino fp32 failed: division by zero"):
        portrait.show(params, 0.03)
    monkeypatch.setattr(select, "AUTO", (("openvino", "fp32"), ("torch", "fp32")))
    portrait.fall_back()
    assert (portrait.engine_name, portrait.engine_reason) == ("torch", "openvino fp32 failed while running")
    # The window starts anew: the same moment again is the same picture, but for rounding.
    assert np.abs(portrait.show(params, 0.06).astype(int) - before.astype(int)).max() <= 2
    with pytest.raises(EngineError, match="No engine is left: openvino fp32 failed .*; torch fp32 failed"):
        portrait.fall_back()
    portrait.close()


def test_an_engine_that_failed_is_forgiven_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "AUTO", (("openvino", "fp32"), ("torch", "fp32")))
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    portrait = Portrait(make_actor(tmp_path), engine="openvino", precision="fp32")
    portrait.fall_back()
    at_once = portrait.may_improve
    now_s += FORGIVEN_S + 1
    assert (at_once, portrait.may_improve) == (False, True)
    portrait.fall_back()
    assert (portrait.engine_name, portrait.engine_reason) == ("openvino", "torch fp32 failed while running")
    assert not portrait.may_improve
    portrait.close()


def test_no_picture_is_made_after_consent_has_ended_or_was_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tomorrow = consent.today() + dt.timedelta(days=1)
    agreed = consent.Consent.of_words("I agree.", person="Nora Berg", purpose="a play", until=tomorrow)
    actor = sign_actor(make_actor(tmp_path).folder, agreed)
    portrait, neutral = Portrait(actor, engine="torch"), actor.target.neutral
    portrait.show(neutral, 0.0)
    monkeypatch.setattr(portrait_module, "CONSENT_S", 0.0)
    portrait._consent_due_s = 0.0
    portrait.show(neutral, 0.03)
    with monkeypatch.context() as patch:
        patch.setattr(consent, "today", lambda: tomorrow + dt.timedelta(days=1))
        with pytest.raises(ConsentError, match=f"The consent to show 'Nora Berg' in .* ended on {tomorrow}"):
            portrait.show(neutral, 0.06)
    portrait.show(neutral, 0.09)
    shutil.rmtree(actor.folder)
    with pytest.raises(ConsentError, match=r"was withdrawn: .* is gone\."):
        portrait.show(neutral, 0.12)
    portrait.close()


def test_an_engine_that_fails_at_its_trial_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such instruction")

    generator = make_generator(window=3)
    monkeypatch.setattr(select, "_fastest", {})
    monkeypatch.setattr(select, "AUTO", (("openvino", "fp32"), ("torch", "fp32")))
    monkeypatch.setattr(OpenVinoEngine, "generate", fail)
    selection = make_engine(generator)
    assert selection.engine.name == "torch"
    selection.engine.close()
    monkeypatch.setattr(select, "_fastest", {})
    monkeypatch.setattr(TorchEngine, "generate", fail)
    with pytest.raises(EngineError, match="every one failed at its trial"):
        make_engine(generator)
