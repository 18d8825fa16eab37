"""The two patterns of the mark: `reference`, the same in every video, and `payload`, which carries the message.

Each is a grid of 20 x 20 chips, +1 or -1, stretched over the whole picture. At time t the picture gets

    strength * (reference * cos(2 pi f t) + payload * sin(2 pi f t))

so that one frequency carries both, at equal power in every frame. Whatever stands still, or moves at another pace, is
orthogonal to it over a few seconds; the reader finds place, scale and phase by the reference, and needs to know neither
frame numbers nor frame rate.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from reenact.mark.coding import RATE, encode
from reenact.mark.message import NUM_BITS, Message

GRID = 20
"""Chips on each side of a picture: as large as they can be and still hold the coded message once. Encoders drop small
coefficients, and the larger a chip, the more of it is in one."""
FREQUENCY_HZ = 2.7
"""Above what heads usually do, as low as it can be beside that: encoders drop quick changes first. No multiple of
a rate at which key frames come."""
SEED = 20261122
"""Makes the pattern; it is no secret: who has a copy of this program can read the mark."""
NUM_CODED = NUM_BITS * RATE


def reference_chips() -> NDArray[np.float32]:
    """Give the chips `[20, 20]`, +1 or -1, that are the same in every video."""
    return _secrets()[0].copy()


def payload_chips(message: Message) -> NDArray[np.float32]:
    """Give the chips `[20, 20]`, +1 or -1, of a message."""
    _, signs, places = _secrets()
    coded = 2.0 * encode(message.to_bits()) - 1.0
    return (coded[places] * signs).astype(np.float32)


def gather(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum soft chips `[20, 20]` into soft coded bits `[288]`: each is in the grid once or twice."""
    _, signs, places = _secrets()
    weights = (values * signs).reshape(-1).astype(np.float64)
    return np.bincount(places.reshape(-1), weights, NUM_CODED).astype(np.float64)


def stretch(chips: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Interpolate a grid of chips to a picture `[height, width]` of mean square 1 without edges."""
    picture = cv2.resize(chips, (width, height), interpolation=cv2.INTER_CUBIC)
    return (picture / np.sqrt(np.mean(picture**2))).astype(np.float32)


@functools.cache
def _secrets() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Give reference, signs of the payload and the coded bit of each chip; all `[20, 20]`."""
    random = np.random.Generator(np.random.PCG64(SEED))
    reference = random.choice(np.array([-1.0, 1.0], np.float32), (GRID, GRID))
    signs = random.choice(np.array([-1.0, 1.0], np.float32), (GRID, GRID))
    rounds = [random.permutation(NUM_CODED) for _ in range(-(-GRID * GRID // NUM_CODED))]
    return reference, signs, np.concatenate(rounds)[: GRID * GRID].reshape(GRID, GRID)
