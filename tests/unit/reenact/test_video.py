from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from reenact.frame_reader import FrameReader
from reenact.video import VideoError, VideoInfo, VideoWriter, probe, read_video_frames

TICKS = Fraction(1, 12800)


def write_clip(
    path: Path, *, times_s: list[float], sound: str | None = None, size: tuple[int, int] = (64, 48), rotation: int = 0
) -> Path:
    """Write a clip whose frames grow brighter, with a tone if `sound` names a codec."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", Fraction(30))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = TICKS
        tone = container.add_stream(sound, 48000, layout="mono") if sound else None
        for index, time_s in enumerate(times_s):
            image = np.full((size[1], size[0], 3), 40 + 10 * (index % 20), np.uint8)
            image[: size[1] // 4] = 0  # the upper quarter is black
            frame = av.VideoFrame.from_ndarray(image)
            frame.pts, frame.time_base = round(time_s / TICKS), TICKS
            container.mux(stream.encode(frame))
        if isinstance(tone, av.AudioStream):
            for start in range(0, round((times_s[-1] + 0.05) * 48000), 1024):
                wave = 0.3 * np.sin(2 * np.pi * 440 * (start + np.arange(1024)) / 48000)
                samples = (wave * 32767).astype(np.int16)[None]
                part = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                part.pts, part.rate, part.time_base = start, 48000, Fraction(1, 48000)
                converted = av.AudioResampler(tone.format, "mono", 48000).resample(part)
                for piece in converted:
                    container.mux(tone.encode(piece))
            container.mux(tone.encode())
        container.mux(stream.encode())
    return path


def reenact(source: Path, output: Path) -> list[float]:
    info = probe(source)
    times = []
    with VideoWriter(output, 32, info, sound=source) as writer:
        for frame in read_video_frames(source):
            times.append(frame.time_s)
            writer.write(np.full((32, 32, 3), int(frame.image[-1].mean()), np.uint8), frame.pts)
    return times


def streams(path: Path) -> dict[str, tuple[str, float]]:
    """Map the kind of each stream to its codec and its duration."""
    with av.open(str(path)) as container:
        return {
            s.type: (s.codec_context.name, float((s.duration or 0) * (s.time_base or 0))) for s in container.streams
        }


@pytest.mark.parametrize("frame_rate", [1, 25, 60])
def test_frames_keep_their_times_at_any_rate(frame_rate: int, tmp_path: Path) -> None:
    times = [index / frame_rate for index in range(12)]
    source = write_clip(tmp_path / "source.mp4", times_s=times)
    reenact(source, tmp_path / "out.mp4")
    written = [frame.time_s for frame in read_video_frames(tmp_path / "out.mp4")]
    np.testing.assert_allclose(written, times, atol=1e-4)


def test_an_uneven_clock_is_kept(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.2, 0.21, 0.5, 1.7]
    source = write_clip(tmp_path / "source.mp4", times_s=times)
    reenact(source, tmp_path / "out.mp4")
    np.testing.assert_allclose([f.time_s for f in read_video_frames(tmp_path / "out.mp4")], times, atol=1e-3)


def test_pictures_come_out_with_their_brightness_in_h264_yuv420p(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "source.mp4", times_s=[index / 30 for index in range(10)])
    reenact(source, tmp_path / "out.mp4")
    sources = [frame.image[-1].mean() for frame in read_video_frames(source)]
    outputs = [frame.image.mean() for frame in read_video_frames(tmp_path / "out.mp4")]
    np.testing.assert_allclose(outputs, sources, atol=4)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert container.streams.video[0].codec_context.name == "h264"


@pytest.mark.parametrize(("sound", "suffix", "kept"), [("aac", ".mp4", "aac"), ("pcm_s16le", ".mov", "aac")])
def test_sound_is_kept_whole(sound: str, suffix: str, kept: str, tmp_path: Path) -> None:
    source = write_clip(tmp_path / f"source{suffix}", times_s=[index / 30 for index in range(60)], sound=sound)
    reenact(source, tmp_path / "out.mp4")
    found = streams(tmp_path / "out.mp4")
    assert found["audio"][0] == kept
    assert found["audio"][1] == pytest.approx(streams(source)["audio"][1], abs=0.06)
    with av.open(str(tmp_path / "out.mp4")) as container:
        loud = np.concatenate([f.to_ndarray().ravel().astype(np.float64) for f in container.decode(audio=0)])
    assert np.abs(loud).max() > 0.1 * (1.0 if np.abs(loud).max() <= 2 else 32767)


def test_a_source_without_sound_stays_silent(tmp_path: Path) -> None:
    reenact(write_clip(tmp_path / "source.mp4", times_s=[0.0, 0.1]), tmp_path / "out.mp4")
    assert "audio" not in streams(tmp_path / "out.mp4")


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    output.write_bytes(b"what was there before")

    def interrupt() -> None:
        with VideoWriter(output, 32, VideoInfo(Fraction(30), 5, TICKS)) as writer:
            writer.write(np.zeros((32, 32, 3), np.uint8), 0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    assert output.read_bytes() == b"what was there before"


def test_what_is_no_video_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(VideoError, match=r"text\.mp4 cannot be opened as a video \(Invalid data"):
        probe(tmp_path / "text.mp4")
    with pytest.raises(VideoError, match=r"none\.mp4 cannot be opened as a video \(No such file"):
        probe(tmp_path / "none.mp4")
    with pytest.raises(VideoError, match="cannot be read as a video"):
        list(read_video_frames(tmp_path / "text.mp4"))
    with av.open(str(tmp_path / "tone.m4a"), "w", format="mp4") as container:
        tone = container.add_stream("aac", 48000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.rate, silence.pts = 48000, 0
        container.mux(tone.encode(silence))
        container.mux(tone.encode())
    with pytest.raises(VideoError, match="holds no video"):
        probe(tmp_path / "tone.m4a")
    with pytest.raises(VideoError, match=r"out\.mp4 cannot be written"):
        VideoWriter(Path("/proc/out.mp4"), 32, VideoInfo(Fraction(30), 5, TICKS))


def test_a_play_list_is_opened_neither_for_its_sound_nor_for_its_frames(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "source.mp4", times_s=[0.0, 0.1], sound="aac")
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile {source}\n")
    with pytest.raises(VideoError, match=r"The sound of .*list\.mp4 cannot be read"):
        VideoWriter(tmp_path / "out.mp4", 32, VideoInfo(Fraction(30), 2, TICKS), sound=tmp_path / "list.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.mp4", "source.mp4"]
    with pytest.raises(VideoError, match=r"list\.mp4 cannot be opened as a video"):
        FrameReader(tmp_path / "list.mp4")
