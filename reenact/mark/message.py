"""What the mark says: which session made a picture, and of which actor, guarded by a checksum."""

from __future__ import annotations

import hashlib
from binascii import crc_hqx
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

SESSION_BITS = 32
ACTOR_BITS = 24
CHECK_BITS = 16
NUM_BITS = SESSION_BITS + ACTOR_BITS + CHECK_BITS
LAYOUT = 1
"""Starts the checksum: messages laid out otherwise never read as this one."""


@dataclass(frozen=True, slots=True)
class Message:
    """Two identifiers, 56 bits."""

    session: int
    """Identifier of the session or the rendering, 32 bits."""
    actor: int
    """Identifier of the actor package, 24 bits."""

    def __post_init__(self) -> None:
        if not 0 <= self.session < 1 << SESSION_BITS or not 0 <= self.actor < 1 << ACTOR_BITS:
            raise ValueError(f"expected {SESSION_BITS} and {ACTOR_BITS} bits, got {self.session:#x}, {self.actor:#x}")

    @classmethod
    def of(cls, session: str, fingerprint: str) -> Self:
        """Make the message of a session's name, by its SHA-256, and of `Actor.fingerprint`, by its first digits."""
        digest = hashlib.sha256(session.encode()).digest()
        return cls(int.from_bytes(digest[: SESSION_BITS // 8], "big"), int(fingerprint[: ACTOR_BITS // 4], 16))

    @property
    def session_hex(self) -> str:
        """The session's identifier as eight hexadecimal digits."""
        return f"{self.session:0{SESSION_BITS // 4}x}"

    @property
    def actor_hex(self) -> str:
        """The actor's identifier as six hexadecimal digits."""
        return f"{self.actor:0{ACTOR_BITS // 4}x}"

    def __str__(self) -> str:
        return f"{self.session_hex}-{self.actor_hex}"

    def to_bits(self) -> NDArray[np.uint8]:
        """Lay the message out as `[72]` bits: session, actor, checksum."""
        data = self.session.to_bytes(SESSION_BITS // 8, "big") + self.actor.to_bytes(ACTOR_BITS // 8, "big")
        return np.unpackbits(np.frombuffer(data + _check(data).to_bytes(2, "big"), np.uint8))

    @classmethod
    def from_bits(cls, bits: NDArray[np.uint8]) -> Self | None:
        """Read `[72]` bits; None where the checksum does not fit them."""
        if bits.shape != (NUM_BITS,):
            raise ValueError(f"expected [{NUM_BITS}] bits, got {bits.shape}")
        packed = np.packbits(bits).tobytes()
        data, check = packed[:-2], int.from_bytes(packed[-2:], "big")
        if _check(data) != check:
            return None
        split = SESSION_BITS // 8
        return cls(int.from_bytes(data[:split], "big"), int.from_bytes(data[split:], "big"))


def _check(data: bytes) -> int:
    return crc_hqx(bytes([LAYOUT]) + data, 0xFFFF)
