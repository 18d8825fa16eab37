"""Read the mark: the message of an excerpt of a few seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reenact.mark.coding import decode
from reenact.mark.demodulate import Excerpt, Swing, demodulate
from reenact.mark.locate import Place, refine, score, search, whole
from reenact.mark.message import Message
from reenact.mark.pattern import gather, payload_chips, reference_chips

MIN_SCORE_KNOWN = 4.5
"""Where the place is known beforehand, unmarked video gets this far once in 10^8 excerpts."""
MIN_SCORE_FOUND = 6.0
"""The same after a search, whose places are about a million."""
MIN_AGREEMENT = 0.2
"""Least correlation of the payload with the message that was read out of it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A message, and how surely it was read."""

    message: Message
    chip_error: float
    """Share of the 400 chips that disagreed with the message: what the code had to mend."""
    score: float
    """How well the reference fitted: see `locate.score`."""
    place: Place
    """Where the marked picture lay, pixels of the reduced video."""


def read(excerpt: Excerpt, known: Sequence[Place] = (), *, is_searching: bool = True) -> Reading | None:
    """Read an excerpt; None where there is no mark.

    Places `known` from excerpts before are tried first, then the whole picture, then, where `is_searching`, all others.
    """
    swing = demodulate(excerpt)
    if swing is None:
        return None
    weighted = swing.weighted
    for place in (*known, whole(weighted)):
        if score(weighted, place) > MIN_SCORE_KNOWN and (reading := _read_at(swing, refine(weighted, place))):
            return reading
    for value, place in search(weighted) if is_searching else ():
        if value > MIN_SCORE_FOUND and (reading := _read_at(swing, place)):
            return reading
    return None


def _read_at(swing: Swing, place: Place) -> Reading | None:
    """Read the payload of a place: None where it is no message."""
    soft = _payload(swing, place)
    message = Message.from_bits(decode(gather(soft)))
    if message is None:
        return None
    chips = payload_chips(message)
    agreement = float(np.sum(chips * soft) / max(float(np.sum(np.abs(soft))), 1e-12))
    if agreement < MIN_AGREEMENT:
        return None
    seen = soft != 0.0
    error = float(np.mean(np.sign(soft[seen]) != chips[seen]))
    return Reading(message, error, score(swing.weighted, place), place)


def _payload(swing: Swing, place: Place) -> NDArray[np.float32]:
    """Give soft chips `[20, 20]`, log likelihood ratios but for a factor: phase and gain come from the reference."""
    reference = reference_chips()
    soft = np.zeros_like(reference)
    for amplitude, variance in zip(swing.amplitude, swing.variance, strict=True):
        values = place.grid((amplitude / variance).astype(np.complex64))
        sureness = float(np.sum(place.grid((1.0 / variance).astype(np.complex64)).real))
        gain = complex(np.sum(values * reference)) / max(sureness, 1e-12)
        # The mark is Re[(reference - i payload) exp(i w t)]: the gain's conjugate turns it upright and weights it.
        soft += -(values * np.conj(gain)).imag.astype(np.float32)
    return soft
