from __future__ import annotations

import hashlib

import numpy as np
import pytest

from reenact.mark.message import NUM_BITS, Message


def test_a_message_survives_its_bits() -> None:
    message = Message(0x89ABCDEF, 0x012345)
    bits = message.to_bits()
    assert bits.shape == (NUM_BITS,)
    assert Message.from_bits(bits) == message
    assert str(message) == "89abcdef-012345"


def test_every_single_and_double_error_is_seen() -> None:
    bits = Message(1, 2).to_bits()
    for first in range(NUM_BITS):
        for second in range(first, NUM_BITS):
            wrong = bits.copy()
            wrong[first] ^= 1
            if second != first:
                wrong[second] ^= 1
            assert Message.from_bits(wrong) is None


def test_an_empty_picture_is_no_message() -> None:
    assert Message.from_bits(np.zeros(NUM_BITS, np.uint8)) is None
    assert Message.from_bits(np.ones(NUM_BITS, np.uint8)) is None


def test_identifiers_are_what_people_can_compute() -> None:
    message = Message.of("a session", "c0ffee" + "0" * 58)
    assert message.session_hex == hashlib.sha256(b"a session").hexdigest()[:8]
    assert message.actor_hex == "c0ffee"


@pytest.mark.parametrize(("session", "actor"), [(1 << 32, 0), (-1, 0), (0, 1 << 24)])
def test_identifiers_out_of_range_are_refused(session: int, actor: int) -> None:
    with pytest.raises(ValueError, match="expected 32 and 24 bits"):
        Message(session, actor)
