"""A tail-biting convolutional code: 256 states, four coded bits for each bit, read by soft decisions (Viterbi).

The code is the one with the largest free distance (24) at this rate and memory: Larsen, "Short convolutional codes with
maximal free distance for rates 1/2, 1/3, and 1/4", IEEE Trans. Information Theory 19 (1973). It has no beginning and no
end, so no bits are spent on them and every bit is protected alike.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

MEMORY = 8
GENERATORS = (0o463, 0o535, 0o733, 0o745)
RATE = len(GENERATORS)
"""Coded bits for each bit."""
NUM_STATES = 1 << MEMORY
WRAPS = 3
"""Times that the reader goes around: after one it has forgotten where it began, the last is taken."""


def encode(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn `[N]` bits (0 or 1, N of at least 8) into `[4 N]` coded bits."""
    coded = np.empty((len(bits), RATE), np.uint8)
    # Row t holds bit t and the eight before it, around the corner.
    past = np.stack([np.roll(bits, delay) for delay in range(MEMORY + 1)], axis=1)
    for index, taps in enumerate(_taps()):
        coded[:, index] = past[:, taps].sum(axis=1) % 2
    return coded.reshape(-1)


def decode(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Find the most likely `[N]` bits of `[4 N]` soft values: positive where a coded bit is 1, larger where surer."""
    steps = np.asarray(values, np.float64).reshape(-1, RATE)
    outputs, sources, inputs = _trellis()
    metrics = np.zeros(NUM_STATES)
    choices = np.empty((WRAPS * len(steps), NUM_STATES), np.uint8)
    states = np.arange(NUM_STATES)
    for index in range(len(choices)):
        ways = metrics[sources] + (outputs @ steps[index % len(steps)])  # [state, which of two ways into it]
        choices[index] = ways.argmax(axis=1)
        metrics = ways[states, choices[index]]
        metrics -= metrics.max()
    state = int(metrics.argmax())
    bits = np.empty(len(choices), np.uint8)
    for index in range(len(choices) - 1, -1, -1):
        bits[index] = inputs[state]
        state = int(sources[state, choices[index, state]])
    middle = len(steps)  # of three rounds, the one that neither the start nor the end disturbs
    return bits[middle : 2 * middle]


def _taps() -> list[list[int]]:
    """Give the delays that each generator sums: its highest bit is the newest one."""
    return [[delay for delay in range(MEMORY + 1) if taps >> (MEMORY - delay) & 1] for taps in GENERATORS]


@functools.cache
def _trellis() -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.uint8]]:
    """Give coded bits as +-1 `[state, way, RATE]`, state before `[state, way]`, and newest bit `[state]`.

    A state is the last eight bits, the newest highest.
    """
    states = np.arange(NUM_STATES)
    newest = (states >> (MEMORY - 1)).astype(np.uint8)
    sources = np.stack([(states << 1) & (NUM_STATES - 1) | oldest for oldest in (0, 1)], axis=1)
    register = newest[:, None].astype(np.int64) << MEMORY | sources
    outputs = np.stack([_parity(register & taps) for taps in GENERATORS], axis=-1)
    return 2.0 * outputs - 1.0, sources, newest


def _parity(values: NDArray[np.int64]) -> NDArray[np.int64]:
    for shift in (8, 4, 2, 1):
        values = values ^ values >> shift
    return values & 1
