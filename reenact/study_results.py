"""The results of a study: shares with Wilson's intervals, means with bootstrapped ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reenact.study import REAL_FROM, Study

Z_95 = 1.959963984540054
RESAMPLES = 2000
SEED = 2018


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    what: str
    answers: int
    people: int
    value: float
    low: float
    high: float
    """95 % confidence interval."""


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Give the 95 % interval of a share (Wilson, 1927)."""
    if count == 0:
        return 0.0, 1.0
    share, square = hits / count, Z_95 * Z_95
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = Z_95 / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def bootstrap_mean(groups: list[NDArray[np.float64]]) -> tuple[float, float]:
    """Give the 95 % interval of the mean over all; people, one group each, are drawn: their answers hang together.

    Percentiles of `RESAMPLES` resamples, from a fixed seed.
    """
    sums, counts = np.array([group.sum() for group in groups]), np.array([len(group) for group in groups])
    drawn = np.random.default_rng(SEED).integers(0, len(groups), (RESAMPLES, len(groups)))
    low, high = np.percentile(sums[drawn].sum(1) / counts[drawn].sum(1), (2.5, 97.5))
    return float(low), float(high)


def results(study: Study) -> list[Row]:
    """Make the table of a study; empty without answers.

    rating: for real and reenacted clips, the share that was taken for real (4 or 5), and the mean rating. pair: the
    share of pairs in which the real one was found, of which one half is chance.
    """
    answers = study.answers()
    if not answers:
        return []
    if study.kind == "pair":
        hits = sum(answer.trial.split("+")[answer.value] in study.real for answer in answers)
        return [_share("real one found", hits, len(answers), len({answer.person for answer in answers}))]
    rows = []
    for what, keys in (("real", study.real), ("reenacted", study.made)):
        own = [answer for answer in answers if answer.trial in keys]
        people = sorted({answer.person for answer in own})
        if not own:
            continue
        rows.append(_share(f"{what}: taken for real", sum(a.value >= REAL_FROM for a in own), len(own), len(people)))
        groups = [np.array([a.value for a in own if a.person == person], np.float64) for person in people]
        low, high = bootstrap_mean(groups)
        rows.append(Row(f"{what}: mean rating", len(own), len(people), float(np.concatenate(groups).mean()), low, high))
    return rows


def _share(what: str, hits: int, count: int, people: int) -> Row:
    return Row(what, count, people, hits / count, *wilson(hits, count))
