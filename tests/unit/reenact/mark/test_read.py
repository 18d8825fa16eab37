from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from reenact.mark.demodulate import join
from reenact.mark.message import Message
from reenact.mark.read import Reading, read
from reenact.mark.video import reduced
from tests.unit.reenact.mark.make import FPS, compressed, excerpt_of, marked, moving_pictures

MESSAGE = Message(0x0F1E2D3C, 0x5A6978)
COUNT = 5 * FPS


@pytest.fixture(scope="module")
def plain() -> list[NDArray[np.uint8]]:
    return moving_pictures(COUNT)


@pytest.fixture(scope="module")
def video(plain: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    # The session began long before: the reader knows nothing of its clock.
    return marked(plain, MESSAGE, start_s=1234.5)


def read_frames(frames: list[av.VideoFrame], *, fps: int = FPS) -> Reading | None:
    return read(join([(index / fps, reduced(frame)) for index, frame in enumerate(frames)]))


def test_a_message_is_read_back(video: list[NDArray[np.uint8]]) -> None:
    reading = read(excerpt_of(video))
    assert reading is not None
    assert reading.message == MESSAGE
    assert reading.chip_error < 0.05


def test_unmarked_video_is_silent(plain: list[NDArray[np.uint8]]) -> None:
    assert read(excerpt_of(plain)) is None


def test_it_survives_a_low_bitrate(video: list[NDArray[np.uint8]]) -> None:
    reading = read_frames(compressed(video, bitrate_bps=60_000))
    assert reading is not None
    assert reading.message == MESSAGE


def test_it_survives_scaling_to_half(video: list[NDArray[np.uint8]]) -> None:
    half = [cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA) for picture in video]
    reading = read(excerpt_of(half))
    assert reading is not None
    assert reading.message == MESSAGE


def test_it_survives_a_crop_and_says_where_it_lies(video: list[NDArray[np.uint8]]) -> None:
    cut = [np.ascontiguousarray(picture[10:125, 4:119]) for picture in video]  # a tenth of each side
    reading = read(excerpt_of(cut))
    assert reading is not None
    assert reading.message == MESSAGE
    np.testing.assert_allclose((reading.place.left, reading.place.top), (-4, -10), atol=1.5)
    np.testing.assert_allclose((reading.place.width, reading.place.height), (128, 128), atol=2.0)


def test_it_is_found_on_a_recorded_screen(video: list[NDArray[np.uint8]]) -> None:
    screen = []
    for picture in video:
        page = np.full((240, 320, 3), 235, np.uint8)
        page[50:211, 80:241] = cv2.resize(picture, (161, 161), interpolation=cv2.INTER_LINEAR)
        screen.append(page)
    reading = read_frames(compressed(screen, bitrate_bps=400_000))
    assert reading is not None
    assert reading.message == MESSAGE
    np.testing.assert_allclose((reading.place.left, reading.place.top), (80, 50), atol=2.5)


def test_frames_that_were_dropped_do_not_matter(video: list[NDArray[np.uint8]]) -> None:
    kept = np.flatnonzero(np.random.default_rng(0).random(COUNT) > 0.4)
    whole = excerpt_of(video)
    reading = read(join([(float(whole.times_s[index]), whole.planes[index]) for index in kept]))
    assert reading is not None
    assert reading.message == MESSAGE


@pytest.mark.parametrize("fps", [15, 25, 60])
def test_the_frame_rate_does_not_matter(fps: int) -> None:
    pictures = moving_pictures(4 * fps)
    reading = read(excerpt_of(marked(pictures, MESSAGE, fps=fps), fps=fps))
    assert reading is not None
    assert reading.message == MESSAGE


def test_what_is_too_short_or_too_slow_is_silent(video: list[NDArray[np.uint8]]) -> None:
    assert read(excerpt_of(video[:5])) is None
    assert read(excerpt_of(video[:40], fps=5.0)) is None


def test_a_grey_copy_still_says_it(video: list[NDArray[np.uint8]]) -> None:
    grey = [np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2) for picture in video]
    reading = read(excerpt_of(grey))
    assert reading is not None
    assert reading.message == MESSAGE
