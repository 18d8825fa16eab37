"""Declare a setting once: default, range, unit and sentence travel with the field to the CLI, the API and the page."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """What a person needs to know of one setting."""

    minimum: float | None = None
    """Smallest accepted value, in `unit`."""
    maximum: float | None = None
    """Largest accepted value, in `unit`."""
    unit: str = ""
    """Unit as printed after the value; empty for a plain factor."""
    text: str
    """One sentence: what it does, and what more of it means."""
    choices: tuple[str, ...] = ()
    """Accepted words of a textual setting."""


def option(
    default: Any,  # noqa: ANN401 - the type is the annotated field's
    text: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    unit: str = "",
    choices: tuple[str, ...] = (),
) -> Any:  # noqa: ANN401
    """Make a dataclass field with `default` that carries an `Option`."""
    described = Option(minimum=minimum, maximum=maximum, unit=unit, text=text, choices=choices)
    return dataclasses.field(default=default, metadata={"option": described})


def options(settings: Any) -> dict[str, Option]:  # noqa: ANN401
    """Map each field of a settings dataclass (or instance) to its `Option`."""
    return {f.name: f.metadata["option"] for f in dataclasses.fields(settings) if "option" in f.metadata}


def check_options(settings: Any) -> None:  # noqa: ANN401
    """Raise `ValueError` naming the first field of a settings instance that is out of its range or choices."""
    for name, described in options(settings).items():
        value = getattr(settings, name)
        if described.choices and value not in described.choices:
            raise ValueError(f"{name}: expected one of {', '.join(described.choices)}, got {value!r}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        low, high = described.minimum, described.maximum
        # Written so that NaN, which compares false with everything, is refused too.
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            raise ValueError(f"{name}: expected {low} to {high} {described.unit}".rstrip() + f", got {value}")
