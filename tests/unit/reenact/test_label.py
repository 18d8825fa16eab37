from __future__ import annotations

import numpy as np
import pytest

from reenact.label import DisclosureSettings, Label


def changed_box(words: str, place: str, size: int = 256) -> tuple[int, int, int, int]:
    """Put a label on grey and give the box of what changed: top, bottom, left, right."""
    image = np.full((size, size, 3), 128, np.uint8)
    Label(words, place, size, size).apply(image)
    rows, columns = np.nonzero((image != 128).any(axis=2))
    return rows.min(), rows.max(), columns.min(), columns.max()


@pytest.mark.parametrize("size", [128, 256, 512])
def test_the_label_lies_in_its_corner_and_is_small(size: int) -> None:
    middle = size // 2
    for place in ("bottom left", "bottom right", "top left", "top right"):
        top, bottom, left, right = changed_box("AI-generated", place, size)
        assert (top > middle) == place.startswith("bottom")
        assert (left > middle) == (place.endswith("right") and size > 128) or size == 128
        assert 0 < top < bottom < size - 1
        assert 0 < left < right < size - 1
        assert bottom - top < 0.13 * size


@pytest.mark.parametrize("level", [0, 128, 255])
def test_the_words_stand_out_on_any_ground(level: int) -> None:
    image = np.full((256, 256, 3), level, np.uint8)
    Label("AI-generated", "bottom left", 256, 256).apply(image)
    top, bottom, left, right = changed_box("AI-generated", "bottom left")
    part = image[top : bottom + 1, left : right + 1].astype(float)
    assert part.max() == 255
    # WCAG asks for 4.5 to 1 between letters and ground.
    ground = (np.median(part) / 255) ** 2.2
    assert 1.05 / (ground + 0.05) > 4.5 or (level == 255 and 1.05 / (ground + 0.05) > 3.0)


def test_only_the_label_is_touched_and_the_picture_shows_through() -> None:
    random = np.random.default_rng(0).integers(0, 255, (256, 256, 3)).astype(np.uint8)
    image = random.copy()
    Label("AI-generated", "top right", 256, 256).apply(image)
    top, bottom, left, right = changed_box("AI-generated", "top right")
    outside = np.ones((256, 256), bool)
    outside[top : bottom + 1, left : right + 1] = False
    np.testing.assert_array_equal(image[outside], random[outside])
    assert image[top : bottom + 1, left : right + 1].std() > 20


def test_long_words_and_small_pictures_fit() -> None:
    top, bottom, left, right = changed_box("W" * 40, "bottom right", 128)
    assert 0 <= left < right < 128
    assert 0 <= top < bottom < 128


@pytest.mark.parametrize("words", ["Създадено с ИИ", "Δημιουργήθηκε με ΤΝ", "Mākslīgā intelekta radīts"])
def test_the_letters_of_europe_are_not_boxes(words: str) -> None:
    def painted(text: str) -> bytes:
        image = np.zeros((256, 256, 3), np.uint8)
        Label(text, "bottom left", 256, 256).apply(image)
        return image.tobytes()

    # A font without a letter shows the same box for each.
    assert len({painted(letter) for letter in set(words) - {" "}}) == len(set(words) - {" "})


def test_switching_off_needs_a_reason() -> None:
    assert DisclosureSettings().is_shown
    with pytest.raises(ValueError, match=r"first set disclosure\.reason, in 5 letters or more"):
        DisclosureSettings(is_shown=False)
    with pytest.raises(ValueError, match=r"first set disclosure\.reason, in 5 letters or more"):
        DisclosureSettings(is_shown=False, reason="  x  ")
    assert not DisclosureSettings(is_shown=False, reason="a film with its own credits").is_shown


@pytest.mark.parametrize("words", ["", "   ", "x" * 41, "two\nlines"])
def test_words_that_are_none_are_refused(words: str) -> None:
    with pytest.raises(ValueError, match="words: expected 1 to 40 printable letters"):
        DisclosureSettings(words=words)
