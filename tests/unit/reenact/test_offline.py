from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from models.params import EXPRESSION_INDEX, EXPRESSION_NAMES, FaceParams
from reenact import offline
from reenact.actor import Actor
from reenact.credentials import read_credentials
from reenact.offline import OwnMotion, combine
from reenact.portrait import Portrait
from reenact.video import read_video_frames
from tests.unit.reenact.make import FakeTracker, make_actor
from tests.unit.reenact.test_video import write_clip


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Actor:
    return make_actor(tmp_path_factory.mktemp("actors"))


@pytest.fixture(autouse=True)
def fake_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Track by the brightness of the first pixel; a black one is no face."""

    class LowerPixel(FakeTracker):
        def process(self, image, time_s, camera=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            return super().process(image[-1:], time_s, camera)

    monkeypatch.setattr(offline, "Tracker", LowerPixel)


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    offline.add_arguments(parser)
    return offline.run(parser.parse_args(words))


def test_a_video_becomes_a_video(actor: Actor, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_clip(tmp_path / "source.mp4", times_s=[index / 30 for index in range(15)], size=(48, 64))
    output = tmp_path / "made" / "out.mp4"
    words = ["--source", str(source), "--actor", str(actor.folder), "-o", str(output), "--engine", "torch", "--json"]
    assert run(*words) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out.strip().splitlines()[-1])
    assert (report["frames"], report["states"], report["frame_rate"]) == (15, {"tracked": 15}, 30.0)
    assert "generating: 15/15" in captured.err
    frames = list(read_video_frames(output))
    assert len(frames) == 15
    assert frames[0].image.shape == (128, 128, 3)
    credentials = read_credentials(output)
    assert credentials is not None
    assert (credentials.state, credentials.origins[0]["mark"]) == ("trusted", report["mark"])


def test_a_video_without_a_face_is_refused_and_nothing_is_written(
    actor: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Blind(FakeTracker):
        def process(self, image, time_s, camera=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            return super().process(np.zeros_like(image), time_s, camera)

    monkeypatch.setattr(offline, "Tracker", Blind)
    source = write_clip(tmp_path / "source.mp4", times_s=[0.0, 0.1, 0.2])
    assert run("--source", str(source), "--actor", str(actor.folder), "-o", str(tmp_path / "out.mp4")) == 1
    assert capsys.readouterr().err.endswith(f"reenact render: {source}: no face was found in any of its 3 frames.\n")
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["-o", "out.avi"], 2, "out.avi: the output's name must end in .mp4"),
        (["-o", "out.mp4", "--mouth-gain", "5"], 2, "mouth_gain: expected 0.0 to 2.0, got 5.0"),
        (["-o", "out.mp4"], 1, "none.mp4 cannot be opened as a video (No such file or directory)."),
    ],
)
def test_mistakes_have_their_sentence(
    words: list[str], code: int, message: str, actor: Actor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--source", "none.mp4", "--actor", str(actor.folder), *words) == code
    assert capsys.readouterr().err == f"reenact render: {message}\n"


def test_an_unknown_actor_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--source", "x.mp4", "--actor", "nobody", "-o", "out.mp4") == 1
    assert capsys.readouterr().err.startswith("reenact render: There is no actor 'nobody'")


def test_an_interruption_is_said_and_leaves_nothing(
    actor: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    source = write_clip(tmp_path / "source.mp4", times_s=[0.0, 0.1])
    monkeypatch.setattr(Portrait, "show", interrupt)
    assert (
        run("--source", str(source), "--actor", str(actor.folder), "-o", str(tmp_path / "out.mp4"), "--engine", "torch")
        == 1
    )
    assert capsys.readouterr().err.endswith("reenact render: interrupted; nothing was written\n")
    assert [path.name for path in tmp_path.iterdir()] == ["source.mp4"]


def params(level: float) -> FaceParams:
    rest = FaceParams.neutral()
    return rest.replace(
        expression=np.full(len(EXPRESSION_NAMES), level, np.float32), rotation=np.full(3, level, np.float32),
        gaze=np.full((2, 2), level, np.float32), translation=rest.translation + np.float32(level),
    )  # fmt: skip


def test_modes_take_what_they_say() -> None:
    driven, own = params(0.5), params(0.1)
    assert combine(driven, own, "head") is driven
    face = combine(driven, own, "face")
    np.testing.assert_array_equal(face.expression, driven.expression)
    np.testing.assert_array_equal(face.gaze, driven.gaze)
    np.testing.assert_array_equal(face.rotation, own.rotation)
    np.testing.assert_array_equal(face.translation, own.translation)
    dub = combine(driven, own, "dub")
    assert dub.expression[EXPRESSION_INDEX["jawOpen"]] == np.float32(0.5)
    assert dub.expression[EXPRESSION_INDEX["eyeBlinkLeft"]] == np.float32(0.1)
    assert dub.expression[EXPRESSION_INDEX["browInnerUp"]] == np.float32(0.1)
    np.testing.assert_array_equal(dub.gaze, own.gaze)
    np.testing.assert_array_equal(dub.rotation, own.rotation)
    with pytest.raises(ValueError, match="expected one of head, face, dub, got 'body'"):
        combine(driven, own, "body")


def test_the_targets_own_motion_goes_forwards_and_backwards() -> None:
    own = OwnMotion([2.0, 2.1, 2.2], [params(0.0), params(0.1), params(0.2)])
    shown = [round(float(own.at(time_s).rotation[0]), 3) for time_s in (0.0, 0.11, 0.2, 0.25, 0.33, 0.41, 0.6)]
    assert shown == [0.0, 0.1, 0.2, 0.1, 0.0, 0.0, 0.2]
    assert OwnMotion([5.0], [params(0.3)]).at(99.0).rotation[0] == np.float32(0.3)
