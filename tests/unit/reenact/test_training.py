"""A tiny target, trained for seconds: the loop learns, is saved and goes on, and its data is what it says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from capture.train_tracker.processes import Processes
from models.camera import Camera
from models.face import FaceModel
from models.generator import GeneratorConfig
from models.params import EXPRESSION_INDEX, FaceParams
from reenact.appearance import fit_appearance
from reenact.conditioning import ConditioningRenderer
from reenact.dataset import Recording
from reenact.train import pairs, prepare
from reenact.trainer import Trainer, TrainingConfig
from reenact.training_set import TrainingSet
from streamer.cli import main
from tests.enrolment import BAD

SIZE = 128
SMALL = GeneratorConfig(
    resolution=SIZE, window=3, stem_channels=4, widths=(8, 8, 8, 8, 8), texture_channels=4, texture_size=(32, 48)
)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return FaceModel.load()


@pytest.fixture(scope="module")
def recording(model: FaceModel, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Twelve frames of a head that turns and opens its mouth, in light from one side, on grey."""
    folder = tmp_path_factory.mktemp("recording")
    camera = Camera(width=SIZE, height=SIZE, focal_px=300.0, center_px=(SIZE / 2, SIZE / 2))
    light = FaceParams.neutral().illumination.copy()
    light[:, 3] = 0.8
    rng = np.random.default_rng(3)
    identity, reflectance = rng.normal(0, 0.7, (2, 80)).astype(np.float32)
    frames, files = [], []
    renderer = ConditioningRenderer(model, camera)
    for index in range(12):
        expression = np.zeros(52, np.float32)
        expression[EXPRESSION_INDEX["jawOpen"]] = index % 4 / 4
        params = FaceParams.neutral(distance_m=0.9).replace(
            identity=identity, reflectance=reflectance, illumination=light, expression=expression,
            rotation=np.array([0.05 * (index - 6), 0.0, 0.0], np.float32),
        )  # fmt: skip
        drawn = renderer.render(params)
        picture = np.where(drawn[3:6].sum(0) > 0, drawn[:3], 0.4).transpose(1, 2, 0)
        files.append(folder / f"{index:05d}.png")
        Image.fromarray((picture * 255).astype(np.uint8)).save(files[-1])
        frames.append(params)
    return Recording(
        params=FaceParams.stack(frames), camera=camera, frame_rate=30.0, pictured=np.arange(12),
        held_out=np.array([5, 11]), pictures=tuple(files), name="test",
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(model: FaceModel, recording: Recording) -> TrainingSet:
    return TrainingSet(recording, model, fit_appearance(model, recording, frames=8), SMALL)


def make_trainer(data: TrainingSet, folder: Path, **changes: float) -> Trainer:
    config = dataclasses.replace(TrainingConfig(steps=40, perceptual_from=1.0, adversarial_from=1.0), **changes)  # type: ignore[arg-type]
    return Trainer(config, SMALL, data, folder, Processes(torch.device("cpu")))


def test_appearance_is_recovered(model: FaceModel, recording: Recording) -> None:
    look = fit_appearance(model, recording, frames=8)
    renderer = ConditioningRenderer(model, recording.camera)
    truth = renderer.render(recording.params[4]).copy()
    drawn = renderer.render(recording.params[4].replace(reflectance=look.reflectance, illumination=look.illumination))
    head = (truth[3:6].sum(0) > 0) & (truth[6] == 0)
    blank = renderer.render(recording.params[4].replace(
        reflectance=np.zeros(80, np.float32), illumination=FaceParams.neutral().illumination
    )).copy()  # fmt: skip
    error = np.abs(drawn[:3] - truth[:3])[:, head].mean()
    assert error < 0.03
    assert error < 0.4 * np.abs(blank[:3] - truth[:3])[:, head].mean()


def test_windows_end_with_their_frame(data: TrainingSet, recording: Recording) -> None:
    batch = data.batch(np.array([1, 7]), torch.device("cpu"))
    current, reduced, truth = batch.current, batch.reduced, batch.truth
    assert recording.window(1, 3).tolist() == [0, 0, 1]
    assert current.shape == (2, 9, SIZE, SIZE)
    assert reduced.shape == (2, 3, 9, SIZE // 4, SIZE // 4)
    assert truth.shape == (2, 3, SIZE, SIZE)
    pooled = torch.nn.functional.avg_pool2d(current, 4)
    torch.testing.assert_close(pooled, reduced[:, -1], atol=2e-3, rtol=0)
    assert not torch.allclose(pooled, reduced[:, 0], atol=2e-3, rtol=0)


def test_held_out_frames_are_never_drawn(data: TrainingSet, tmp_path: Path) -> None:
    trainer = make_trainer(data, tmp_path)
    drawn = {int(frame) for _ in range(20) for frame in trainer._draw(4)}
    assert drawn == set(range(12)) - {5, 11}


def test_training_learns_and_goes_on_after_an_interruption(data: TrainingSet, tmp_path: Path) -> None:
    held_out = data.recording.held_out
    trainer = make_trainer(data, tmp_path)
    before = trainer.psnr(held_out)
    for _ in range(20):
        trainer.run_step()
    trainer.save()
    second = make_trainer(data, tmp_path)
    assert second.resume()
    assert second.step == 20
    assert second.share == pytest.approx(0.5)
    torch.testing.assert_close(second.predict(held_out), trainer.predict(held_out))
    while second.share < 1:
        second.run_step()
    assert second.step == 40
    assert second.psnr(held_out) > before + 1.0


def test_a_run_whose_score_rises_no_more_comes_to_its_end(
    data: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(data, tmp_path, steps=2000, patience=3)
    scores = iter([20.0, 24.0, 27.0, 27.01, 26.9, 27.04, 30.0])
    monkeypatch.setattr(trainer, "psnr", lambda _frames: next(scores))
    ends = []
    for step in range(100, 800, 100):
        trainer.step = step
        trainer.judge(data.recording.held_out)
        ends.append(trainer.end)
    assert ends[:5] == [1.0] * 5
    assert ends[5] == pytest.approx(600 / 2000 / 0.75)
    assert ends[6] == ends[5]  # what it still gains at its end does not make it longer
    assert trainer.progress == pytest.approx(700 / 800)
    trainer.save()
    again = make_trainer(data, tmp_path, steps=2000, patience=3)
    assert again.resume()
    assert (again.end, len(again.scores)) == (trainer.end, 7)


def test_once_it_is_trained_on_lpips_says_whether_a_run_still_rises(
    data: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PSNR falls from where it was before: that ends nothing."""
    trainer = make_trainer(data, tmp_path, steps=2000, patience=3, perceptual_from=0.05)
    monkeypatch.setattr(trainer, "psnr", lambda _frames: 30.0 - trainer.step / 1000)
    trainer.step = 100
    assert set(trainer.judge(data.recording.held_out)) == {"psnr"}
    monkeypatch.setattr(trainer, "perceptual", object())
    scores = iter([0.3, 0.2, 0.19, 0.18, 0.175, 0.1745, 0.1744, 0.1746])
    monkeypatch.setattr(trainer, "lpips", lambda _frames: next(scores))
    ends = []
    for step in range(200, 1000, 100):
        trainer.step = step
        assert set(trainer.judge(data.recording.held_out)) == {"psnr", "lpips"}
        ends.append(trainer.end)
    assert ends[:7] == [1.0] * 7
    assert ends[7] < 1.0


def test_a_run_that_hardly_gets_a_turn_is_not_taken_for_one_that_stands_still(
    data: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(data, tmp_path, steps=2000, patience=3)
    monkeypatch.setattr(trainer, "psnr", lambda _frames: 20.0)
    for step in range(10, 310, 10):
        trainer.step = step
        trainer.judge(data.recording.held_out)
    assert trainer.end == 1.0
    trainer.step = 410
    trainer.judge(data.recording.held_out)
    assert trainer.end < 1.0


def test_a_base_is_taken_over_where_it_fits(data: TrainingSet, tmp_path: Path) -> None:
    first = make_trainer(data, tmp_path / "first", seed=1)
    base = first.generator.state_dict()
    base["paint.weight"] = base["paint.weight"][:, :3]
    second = Trainer(first.config, SMALL, data, tmp_path, Processes(torch.device("cpu")), base)
    assert torch.equal(second.generator.texture, first.generator.texture)
    fresh = Trainer(first.config, SMALL, data, tmp_path, Processes(torch.device("cpu")))
    assert torch.equal(second.generator.state_dict()["paint.weight"], fresh.generator.state_dict()["paint.weight"])


def test_a_persons_own_shape_and_teeth_stay_with_the_weights_and_are_never_anothers(
    model: FaceModel, recording: Recording, tmp_path: Path
) -> None:
    shape = np.random.default_rng(2).normal(0.0, 0.001, model.mean.shape).astype(np.float32)
    rise = np.array([-0.004, 0.006], np.float32)
    own = dataclasses.replace(recording, shape=shape, teeth_rise=rise)
    plain, shaped = (TrainingSet(r, model, fit_appearance(model, r, frames=2), SMALL) for r in (recording, own))
    assert (plain.current != shaped.current).any()
    first = make_trainer(shaped, tmp_path / "first")
    for network in (first.generator, first.average):
        torch.testing.assert_close(network.own_shape, torch.from_numpy(shape))
        torch.testing.assert_close(network.teeth_rise, torch.from_numpy(rise))
    base = first.generator.state_dict()
    other = Trainer(first.config, SMALL, plain, tmp_path, Processes(torch.device("cpu")), base)
    assert not other.generator.own_shape.any()
    assert not other.generator.teeth_rise.any()
    camera = recording.camera
    drawn = ConditioningRenderer.of(first.average, camera, model).render(recording.params[3])
    expected = ConditioningRenderer(model, camera, shape=shape, teeth_rise=rise).render(recording.params[3])
    np.testing.assert_array_equal(drawn, expected)


def test_a_photo_generator_shows_the_person_before_it_learns(
    model: FaceModel, recording: Recording, tmp_path: Path
) -> None:
    """What it begins with is nearer, in poses that it did not see, than a network that has not learned."""
    config = dataclasses.replace(SMALL, design="photo", texture_size=(96, 144))
    budget = TrainingConfig(steps=20, perceptual_from=1.0, adversarial_from=1.0)
    processes = Processes(torch.device("cpu"))
    trainer, _ = prepare(recording, model, budget, config, tmp_path, processes)
    plain = Trainer(budget, SMALL, trainer.data, tmp_path / "plain", processes)
    held_out = recording.held_out
    first = trainer.psnr(held_out)
    assert first > plain.psnr(held_out) + 8.0
    assert first > 22.0
    for _ in range(20):
        trainer.run_step()
    assert trainer.psnr(held_out) > first
    trainer.save()
    again, _ = prepare(recording, model, budget, config, tmp_path, processes)
    assert again.step == 20
    torch.testing.assert_close(again.predict(held_out), trainer.predict(held_out))


def test_features_that_grow_too_large_come_back(data: TrainingSet, tmp_path: Path) -> None:
    def scales(**changes: float) -> list[float]:
        trainer = make_trainer(data, tmp_path, learning_rate=0.01, **changes)
        found: list[float] = []
        trainer.generator.last_features.register_forward_hook(
            lambda _module, _inputs, features: found.append(float(features.detach().square().mean().sqrt()))
        )
        with torch.no_grad():
            trainer.generator.state_dict()["decode_blocks.0.only.weight"].mul_(100.0)
        for _ in range(30):
            trainer.run_step()
        return found

    held, left = scales(), scales(scale_weight=0.0)
    assert held[0] == left[0] > 20.0
    assert held[-1] < 9.0
    assert left[-1] > 12.0


def test_critics_change_the_generator(data: TrainingSet, tmp_path: Path) -> None:
    trainer = make_trainer(data, tmp_path, adversarial_from=0.0, steps=4)
    before = [parameter.clone() for parameter in trainer.time_critic.parameters()]
    trainer.run_step()
    trainer.run_step()
    assert {"critic", "time_critic", "photometric"} <= set(trainer.losses)
    assert any(not torch.equal(a, b) for a, b in zip(before, trainer.time_critic.parameters(), strict=True))


def test_a_missing_picture_is_named(recording: Recording) -> None:
    with pytest.raises(ValueError, match="frame 99 has no picture"):
        recording.picture(99, SIZE)


def test_a_video_that_will_not_do_is_refused_before_anything_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    BAD["tiny pictures"][1](tmp_path / "in.mp4")
    words = ["train", str(tmp_path / "in.mp4"), "-o", str(tmp_path / "out.actor"), "--nobody"]
    assert main(words) == 1
    assert "in.mp4 will not do. The picture has 96 × 96 pixels. Record with 240" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize("name", ["Nora.actor", "nora"])
def test_a_name_that_no_package_may_have_is_refused_before_anything_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["train", str(tmp_path / "in.mp4"), "-o", str(tmp_path / name), "--nobody"]) == 2
    assert f"{name} is no name for an actor: expected NAME.actor with letters a-z" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_frames_are_judged_two_in_a_row() -> None:
    frames = np.arange(100, 400)
    chosen = pairs(frames, 40)
    assert 30 <= len(chosen) <= 40
    assert (chosen[0], chosen[-1]) == (100, 399)
    assert (np.diff(chosen) == 1).sum() >= 15
    np.testing.assert_array_equal(pairs(frames, 300), frames)
