from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reenact.mark.embed import STRENGTH, Marker
from reenact.mark.message import Message
from reenact.mark.pattern import FREQUENCY_HZ, GRID, payload_chips, reference_chips, stretch
from tests.unit.reenact.mark.make import FPS, marked, moving_pictures

MESSAGE = Message(0x12345678, 0xABCDEF)


def test_the_mark_is_weak() -> None:
    pictures = moving_pictures(30)
    difference: NDArray[np.float64] = np.stack(marked(pictures, MESSAGE)).astype(float) - np.stack(pictures)
    psnr = 10 * np.log10(255**2 / np.mean(difference**2))
    assert 45.0 < psnr < 47.0
    assert np.abs(difference).max() <= 10
    assert not difference[..., :2].any()  # red and green are as they were


def test_the_mark_is_what_the_formula_says() -> None:
    grey = np.full((100, 100, 3), 128, np.uint8)
    marker = Marker(MESSAGE, 100, 100)
    time_s = 0.37
    marker.apply(grey, time_s)
    phase = 2 * np.pi * FREQUENCY_HZ * time_s
    reference, payload = stretch(reference_chips(), 100, 100), stretch(payload_chips(MESSAGE), 100, 100)
    expected = STRENGTH[2] * (reference * np.cos(phase) + payload * np.sin(phase))
    seen = grey[..., 2].astype(float) - 128
    assert np.abs(seen - expected).max() < 1.1  # rounded up or down, never further
    # On average over a chip, dithering gives the fractions that bytes cannot hold.
    blocks = (seen - expected).reshape(GRID, 5, GRID, 5).mean(axis=(1, 3))
    assert np.abs(blocks).mean() < 0.12


def test_a_flat_area_shows_no_pattern_that_stays() -> None:
    grey = [np.full((80, 80, 3), 120, np.uint8) for _ in range(5 * FPS)]
    mean = np.stack(marked(grey, MESSAGE)).astype(float).mean(axis=0)[..., 2]
    low = mean.reshape(GRID, 4, GRID, 4).mean(axis=(1, 3))
    assert np.abs(low - 120).max() < 0.5


def test_black_and_white_stay_within_bytes() -> None:
    for level in (0, 255):
        picture = np.full((64, 64, 3), level, np.uint8)
        Marker(MESSAGE, 64, 64).apply(picture, 0.1)
        assert np.abs(picture.astype(int) - level).max() <= 10


def test_two_messages_are_two_patterns() -> None:
    same = np.mean(payload_chips(MESSAGE) == payload_chips(Message(0x12345679, 0xABCDEF)))
    assert same < 0.95


@pytest.mark.parametrize(
    "image",
    [np.zeros((64, 63, 3), np.uint8), np.zeros((64, 64, 3), np.float32), np.zeros((64, 128, 3), np.uint8)[:, ::2]],
)
def test_other_pictures_are_refused(image: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="expected contiguous uint8"):
        Marker(MESSAGE, 64, 64).apply(image, 0.0)
