from __future__ import annotations

import json

import pytest

from tests.benchmark import paired
from tests.benchmark.paired import Row, compare, table


class Machine:
    """A clock that work moves, and load that slows everything down now and then."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.load = 1.0

    def work(self, ms: float, log: list[str] | None = None, name: str = "") -> paired.Work:
        def run(_: int) -> None:
            if log is not None:
                log.append(name)
            self.now_s += self.load * ms / 1000.0

        return run


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr("tests.benchmark.paired.time.perf_counter", lambda: machine.now_s)
    return machine


def test_the_ratio_stands_when_load_comes_and_goes(machine: Machine) -> None:
    reference = machine.work(10.0)

    def reference_under_load(number: int) -> None:
        reference(number)

    def subject(number: int) -> None:
        machine.load = 1.0 + (number // 4) % 3  # another load in each round, the same for both
        machine.work(5.0)(number)

    machine.load = 1.0
    row = compare("generate", "256", subject, "slow one", reference_under_load, rounds=9, calls=4)
    assert row.ratio is not None
    assert row.ratio_quartiles is not None
    assert row.ratio == pytest.approx(0.5, abs=0.2)
    assert row.ratio_quartiles[0] <= row.ratio <= row.ratio_quartiles[1]


def test_the_first_round_is_not_counted_and_they_take_turns(machine: Machine) -> None:
    log: list[str] = []
    row = compare("s", "1", machine.work(2.0, log, "a"), "r", machine.work(4.0, log, "b"), rounds=2, calls=2)
    assert "".join(log) == "bbaaaabbbbaa"
    assert (row.ms, row.reference_ms, row.ratio) == pytest.approx((2.0, 4.0, 0.5))


def test_every_call_gets_its_own_number() -> None:
    numbers: list[int] = []
    compare("s", "1", numbers.append, "r", lambda _: None, rounds=2, calls=3)
    assert numbers == list(range(9))


def test_the_table_lines_up_and_json_leaves_out_what_is_not_there() -> None:
    rows = [
        Row(
            stage="track",
            size="640x360",
            ms=4.56789,
            reference="bare",
            reference_ms=4.0,
            ratio=1.14197,
            ratio_quartiles=(1.0, 1.2),
        ),
        Row(stage="render", size="256", ms=1.0),
    ]
    lines = table(rows).splitlines()
    assert lines[0].split()[:3] == ["stage", "size", "ms"]
    assert lines[2].index("4.57") + 4 == lines[3].index("1.00") + 4
    assert json.loads(json.dumps(rows[1].to_json())) == {"stage": "render", "size": "256", "ms": 1.0}
    assert rows[0].to_json()["ratio"] == 1.142
