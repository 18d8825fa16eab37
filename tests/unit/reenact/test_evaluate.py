from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from models.camera import Camera
from models.face import FaceModel
from models.params import PACKED_SIZE, FaceParams
from reenact import evaluate, quality
from reenact.actor import Actor
from reenact.conditioning import ConditioningRenderer
from reenact.dataset import Recording
from reenact.evaluate import choose_frames, own_params, reenact_frames
from reenact.portrait import Portrait
from tests.unit.reenact.make import make_actor


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Actor:
    return make_actor(tmp_path_factory.mktemp("actors"))


@pytest.fixture
def recording(actor: Actor, tmp_path: Path) -> Recording:
    """Forty frames of a slow turn, six of them with a picture that nobody trained on."""
    count, held_out = 40, np.array([3, 20, 21, 22, 30, 31])
    rest = actor.target.neutral.pack()
    params = FaceParams.unpack(np.tile(rest, (count, 1)).reshape(count, PACKED_SIZE))
    rotation = np.zeros((count, 3), np.float32)
    rotation[:, 0] = np.linspace(-0.4, 0.4, count)
    pictures = []
    for frame in held_out:
        pictures.append(tmp_path / f"{frame:05d}.png")
        Image.new("RGB", (128, 128), (int(frame) * 5, 90, 120)).save(pictures[-1])
    other = np.random.default_rng(0).normal(size=(count, 80)).astype(np.float32)
    return Recording(
        params=params.replace(rotation=rotation, identity=other, reflectance=other),
        camera=Camera(width=128, height=128, focal_px=300.0, center_px=(64.0, 64.0)),
        frame_rate=30.0, pictured=held_out, held_out=held_out, pictures=tuple(pictures), name="turn",
    )  # fmt: skip


def window_form(actor: Actor, recording: Recording, frame: int) -> NDArray[Any]:
    """Generate one frame from its whole window, without any engine or ring."""
    camera = actor.target.camera.scaled(128, 128)
    renderer = ConditioningRenderer(FaceModel.load(), camera)
    frames = [renderer.render(own_params(actor, recording.params[int(i)])) for i in recording.window(frame, 11)]
    with torch.no_grad():
        image = actor.load_generator()(torch.from_numpy(np.stack(frames))[None])
    return image[0].permute(1, 2, 0).numpy() * 255.0


def test_every_frame_sees_its_own_true_past(actor: Actor, recording: Recording) -> None:
    outputs = reenact_frames(Portrait(actor, engine="torch"), recording, recording.held_out)
    for output, frame in zip(outputs, recording.held_out, strict=True):
        assert np.abs(output - window_form(actor, recording, int(frame))).max() < 0.6


def test_identity_reflectance_and_light_are_the_actors(actor: Actor, recording: Recording) -> None:
    shown = own_params(actor, recording.params[5])
    np.testing.assert_array_equal(shown.identity, actor.target.neutral.identity)
    np.testing.assert_array_equal(shown.reflectance, actor.target.neutral.reflectance)
    np.testing.assert_array_equal(shown.rotation, recording.params[5].rotation)


def test_a_limit_spreads_over_the_held_out_frames(recording: Recording) -> None:
    assert choose_frames(recording, 3).tolist() == [3, 21, 31]
    assert choose_frames(recording, 99).tolist() == recording.held_out.tolist()


def test_the_command_prints_a_table_a_line_and_a_picture(
    actor: Actor,
    recording: Recording,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class FakeLpips(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return (a - b).abs().mean((1, 2, 3))

    monkeypatch.setattr(evaluate, "read_recording", lambda *_: recording)
    monkeypatch.setattr(quality, "Lpips", FakeLpips)
    (tmp_path / "ablation.json").write_text(json.dumps({"window 1": {"psnr": 20.0}}))
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    words = [
        str(actor.folder),
        "data",
        "-o",
        str(tmp_path / "grid.png"),
        "--engine",
        "torch",
        "--json",
        "--ablate",
        str(tmp_path),
    ]
    assert evaluate.run(parser.parse_args(words)) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    report = json.loads(lines[-1])
    assert {"psnr", "ssim", "lpips", "flicker", "frames", "engine"} <= set(report)
    assert report["frames"] == 6
    assert lines[0].split() == ["psnr", "ssim", "lpips", "photometric", "flicker"]
    assert lines[2].split() == ["window", "1", "20.0000"]
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (3 * 128, 6 * 128)


def test_nothing_held_out_is_said(
    actor: Actor, recording: Recording, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import dataclasses

    unfair = dataclasses.replace(recording, held_out=np.zeros(0, np.int64))
    monkeypatch.setattr(evaluate, "read_recording", lambda *_: unfair)
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    assert evaluate.run(parser.parse_args([str(actor.folder), "data"])) == 1
    assert (
        capsys.readouterr().err == "reenact evaluate: turn: no frame is held out, so nothing can be measured fairly\n"
    )
