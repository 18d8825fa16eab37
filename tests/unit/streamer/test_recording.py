from __future__ import annotations

import shutil
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.clock import SystemClock
from streamer.packets import VIDEO_TIME_BASE, TargetFrame
from streamer.pixels import to_picture
from streamer.recording import FORMATS, MAX_WAITING, Recording
from tests.e2e.peers import draw_number, read_number


def target_frame(number: int, pts: int, size: int = 160) -> TargetFrame:
    image = np.full((size, size, 3), 90, np.uint8)
    draw_number(image, number)
    picture = to_picture(image, pts, VIDEO_TIME_BASE)
    return TargetFrame(seq=number, pts=pts, time_base=VIDEO_TIME_BASE, captured_ns=0, picture=picture)


def read_back(path: Path) -> tuple[list[int], list[float], list[NDArray[np.uint8]]]:
    """Give the numbers drawn in the frames, their times in s, and the frames."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    images = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in frames]
    return [read_number(image) for image in images], [float(frame.time or 0) for frame in frames], images


@pytest.mark.parametrize("kind", FORMATS)
def test_every_frame_is_in_the_file_at_its_time(tmp_path: Path, kind: str) -> None:
    recording = Recording(tmp_path, "r", kind, clock=SystemClock())
    # The source paused after frame 39, and its clock does not begin at 0.
    times = [777_000 + 3000 * n + (90_000 if n >= 40 else 0) for n in range(90)]
    for number, pts in enumerate(times):
        assert recording.put(target_frame(number, pts)) is False
    recording.stop()
    assert recording.join(20)
    status = recording.status()
    assert (status.state, status.num_frames, status.num_lost) == ("ready", 90, 0)
    assert status.num_bytes == recording.path.stat().st_size
    numbers, seconds, _ = read_back(recording.path)
    assert numbers == list(range(90))
    # Matroska keeps time in ms.
    assert seconds == pytest.approx([(pts - times[0]) / 90_000 for pts in times], abs=0.00051)
    assert [path.name for path in tmp_path.iterdir()] == [f"r.{kind}"]


def test_an_mp4_can_be_jumped_about_in_and_has_its_index_first(tmp_path: Path) -> None:
    recording = Recording(tmp_path, "r", "mp4", clock=SystemClock())
    for number in range(100):
        recording.put(target_frame(number, 3000 * number))
    recording.stop()
    assert recording.join(20)
    data = recording.path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    assert b"moof" not in data
    with av.open(str(recording.path)) as container:
        container.seek(2_500_000)
        assert next(container.decode(video=0)).time == pytest.approx(2.0)


def test_a_target_of_another_size_is_fitted_to_the_first(tmp_path: Path) -> None:
    recording = Recording(tmp_path, "r", "mp4", clock=SystemClock())
    recording.put(target_frame(1, 0, size=128))
    recording.put(target_frame(2, 3000, size=256))
    recording.stop()
    assert recording.join(20)
    _, _, images = read_back(recording.path)
    assert [image.shape for image in images] == [(128, 128, 3)] * 2


def test_what_cannot_be_written_in_time_is_counted(tmp_path: Path) -> None:
    gate = threading.Event()

    def wait(_: float) -> None:
        gate.wait(10)

    recording = Recording(tmp_path, "r", "mp4", clock=SystemClock(), on_written=wait)
    lost = [recording.put(target_frame(number, 3000 * number)) for number in range(MAX_WAITING + 40)]
    recording.stop()
    gate.set()
    assert recording.join(20)
    status = recording.status()
    assert status.num_lost == sum(lost) > 0
    assert status.num_frames == len(lost) - sum(lost)


def test_it_ends_before_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1000, 999, 1))
    monkeypatch.setattr("streamer.recording.LOOK_EVERY", 10)
    recording = Recording(tmp_path, "r", "mp4", clock=SystemClock())
    for number in range(40):
        recording.put(target_frame(number, 3000 * number))
    assert recording.join(20)
    status = recording.status()
    assert (status.state, status.num_frames) == ("ready", 10)
    assert "disk" in status.message


def test_without_a_frame_there_is_no_file_and_a_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recording = Recording(tmp_path, "r", "webm", clock=SystemClock())
    recording.stop()
    assert recording.join(20)
    assert recording.status().state == "failed"
    assert "no frame" in recording.status().message
    assert "failed" in caplog.text


def test_the_complete_file_can_be_signed_before_anybody_gets_it(tmp_path: Path) -> None:
    def sign(path: Path) -> None:
        with path.open("ab") as file:
            file.write(b"signature")

    recording = Recording(tmp_path, "r", "mp4", clock=SystemClock(), finish=sign)
    recording.put(target_frame(0, 0))
    recording.stop()
    assert recording.join(20)
    assert recording.path.read_bytes().endswith(b"signature")
    assert recording.status().num_bytes == recording.path.stat().st_size


def test_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mp4, webm"):
        Recording(tmp_path, "r", "avi", clock=SystemClock())
