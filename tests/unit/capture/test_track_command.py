from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from capture import track_command
from capture.face_reader import FaceReader
from capture.landmarks import LandmarkDetector, Landmarks
from capture.video import VideoError, read_video
from models.params import EXPRESSION_INDEX, FaceParams
from tests.unit.capture.conftest import Painter, head

YAWS = np.concatenate([np.zeros(15), np.linspace(0.0, 0.35, 15)])


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, paint: Painter) -> Path:
    """A head that turns to its left, and ten frames without anyone."""
    path = tmp_path_factory.mktemp("video") / "head.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=15)
        stream.width = stream.height = 480
        stream.bit_rate = 8_000_000
        pictures = [paint(head(rotation=(yaw, 0.0, 0.0))) for yaw in YAWS] + [
            np.full((480, 480, 3), 110, np.uint8)
        ] * 10
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    track_command.add_arguments(parser)
    return track_command.run(parser.parse_args(arguments))


def test_writes_the_parameters_of_every_frame(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "track.npz"
    assert run(str(video), "-o", str(output), "--json") == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["frames"] == 40
    assert summary["face_share"] == pytest.approx(0.75)
    with np.load(output) as data:
        params = FaceParams(**{name: data[name] for name in FaceParams.neutral().fields()})
        assert params.rotation.shape == (40, 3)
        assert data["time_s"][15] == pytest.approx(1.0, abs=1e-3)
        assert (data["confidence"][:30] > 0.5).all()
        assert (data["confidence"][30:] == 0.0).all()
        assert data["state"][20] == "tracked"
        assert data["state"][-1] == "easing"
        assert data["neutral_identity"].shape == (80,)
        assert data["camera_focal_px"] == 480.0
        turn = np.rad2deg(params.rotation[29, 0] - params.rotation[5, 0])
        assert turn == pytest.approx(np.rad2deg(0.35), abs=4.0)
    assert list(tmp_path.iterdir()) == [output]


def test_densely_the_same_head_turns_as_far_and_what_shows_no_face_stays(video: Path, tmp_path: Path) -> None:
    files = tmp_path / "plain.npz", tmp_path / "dense.npz"
    assert run(str(video), "-o", str(files[0])) == 0
    assert run(str(video), "-o", str(files[1]), "--dense") == 0
    with np.load(files[0]) as plain, np.load(files[1]) as dense:
        turn = np.rad2deg(dense["rotation"][29, 0] - dense["rotation"][:10, 0].mean())
        assert turn == pytest.approx(np.rad2deg(0.35), abs=4.0)
        assert not np.allclose(dense["rotation"][:30], plain["rotation"][:30], atol=1e-3)
        np.testing.assert_array_equal(dense["rotation"][30:], plain["rotation"][30:])
        assert dense["state"].tolist() == plain["state"].tolist()
        still = [np.abs(np.diff(np.rad2deg(data["rotation"][2:14]), 2, axis=0)).mean() for data in (plain, dense)]
        assert still[1] < still[0] + 0.05


def test_frames_are_given_in_whatever_order_they_are_asked_for(video: Path) -> None:
    all_frames = [image for _, image in read_video(video)]
    with track_command.GreyFrames(video, 100, 40, 200) as frames:
        for index in (3, 4, 20, 7, 7):
            grey = frames.read(index)
            assert grey.shape == (200, 200)
            expected = all_frames[index][40:240, 100:300].astype(float) @ [0.299, 0.587, 0.114]
            np.testing.assert_allclose(grey, expected, atol=1.0)
        with pytest.raises(VideoError, match="ends before frame 40"):
            frames.read(40)


def test_an_interrupted_run_goes_on_where_it_was(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, resumed = tmp_path / "whole.npz", tmp_path / "resumed.npz"
    assert run(str(video), "-o", str(whole)) == 0
    detect = LandmarkDetector.detect
    calls = 0

    def interrupted(self: LandmarkDetector, image: NDArray[np.uint8]) -> object:
        nonlocal calls
        calls += 1
        if calls == 21:
            raise KeyboardInterrupt
        return detect(self, image)

    monkeypatch.setattr(LandmarkDetector, "detect", interrupted)
    assert run(str(video), "-o", str(resumed)) == 1
    assert "goes on from here" in capsys.readouterr().err
    assert not resumed.exists()
    calls = 100
    assert run(str(video), "-o", str(resumed)) == 0
    assert calls == 100 + 20
    with np.load(whole) as one, np.load(resumed) as two:
        np.testing.assert_allclose(two["rotation"], one["rotation"], atol=0.02)


@pytest.mark.parametrize("words", [(), ("--dense",)])
def test_what_the_regressor_reads_is_kept_and_counts(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    smiling = FaceParams.neutral()
    smiles = [EXPRESSION_INDEX[f"mouthSmile{side}"] for side in ("Left", "Right")]
    smiling.expression[smiles] = 0.8
    read = FaceReader.read
    calls = 0

    def told(self: FaceReader, *arguments: Any) -> tuple[Landmarks | None, FaceParams | None]:
        nonlocal calls
        calls += 1
        if calls == 36:
            raise KeyboardInterrupt
        landmarks, _ = read(self, *arguments)
        return landmarks, smiling if landmarks is not None and calls > 20 else None

    files = tmp_path / "plain.npz", tmp_path / "told.npz"
    monkeypatch.setattr(FaceReader, "read", lambda *arguments: (read(*arguments)[0], None))
    assert run(str(video), "-o", str(files[0]), *words) == 0
    monkeypatch.setattr(FaceReader, "read", told)
    assert run(str(video), "-o", str(files[1]), *words) == 1  # stopped half-way: what was read is kept
    assert run(str(video), "-o", str(files[1]), *words) == 0
    with np.load(files[0]) as plain, np.load(files[1]) as hinted:
        more = (hinted["expression"] - plain["expression"])[:30, smiles].mean(1)
    assert more[24:].mean() > more[:15].mean() + 0.15


def test_a_partial_file_of_another_video_is_not_used(video: Path, tmp_path: Path) -> None:
    partial = tmp_path / "track.npz.part"
    with partial.open("wb") as file:
        np.savez(file, key=np.array("other"), time_s=np.zeros(3), num_faces=np.zeros(3), points=np.zeros((3, 478, 3)))
    assert run(str(video), "-o", str(tmp_path / "track.npz")) == 0
    with np.load(tmp_path / "track.npz") as data:
        assert len(data["time_s"]) == 40


def test_people_get_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(tmp_path / "none.mp4"), "-o", str(tmp_path / "out.npz")) == 1
    assert capsys.readouterr().err == f"reenact track: There is no file {tmp_path / 'none.mp4'}.\n"
    assert run("x.mp4", "-o", "y.npz", "--beta", "-1") == 2
    assert "beta: expected" in capsys.readouterr().err
