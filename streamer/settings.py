"""Live settings under keys (`transfer.mouth_gain`, `tracker`), declared once by the dataclasses that own them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from models.options import Option, check_options, options
from streamer.errors import MessageError

S = TypeVar("S")

Scalar = bool | int | float | str


def _fields(settings: Any) -> Iterator[tuple[str, Any, str, Option]]:  # noqa: ANN401 - any dataclass
    """Yield key, owner, name and option of every setting in a dataclass of settings and of settings dataclasses."""
    for name, described in options(settings).items():
        yield name, settings, name, described
    for group in dataclasses.fields(settings):
        part = getattr(settings, group.name)
        if dataclasses.is_dataclass(part):
            for name, described in options(part).items():
                yield f"{group.name}.{name}", part, name, described


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def coerce(key: str, value: object, current: Scalar) -> Scalar:
    """Return `value` as the type of `current`; raise `ValueError` naming `key` if it is another thing."""
    if isinstance(current, bool):
        if isinstance(value, bool):
            return value
        raise ValueError(f"{key}: expected true or false, got {value!r}")
    if isinstance(current, int | float):
        # A JSON number; true and false are none, whatever Python says.
        if isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value):
            if isinstance(current, float):
                return float(value)
            if float(value).is_integer():
                return int(value)
            raise ValueError(f"{key}: expected a whole number, got {value!r}")
        raise ValueError(f"{key}: expected a number, got {value!r}")
    if isinstance(value, str):
        return value
    raise ValueError(f"{key}: expected a word, got {value!r}")


class SettingsTable(Generic[S]):
    """The settings of one session: a frozen dataclass of frozen dataclasses, seen as a flat table."""

    def __init__(self, settings: S, defaults: S | None = None) -> None:
        """Start with `settings`; `defaults` (else `settings`) are what the table calls default."""
        self.current = settings
        self._defaults = settings if defaults is None else defaults

    def values(self) -> dict[str, Scalar]:
        """Return every key with its value."""
        return {key: getattr(owner, name) for key, owner, name, _ in _fields(self.current)}

    def describe(self) -> list[dict[str, object]]:
        """Return what `GET /api/settings` shows of every key."""
        defaults = {key: getattr(owner, name) for key, owner, name, _ in _fields(self._defaults)}
        return [
            {
                "key": key,
                "value": getattr(owner, name),
                "default": defaults[key],
                "minimum": described.minimum,
                "maximum": described.maximum,
                "unit": described.unit,
                "text": described.text,
                "choices": list(described.choices),
                "is_whole": isinstance(getattr(owner, name), int) and not isinstance(getattr(owner, name), bool),
            }
            for key, owner, name, described in _fields(self.current)
        ]

    def set(self, key: str, value: object) -> S:
        """Change one setting and return the whole; raise `MessageError` naming what is wrong."""
        values = self.values()
        if key not in values:
            raise MessageError("unknown_setting", f"There is no setting {key!r}.")
        whole: Any = self.current
        group, _, name = key.rpartition(".")
        part: Any = getattr(whole, group) if group else whole
        try:
            changed = dataclasses.replace(part, **{name: coerce(key, value, values[key])})
            check_options(changed)
        except ValueError as error:
            text = str(error)
            is_named = not group or text.startswith(key)
            raise MessageError("bad_value", text if is_named else f"{group}.{text}") from error
        self.current = dataclasses.replace(whole, **{group: changed}) if group else changed
        return self.current
