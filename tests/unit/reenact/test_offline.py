from __future__ import annotations

import argparse
import errno
import json
from pathlib import Path

import numpy as np
import pytest

import capture.track_command
from capture.video import read_video
from models.camera import Camera
from models.params import EXPRESSION_INDEX, EXPRESSION_NAMES, FaceParams
from reenact import offline, segments
from reenact.actor import Actor
from reenact.credentials import read_credentials
from reenact.own_motion import combine
from reenact.video import VideoError, VideoWriter, read_video_frames
from tests.unit.reenact.make import FakeTracker, make_actor
from tests.unit.reenact.test_video import streams, write_clip


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Actor:
    return make_actor(tmp_path_factory.mktemp("actors"))


def fake_track(video: Path, output: Path, *_: object, **_options: object) -> dict[str, object]:
    """Track by the brightness of the last line; a black one is no face."""
    tracker, times, tracks = FakeTracker(), [], []
    camera = Camera.webcam(64, 48)
    for time_s, image in read_video(video):
        times.append(time_s)
        tracks.append(tracker.process(image[-1:], time_s))
        height, width = image.shape[:2]
        camera = Camera.webcam(width, height)
    detections = capture.track_command.Detections(times, [], [1] * len(times))
    capture.track_command._write(output, detections, tracks, camera)
    return {}


@pytest.fixture(autouse=True)
def no_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture.track_command, "track_video", fake_track)


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
    def blind(video: Path, output: Path, **_: object) -> dict[str, object]:
        tracks = [FakeTracker().process(np.zeros((1, 1, 3), np.uint8), 0.1 * i) for i in range(3)]
        detections = capture.track_command.Detections([0.0, 0.1, 0.2], [], [0] * 3)
        capture.track_command._write(output, detections, tracks, Camera.webcam(64, 48))
        return {}

    monkeypatch.setattr(capture.track_command, "track_video", blind)
    source = write_clip(tmp_path / "source.mp4", times_s=[0.0, 0.1, 0.2])
    assert run("--source", str(source), "--actor", str(actor.folder), "-o", str(tmp_path / "out.mp4")) == 1
    assert capsys.readouterr().err.endswith(f"reenact render: {source}: no face was found in any of its 3 frames.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["source.mp4"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["-o", "out.avi"], 2, "out.avi: the output's name must end in .mp4"),
        (["-o", "out.mp4", "--mouth-gain", "5"], 2, "mouth_gain: expected 0.0 to 2.0, got 5.0"),
        (["-o", "out.mp4", "--fps", "0"], 2, "fps: expected 1 to 240, got 0.0"),
        (
            ["-o", "out.mp4", "--sound", "target"],
            2,
            "target_video: the target's own video is needed for its frames and its sound",
        ),
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


def words_for(actor: Actor, source: Path, output: Path, *more: str) -> list[str]:
    return ["--source", str(source), "--actor", str(actor.folder), "-o", str(output), "--engine", "torch", *more]


def pictures(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.stack([frame.image for frame in read_video_frames(path)])


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
def test_a_rendering_that_was_stopped_goes_on_and_is_what_it_would_have_been(
    stop: BaseException | type[BaseException],
    actor: Actor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_FRAMES", 8)
    monkeypatch.setattr("secrets.token_hex", lambda _: "00" * 16)
    times = [index / 30 for index in range(30)]
    source = write_clip(tmp_path / "source.mp4", times_s=times, sound="aac")
    assert run(*words_for(actor, source, tmp_path / "whole.mp4")) == 0
    write, count = VideoWriter.write, 0

    def stopping(self: VideoWriter, image: object, pts: int) -> None:
        nonlocal count
        count += 1
        if count == 20:
            raise stop
        write(self, image, pts)  # type: ignore[arg-type]

    monkeypatch.setattr(VideoWriter, "write", stopping)
    output = tmp_path / "out.mp4"
    assert run(*words_for(actor, source, output)) == 1
    said = capsys.readouterr().err
    assert "the same command goes on from here" in said or "No space left on device" in said
    assert not output.exists()
    kept = sorted(path.name for path in (tmp_path / "out.mp4.rendering" / "segments").iterdir())
    assert kept == ["segment-00000.nut", "segment-00001.nut"]
    assert run(*words_for(actor, source, output, "--json")) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out.splitlines()[-1])["resumed_at"] == 16
    assert "generating: 16/30" in captured.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "source.mp4", "whole.mp4"]
    np.testing.assert_array_equal(pictures(output), pictures(tmp_path / "whole.mp4"))
    assert [f.time_s for f in read_video_frames(output)] == pytest.approx(times, abs=1e-4)
    assert streams(output)["audio"][1] == pytest.approx(1.0, abs=0.06)


def test_other_options_do_not_go_on_from_what_is_there(
    actor: Actor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_FRAMES", 4)
    source = write_clip(tmp_path / "source.mp4", times_s=[index / 30 for index in range(10)])
    join = segments.Segments.join

    def failing(*_: object) -> None:
        raise VideoError("out.mp4 cannot be written (No space left on device).")

    monkeypatch.setattr(segments.Segments, "join", failing)
    assert run(*words_for(actor, source, tmp_path / "out.mp4")) == 1
    monkeypatch.setattr(segments.Segments, "join", join)
    assert run(*words_for(actor, source, tmp_path / "out.mp4", "--json", "--mouth-gain", "0.5")) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["resumed_at"] == 0


@pytest.mark.parametrize(("fps", "count"), [(12.5, 10), (60.0, 48)])
def test_any_frame_rate(fps: float, count: int, actor: Actor, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "source.mp4", times_s=[index / 25 for index in range(20)])
    assert run(*words_for(actor, source, tmp_path / "out.mp4", "--fps", str(fps))) == 0
    times = [frame.time_s for frame in read_video_frames(tmp_path / "out.mp4")]
    assert times == pytest.approx([index / fps for index in range(count)], abs=1e-3)


def test_a_dub_keeps_the_frames_and_the_sound_of_the_targets_own_video(
    actor: Actor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_clip(tmp_path / "source.mp4", times_s=[index / 30 for index in range(30)])
    own = write_clip(tmp_path / "own.mp4", times_s=[i / 30 for i in range(15)], size=(320, 240), sound="aac")
    more = ["--mode", "dub", "--onto", str(own), "--sound", "target", "--no-label", "a test of pixels", "--json"]
    assert run(*words_for(actor, source, tmp_path / "out.mp4", *more)) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (report["size"], report["frame_rate"], report["frames"]) == ([320, 240], 30.0, 30)
    assert streams(tmp_path / "out.mp4")["audio"][1] == pytest.approx(0.5, abs=0.1)
    made, given = pictures(tmp_path / "out.mp4"), pictures(own)
    back_and_forth = [*range(15), *range(13, -1, -1), 1]
    for index, frame in enumerate(back_and_forth):  # the corners lie outside of what is laid in
        assert abs(made[index][-20:, :20].mean() - given[frame][-20:, :20].mean()) < 3
    credentials = read_credentials(tmp_path / "out.mp4")
    assert credentials is not None
    assert (credentials.state, credentials.is_generated) == ("trusted", True)


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
