from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from reenact.mark.message import Message
from reenact.mark.video import Planes, excerpts, read_mark
from reenact.video import VideoError, VideoInfo, VideoWriter
from tests.unit.reenact.mark.make import FPS, marked, moving_pictures

FIRST, SECOND = Message(1, 2), Message(3, 4)


def empty_frames(seconds: float, fps: int = 10) -> Iterator[tuple[float, Planes]]:
    for index in range(round(seconds * fps)):
        yield index / fps, np.zeros((2, 4, 4), np.float16)


@pytest.mark.parametrize(
    ("seconds", "starts"), [(1, [0.0]), (5, [0.0]), (6, [0.0, 2.5]), (9, [0.0, 2.5, 5.0]), (13, [0.0, 2.5, 5.0, 7.5])]
)
def test_excerpts_overlap_and_leave_nothing_out(seconds: float, starts: list[float]) -> None:
    cut = list(excerpts(empty_frames(seconds)))
    assert [start for start, _ in cut] == pytest.approx(starts, abs=0.11)
    assert cut[-1][1].times_s[-1] > seconds - 1.2
    assert all(excerpt.times_s[-1] - excerpt.times_s[0] <= 5.0 for _, excerpt in cut)


def test_a_file_of_two_sessions_says_both(tmp_path: Path) -> None:
    pictures = moving_pictures(6 * FPS, 96)
    path = tmp_path / "two.mp4"
    with VideoWriter(path, 96, VideoInfo(Fraction(FPS), 0, Fraction(1, FPS))) as writer:
        for index, picture in enumerate([*marked(pictures, FIRST), *marked(pictures, SECOND)]):
            writer.write(picture, index)
    calls: list[None] = []
    found = read_mark(path, on_frame=lambda: calls.append(None))
    assert len(calls) == 12 * FPS
    assert [one.message for one in found.marks] == [FIRST, SECOND]
    assert found.marks[0].from_s == 0.0
    assert found.marks[1].to_s == pytest.approx(12.0, abs=0.2)
    assert found.num_excerpts == 4


def test_what_is_no_video_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(VideoError, match="cannot be read as a video"):
        read_mark(path)
