from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from capture.video import VideoError, read_video, video_info


def write_video(path: Path, count: int, *, fps: int = 30, size: tuple[int, int] = (64, 48), gap_at: int = -1) -> Path:
    """Write frames whose left half brightens with their number."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height = size
        stream.bit_rate = 4_000_000
        for index in range(count):
            image = np.full((size[1], size[0], 3), 20, np.uint8)
            image[:, : size[0] // 2] = 40 + 4 * index
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index + (15 if 0 <= gap_at <= index else 0)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("fps", [1, 30, 60])
def test_reads_frames_with_their_times(tmp_path: Path, fps: int) -> None:
    path = write_video(tmp_path / "clip.mp4", 12, fps=fps)
    frames = list(read_video(path))
    assert len(frames) == 12
    np.testing.assert_allclose([time_s for time_s, _ in frames], np.arange(12) / fps, atol=1e-3)
    levels = [image[:, :24].mean() for _, image in frames]
    np.testing.assert_allclose(levels, 40 + 4 * np.arange(12), atol=4)
    info = video_info(path)
    assert (info.width, info.height, info.num_frames) == (64, 48, 12)
    assert info.fps == pytest.approx(fps)


def test_goes_on_from_a_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 10)
    whole, rest = list(read_video(path)), list(read_video(path, start=6))
    assert [time_s for time_s, _ in rest] == [time_s for time_s, _ in whole[6:]]
    np.testing.assert_array_equal(rest[0][1], whole[6][1])


def test_keeps_a_gap_in_time(tmp_path: Path) -> None:
    times = [time_s for time_s, _ in read_video(write_video(tmp_path / "clip.mp4", 10, gap_at=5))]
    assert times[5] - times[4] == pytest.approx(16 / 30, abs=1e-3)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turns_the_picture_upright(tmp_path: Path, turns: int) -> None:
    path = write_video(tmp_path / "plain.mp4", 3, size=(64, 32))
    turned = rotate_header(path, tmp_path / "turned.mp4", turns)
    (_, plain), *_ = read_video(path)
    (_, upright), *_ = read_video(turned)
    assert upright.shape == ((32, 64, 3) if turns == 2 else (64, 32, 3))
    assert np.abs(upright.astype(int) - np.rot90(plain, turns).astype(int)).max() < 3
    info = video_info(turned)
    assert (info.height, info.width) == upright.shape[:2]


def rotate_header(source: Path, path: Path, turns: int) -> Path:
    """Write the rotation, counter-clockwise in quarter turns, into the display matrix of the MP4's track header."""
    data = bytearray(source.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    one = 0x10000
    a, b, c, d = [(one, 0, 0, one), (0, -one, one, 0), (-one, 0, 0, -one), (0, one, -one, 0)][turns]
    matrix = [a, b, 0, c, d, 0, 0, 0, 0x40000000]
    data[start : start + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(bytes(data))
    return path


def test_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="There is no file"):
        video_info(tmp_path / "nothing.mp4")
    text = tmp_path / "text.mp4"
    text.write_text("no video at all")
    with pytest.raises(VideoError, match="is no video that can be read"):
        video_info(text)
    with pytest.raises(VideoError, match="is no video that can be read"):
        list(read_video(text))
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError, match="has no video in it"):
        video_info(sound)


def test_a_damaged_video_gives_what_can_be_read(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 30)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 200
    data[start : start + 60] = bytes(60)
    path.write_bytes(bytes(data))
    frames = list(read_video(path))
    assert 1 <= len(frames) <= 30
    times = [time_s for time_s, _ in frames]
    assert times == sorted(set(times))
