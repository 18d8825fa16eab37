"""Timing on machines that do other things too: two pieces of work in turn, compared round by round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

Work = Callable[[int], object]
"""One call of what is measured; takes the number of the call."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table."""

    stage: str
    """What was measured."""
    size: str
    """Picture size, and what else sets the amount of work."""
    ms: float
    """Median time of one call."""
    reference: str = ""
    """What ran beside it; empty where there is nothing to compare with."""
    reference_ms: float | None = None
    """Median time of one call of that."""
    ratio: float | None = None
    """Median over the rounds of time by reference time: below 1 is faster than the reference."""
    ratio_quartiles: tuple[float, float] | None = None
    """Half of the rounds lie between these."""
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Turn into plain JSON values, rounded to what the measurement bears."""
        values = asdict(self)
        return {name: _rounded(value) for name, value in values.items() if value not in (None, "")}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return [_rounded(item) for item in value] if isinstance(value, tuple) else value


def compare(
    stage: str,
    size: str,
    subject: Work,
    reference_name: str,
    reference: Work,
    *,
    rounds: int,
    calls: int,
    note: str = "",
) -> Row:
    """Time `calls` calls of each in every round, taking turns in who goes first.

    Load that comes and goes slows both of a round alike, so the ratio stands where the milliseconds do not. A first
    round warms both up and is not counted.
    """
    times: tuple[list[float], list[float]] = ([], [])
    done = 0
    for number in range(rounds + 1):
        spent = [0.0, 0.0]
        for which in (0, 1) if number % 2 else (1, 0):
            work = (subject, reference)[which]
            began = time.perf_counter()
            for call in range(calls):
                work(done + call)
            spent[which] = 1000.0 * (time.perf_counter() - began) / calls
        done += calls
        if number:
            times[0].append(spent[0])
            times[1].append(spent[1])
    ratios = [a / b for a, b in zip(*times, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else (ratios[0],) * 3
    return Row(
        stage=stage,
        size=size,
        ms=statistics.median(times[0]),
        reference=reference_name,
        reference_ms=statistics.median(times[1]),
        ratio=statistics.median(ratios),
        ratio_quartiles=(low, high),
        note=note,
    )


def table(rows: list[Row]) -> str:
    """Lay rows out for people."""
    head = ("stage", "size", "ms", "reference", "ms", "ratio", "half of the rounds")
    lines = [
        (
            row.stage,
            row.size,
            f"{row.ms:.2f}",
            row.reference,
            "" if row.reference_ms is None else f"{row.reference_ms:.2f}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.ratio_quartiles is None else "{:.2f} to {:.2f}".format(*row.ratio_quartiles),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]

    def laid_out(line: tuple[str, ...]) -> str:
        numbers = (2, 4, 5)
        cells = [
            cell.rjust(w) if i in numbers else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([laid_out(head), "  ".join("-" * width for width in widths), *map(laid_out, lines)])
