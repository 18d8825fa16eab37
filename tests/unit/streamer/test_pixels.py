from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from streamer.packets import VIDEO_TIME_BASE
from streamer.pixels import RgbConverter, fit_size, to_picture


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((640, 480), 960, (640, 480)),
        ((1280, 720), 960, (960, 540)),
        ((720, 1280), 960, (540, 960)),
        ((4000, 10), 400, (400, 2)),
        ((641, 481), 640, (640, 480)),
    ],
)
def test_fit_size(size: tuple[int, int], longest: int, expected: tuple[int, int]) -> None:
    assert fit_size(*size, longest) == expected


def test_colours_survive_the_way_through_yuv() -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [128, 128, 128]], np.uint8)
    image = np.repeat(np.repeat(colours[None], 16, 0), 16, 1)
    picture = to_picture(image, 5, VIDEO_TIME_BASE).reformat(format="yuv420p")
    rgb = RgbConverter(960).to_rgb(picture)
    assert rgb.shape == image.shape
    assert rgb.flags.c_contiguous
    middles = rgb[8, 8::16].astype(int)
    assert np.abs(middles - colours).max() <= 4


def test_large_pictures_are_scaled_down_in_shape() -> None:
    picture = to_picture(np.zeros((100, 160, 3), np.uint8), 0, VIDEO_TIME_BASE)
    assert RgbConverter(80).to_rgb(picture).shape == (50, 80, 3)


def test_a_picture_is_a_copy_with_its_time() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    picture = to_picture(image, 7, Fraction(1, 30))
    image[:] = 255
    assert picture.to_ndarray().max() == 0
    assert (picture.pts, picture.time_base) == (7, Fraction(1, 30))


@pytest.mark.parametrize("image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3))])
def test_other_arrays_are_refused(image: Any) -> None:
    with pytest.raises(ValueError, match="uint8"):
        to_picture(image, 0, VIDEO_TIME_BASE)
