from __future__ import annotations

import itertools

import numpy as np
import pytest

from reenact.mark.coding import GENERATORS, MEMORY, RATE, decode, encode


def slow_encode(bits: list[int]) -> list[int]:
    """Run the shift register bit by bit, filled beforehand with the end of the message."""
    register = list(reversed(bits[-MEMORY:]))
    out = []
    for bit in bits:
        window = [bit, *register]
        out += [sum(window[d] for d in range(MEMORY + 1) if taps >> (MEMORY - d) & 1) % 2 for taps in GENERATORS]
        register = window[:MEMORY]
    return out


@pytest.mark.parametrize("seed", range(4))
def test_the_code_is_the_shift_register(seed: int) -> None:
    bits = np.random.default_rng(seed).integers(0, 2, 72).astype(np.uint8)
    assert encode(bits).tolist() == slow_encode(bits.tolist())


def test_what_was_encoded_is_decoded() -> None:
    for seed in range(8):
        bits = np.random.default_rng(seed).integers(0, 2, 40).astype(np.uint8)
        np.testing.assert_array_equal(decode(2.0 * encode(bits) - 1.0), bits)


def test_any_eleven_wrong_bits_in_a_row_are_mended() -> None:
    # The free distance is 24: eleven wrong hard decisions never look like another message.
    bits = np.random.default_rng(1).integers(0, 2, 72).astype(np.uint8)
    sent = 2.0 * encode(bits) - 1.0
    for start in range(0, len(sent), 17):
        received = sent.copy()
        received[np.arange(start, start + 11) % len(sent)] *= -1.0
        np.testing.assert_array_equal(decode(received), bits)


def test_soft_decisions_go_with_the_most_likely_message() -> None:
    random = np.random.default_rng(2)
    bits = random.integers(0, 2, 8).astype(np.uint8)
    received = (2.0 * encode(bits) - 1.0) * 0.5 + random.normal(size=8 * RATE)
    words = [np.array(word, np.uint8) for word in itertools.product((0, 1), repeat=8)]
    best = max(words, key=lambda word: float(received @ (2.0 * encode(word) - 1.0)))
    np.testing.assert_array_equal(decode(received), best)
