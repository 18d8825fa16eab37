"""How many inputs each fuzz test gets: some hundred in the suite, ten thousand by `make fuzz`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

COUNT = int(os.environ.get("FUZZ_COUNT", "0"))
"""Inputs of each test; 0 leaves the choice to the test."""

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
