"""The commands on real videos: what they make, and the sentence for everything that cannot be made."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from reenact.actor import BUNDLED
from streamer.cli import COMMANDS, main
from tests.clips import clip_path, read_frames
from tests.unit.reenact.make import make_actor

Image = NDArray[np.uint8]
MILO = BUNDLED / "milo.actor"


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small package: what it shows is noise, but it is quick."""
    return make_actor(tmp_path_factory.mktemp("actors")).folder


def make_video(path: Path, frames: list[Image], frame_rate: float) -> Path:
    """Write frames of one even size at a constant rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", Fraction(frame_rate), options={"crf": "18", "preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def clip_frames(name: str, count: int, *, every: int = 1) -> list[Image]:
    """Decode `count` frames of a clip, or as many as there are."""
    return [image for index, (_, image) in enumerate(read_frames(clip_path(name))) if index % every == 0][:count]


def render(source: Path, actor: Path | str, output: Path, *more: str) -> int:
    return main(["render", "--source", str(source), "--actor", str(actor), "-o", str(output), "--json", *more])


def last_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return dict(json.loads(capsys.readouterr().out.strip().splitlines()[-1]))


def video_facts(path: Path) -> tuple[int, float, set[str]]:
    """Count frames, measure the time from the first to the last, and name the kinds of streams."""
    with av.open(str(path)) as container:
        kinds: set[str] = {stream.type for stream in container.streams}
        times = [float(frame.time or 0) for frame in container.decode(video=0)]
    return len(times), times[-1] - times[0], kinds


def portrait(frames: list[Image]) -> list[Image]:
    return [np.ascontiguousarray(image[:, 316:572]) for image in frames]


def two_people(frames: list[Image]) -> list[Image]:
    return [np.ascontiguousarray(np.concatenate([image[:, 260:620], image[:, 620:260:-1]], 1)) for image in frames]


@pytest.mark.parametrize(
    ("name", "change", "frame_rate", "count"),
    [
        ("25 fps", list, 25, 30),
        ("1 fps", list, 1, 5),
        ("60 fps", list, 60, 40),
        ("portrait", portrait, 30, 20),
        ("two faces", two_people, 30, 20),
    ],
)
def test_videos_of_every_kind_become_videos(
    name: str,
    change: Callable[[list[Image]], list[Image]],
    frame_rate: int,
    count: int,
    actor: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    every = 24 if frame_rate == 1 else 1
    source = make_video(
        tmp_path / "in.mp4", change(clip_frames("WolfgangLanger_Pexels.mp4", count, every=every)), frame_rate
    )
    assert render(source, actor, tmp_path / "out.mp4") == 0, name
    report = last_json(capsys)
    assert report["frames"] == count
    assert report["states"]["tracked"] >= 0.9 * count
    frames, seconds, _ = video_facts(tmp_path / "out.mp4")
    assert frames == count
    assert seconds == pytest.approx((count - 1) / frame_rate, abs=0.02)


def test_a_face_that_leaves_and_comes_back(actor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = [image[::2, ::2] for image in clip_frames("single_face.mp4", 20)]
    gone = [np.full_like(there[0], 90)] * 50
    small = [
        np.ascontiguousarray(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2])
        for image in [*there, *gone, *there]
    ]
    source = make_video(tmp_path / "in.mp4", small, 30)
    assert render(source, actor, tmp_path / "out.mp4") == 0
    states = last_json(capsys)["states"]
    assert states["tracked"] >= 30
    assert states["holding"] >= 10
    assert states["easing"] >= 20


def test_sound_and_frame_rate_of_a_clip_are_kept(
    actor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = clip_path("single_face.mp4")
    assert render(source, actor, tmp_path / "out.mp4", "--mode", "face") == 0
    assert last_json(capsys)["frame_rate"] == 30.0
    frames, seconds, kinds = video_facts(tmp_path / "out.mp4")
    expected_frames, expected_seconds, _ = video_facts(source)
    assert (frames, kinds) == (expected_frames, {"video", "audio"})
    assert seconds == pytest.approx(expected_seconds, abs=0.02)


def test_a_video_without_a_face_says_so(actor: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_video(tmp_path / "in.mp4", [image[::2, ::2] for image in clip_frames("no_face.mp4", 20)], 24)
    assert render(source, actor, tmp_path / "out.mp4") == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1] == f"reenact render: {source}: no face was found in any of its 20 frames."
    assert captured.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_a_render_that_is_interrupted_ends_quietly_and_can_go_on(actor: Path, tmp_path: Path) -> None:
    source = clip_path("WolfgangLanger_Pexels.mp4")
    words = ["render", "--source", str(source), "--actor", str(actor), "-o", str(tmp_path / "out.mp4")]
    # What a shell runs in the background ignores interrupts, these tests perhaps, and with them whatever they start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamer.cli", *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stderr is not None
    started = time.monotonic()
    while "landmarks" not in process.stderr.readline():  # the first line of progress: it is at work
        assert time.monotonic() - started < 60
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == "reenact render: interrupted; the same command goes on from here"
    assert "Traceback" not in errors
    assert output == ""
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4.rendering"]


def test_actors_are_verified_and_a_damaged_one_is_refused(
    actor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(actor, tmp_path / "tiny.actor")
    monkeypatch.setenv("REENACT_ACTORS", str(tmp_path))
    assert main(["actors", "verify", "tiny"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("sound")
    with (tmp_path / "tiny.actor" / "generator.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    assert main(["actors", "--json"]) == 1
    captured = capsys.readouterr()
    assert "generator.safetensors was changed or damaged: its SHA-256 is" in captured.err
    rows = {row["actor"]: row["is_sound"] for row in json.loads(captured.out.splitlines()[-1])["actors"]}
    assert rows[str(tmp_path / "tiny.actor")] is False


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: reenact {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fly"],
        ["render"],
        ["render", "--source", "a.mp4", "--actor", "milo", "-o", "b.mp4", "--mode", "body"],
        ["evaluate"],
    ],
)
def test_what_is_not_understood_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.skipif(not MILO.is_dir(), reason="milo.actor is not there")
def test_keyframes_of_the_editor_move_milo_over_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The source is one picture, held: whatever moves comes from the keyframes."""
    from capture.follow import measure
    from capture.landmarks import LandmarkDetector

    source = make_video(tmp_path / "in.mp4", clip_frames("WolfgangLanger_Pexels.mp4", 1) * 25, 12.5)
    still = {"time_s": 0.4, "values": {}}
    moved = {"time_s": 1.6, "values": {"yaw": 16, "jawOpen": 0.7, "mouthFunnel": -1}}
    (tmp_path / "edits.json").write_text(json.dumps({"version": 1, "keys": [moved, still]}))
    assert (
        render(source, "milo", tmp_path / "out.mp4", "--edits", str(tmp_path / "edits.json"), "--engine", "torch") == 0
    )
    assert last_json(capsys)["frames"] == 25
    with LandmarkDetector() as detector:
        found = [detector.detect(image) for _, image in read_frames(tmp_path / "out.mp4")]
    assert all(found)
    seen = measure(np.stack([f.points_px for f in found if f]), np.stack([f.depth_px for f in found if f]))
    yaw, mouth = np.rad2deg(seen["yaw"]), seen["mouth_opening"]
    assert yaw[-4:].mean() - yaw[:5].mean() == pytest.approx(16, abs=5)
    assert mouth[-4:].mean() > mouth[:5].mean() + 0.1
    # Before its first key, and behind its last, it is held; what the detector says of the very first frame strays.
    assert np.ptp(yaw[1:5]) < 1.5
    assert np.ptp(yaw[-4:]) < 1.5
    assert (np.diff(yaw[5:20]) > -1.0).all()


@pytest.mark.slow
@pytest.mark.skipif(not MILO.is_dir(), reason="milo.actor is not there")
def test_milo_follows_a_real_face(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from capture.landmarks import LandmarkDetector

    source = make_video(tmp_path / "in.mp4", clip_frames("WolfgangLanger_Pexels.mp4", 120, every=2), 12)
    assert render(source, "milo", tmp_path / "out.mp4") == 0
    capsys.readouterr()

    def mouth_and_turn(path: Path) -> NDArray[np.float64]:
        """Measure by MediaPipe alone: how open the lips are, and the nose's place between the cheeks."""
        rows = []
        with LandmarkDetector() as detector:
            for _, image in read_frames(path):
                found = detector.detect(image)
                if found is None:
                    rows.append((np.nan, np.nan))
                    continue
                p = found.points_px
                height = np.linalg.norm(p[10] - p[152])
                turn = (p[1] - (p[234] + p[454]) / 2) @ (p[454] - p[234]) / ((p[454] - p[234]) ** 2).sum()
                rows.append((float(np.linalg.norm(p[13] - p[14]) / height), float(turn)))
        return np.array(rows)

    given, shown = mouth_and_turn(source), mouth_and_turn(tmp_path / "out.mp4")
    assert np.isfinite(shown).all(1).mean() >= 0.99
    both = np.isfinite(given).all(1) & np.isfinite(shown).all(1)
    for column in range(2):
        assert np.corrcoef(given[both, column], shown[both, column])[0, 1] > 0.8
