from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from models.options import check_options, option, options


@dataclass(frozen=True, kw_only=True, slots=True)
class Tea:
    minutes: float = option(3.0, "How long it draws.", minimum=0.5, maximum=10.0, unit="min")
    kind: str = option("green", "Which leaves.", choices=("green", "black"))
    is_sweet: bool = option(False, "With sugar.")
    note: str = "none"

    def __post_init__(self) -> None:
        check_options(self)


def test_a_field_carries_its_range_unit_and_sentence() -> None:
    described = options(Tea)
    assert list(described) == ["minutes", "kind", "is_sweet"]
    assert (described["minutes"].minimum, described["minutes"].maximum, described["minutes"].unit) == (0.5, 10.0, "min")
    assert described["kind"].choices == ("green", "black")
    assert options(Tea()) == described


@pytest.mark.parametrize("minutes", [0.4, 10.1, math.nan, math.inf, -math.inf])
def test_a_value_out_of_range_is_refused_with_the_range(minutes: float) -> None:
    with pytest.raises(ValueError, match=r"minutes: expected 0\.5 to 10\.0 min, got"):
        Tea(minutes=minutes)


def test_the_ends_of_the_range_are_in_it() -> None:
    assert Tea(minutes=0.5).minutes == 0.5
    assert Tea(minutes=10).minutes == 10


def test_an_unknown_choice_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="kind: expected one of green, black, got 'herbal'"):
        Tea(kind="herbal")
