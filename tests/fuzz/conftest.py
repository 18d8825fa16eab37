"""How many inputs each fuzz test gets: some hundred in the suite, ten thousand by `make fuzz`, in rounds.

A round is a run of hypothesis of its own: it forgets what it has drawn, so that what stays in memory from one round to
the next is ours.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

COUNT = int(os.environ.get("FUZZ_COUNT", "0"))
"""Inputs of each test; 0 leaves the choice to the test."""
ROUND = 500
NUM_ROUNDS = -(-COUNT // ROUND)

# Deadlines are the tests' own: on a shared machine a single input may wait for seconds.
settings.register_profile(
    "fuzz",
    deadline=None,
    database=None,
    derandomize=not COUNT,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
settings.load_profile("fuzz")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat every fuzz test as often as it has rounds."""
    if COUNT and is_hypothesis_test(metafunc.function):
        metafunc.fixturenames.append("fuzz_round")
        metafunc.parametrize("fuzz_round", range(NUM_ROUNDS), ids=lambda number: f"round{number + 1}")


@pytest.fixture(autouse=True)
def _no_drift(request: pytest.FixtureRequest) -> Iterator[None]:
    """Look, after everything else of a round is gone, whether rounds leave something behind."""
    began = time.monotonic()
    yield
    if COUNT and hasattr(request.node, "callspec"):
        from tests.fuzz.inputs import check_drift

        check_drift(request.node.originalname, time.monotonic() - began)
