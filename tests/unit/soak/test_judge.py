"""What a soak counts as growth, and what it does not."""

from __future__ import annotations

import random

import pytest

from tests.soak.__main__ import BOUNDS, Soak, judge

STEADY = {"memory": 800.0, "threads": 22.0, "handles": 16.0, "latency": 10.0}


def grown(growth: dict[str, float], *, is_faulty: bool, is_short: bool = False) -> set[str]:
    """Judge 300 samples that grow evenly by shares of what they are after warm-up; give what was held against them."""
    soak, rng = Soak(), random.Random(1)
    for number in range(300):
        share = max(0.0, (number - 90) / 210)
        # Two engines, of which one has more of everything, take turns by chance.
        other = 1.1 if is_faulty and rng.random() < 0.5 else 1.0
        soak.samples.append({name: value * other * (1 + share * growth.get(name, 0)) for name, value in STEADY.items()})
    rows = judge(soak, share=0.3, is_short=is_short, is_faulty=is_faulty)
    assert len(soak.problems) == sum(not row["is_held"] for row in rows)
    return {row["quantity"] for row in rows if not row["is_held"]}


@pytest.mark.parametrize("is_faulty", [False, True])
def test_what_grows_is_told_from_what_comes_and_goes(is_faulty: bool) -> None:
    assert grown({}, is_faulty=is_faulty) == set()
    assert grown({"memory": 0.06}, is_faulty=is_faulty) == {"memory"}
    assert grown({"threads": 0.2}, is_faulty=is_faulty) == {"threads"}
    assert grown({"handles": 0.5}, is_faulty=is_faulty) == {"handles"}
    assert grown({"latency": 1.0}, is_faulty=is_faulty) == {"latency"}
    assert grown({"memory": 0.03}, is_faulty=is_faulty) == set()


def test_a_short_run_allows_more() -> None:
    assert grown({"memory": 0.12, "threads": 0.3}, is_faulty=False, is_short=True) == set()
    assert grown({"memory": 0.3, "threads": 0.6}, is_faulty=False, is_short=True) == {"memory", "threads"}


def test_what_was_never_measured_is_a_problem() -> None:
    soak = Soak()
    assert judge(soak, share=0.3, is_short=False, is_faulty=False) == []
    assert len(soak.problems) == len(BOUNDS)


def test_between_two_sessions_nothing_is_judged() -> None:
    away = {"memory": 800.0, "threads": 12.0, "handles": 12.0}
    soak = Soak(samples=[STEADY, away, away] * 20 + [STEADY] * 40)
    assert all(row["is_held"] for row in judge(soak, share=0.0, is_short=True, is_faulty=True))
    assert not soak.problems


def test_a_short_run_with_faults_may_end_on_the_engine_that_it_began_with() -> None:
    smaller = STEADY | {"memory": 700.0, "threads": 16.0}
    soak = Soak(samples=[STEADY, smaller, smaller, STEADY])
    judge(soak, share=0.25, is_short=True, is_faulty=True)
    assert not soak.problems
    assert grown({"memory": 0.3, "threads": 0.6}, is_faulty=True, is_short=True) == {"memory", "threads"}


def test_what_a_fault_delays_in_a_short_run_must_only_come_back() -> None:
    delayed = STEADY | {"latency": 200.0}
    soak = Soak(samples=[STEADY] * 6 + [STEADY, delayed, STEADY, delayed, delayed, STEADY])
    judge(soak, share=0.5, is_short=True, is_faulty=True)
    assert not soak.problems
    soak = Soak(samples=[STEADY] * 9 + [delayed] * 3)
    judge(soak, share=0.25, is_short=True, is_faulty=True)
    assert [problem[:12] for problem in soak.problems] == ["latency grew"]
    soak = Soak(samples=[STEADY] * 9 + [delayed] * 3)
    judge(soak, share=0.25, is_short=True, is_faulty=False)
    assert len(soak.problems) == 1
