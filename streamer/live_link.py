"""Face numbers out of the packets of Live Link Face, Epic's app that sends what ARKit sees, over UDP.

A packet, big-endian: version (one byte, 6), device and subject (each a 32-bit length and UTF-8), frame number (int32),
part of a frame (float32), frames a second and its denominator (int32 each), a count (one byte), and that many float32:
52 blendshapes and nine angles of head and eyes, radians. Without a face the count is missing.
"""

from __future__ import annotations

import math
import struct

VERSION = 6
MAX_NAME_BYTES = 256
TAIL = struct.Struct(">ifii")

SHAPES = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft",
    "eyeWideLeft", "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight",
    "eyeSquintRight", "eyeWideRight", "jawForward", "jawRight", "jawLeft", "jawOpen", "mouthClose", "mouthFunnel",
    "mouthPucker", "mouthRight", "mouthLeft", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "browDownLeft", "browDownRight", "browInnerUp",
    "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft",
    "noseSneerRight", "tongueOut",
)  # fmt: skip
"""The blendshapes in the app's order; what follows are head yaw, pitch and roll, and the same of each eye."""
NUM_VALUES = len(SHAPES) + 9


def read_live_link(datagram: bytes) -> dict[str, float]:
    """Read the numbers of one packet, by the names of `reenact.face_change`; none where the app sees no face.

    Where the eyes look is taken from the `eyeLook*` shapes, which leave no doubt about signs. Raises `ValueError`.
    """
    if not datagram or datagram[0] != VERSION:
        raise ValueError(f"no packet of Live Link Face: expected version {VERSION}")
    place = 1
    for name in ("device", "subject"):
        if len(datagram) < place + 4:
            raise ValueError(f"no packet of Live Link Face: it ends before the {name}")
        length = int.from_bytes(datagram[place : place + 4], "big")
        if length > MAX_NAME_BYTES:
            raise ValueError(f"no packet of Live Link Face: a {name} of {length} bytes")
        place += 4 + length
    place += TAIL.size
    if len(datagram) < place:
        raise ValueError("no packet of Live Link Face: it ends before its time")
    if len(datagram) == place:
        return {}
    count = datagram[place]
    if count != NUM_VALUES or len(datagram) != place + 1 + 4 * count:
        raise ValueError(f"no packet of Live Link Face: expected {NUM_VALUES} values, got {count}")
    values = struct.unpack_from(f">{count}f", datagram, place + 1)
    if not all(math.isfinite(value) for value in values):
        raise ValueError("no packet of Live Link Face: it holds values that are not numbers")
    yaw, pitch, roll = (math.degrees(value) for value in values[len(SHAPES) : len(SHAPES) + 3])
    return {**dict(zip(SHAPES, values, strict=False)), "yaw": yaw, "pitch": pitch, "roll": roll}
