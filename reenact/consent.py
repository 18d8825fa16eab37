"""Consent to be shown by an actor: who, what for, until when, how it was given, and the hash of what was said."""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

KINDS = ("text", "recording", "synthetic")
"""How it was given: in words that the package carries, in a recording that it names by its hash, or by nobody, as no
person's face is in it."""
FIELDS = ("person", "purpose", "until", "given", "statement", "statement_sha256", "recorded")
MAX_STATEMENT_CHARS = 4000
MAX_WORDS_CHARS = 300
MAX_RECORDING_BYTES = 1 << 32
TEXT_SUFFIXES = (".txt", ".md")
NOBODY = "Nobody: a synthetic face. No person's face or voice went into it; use it freely."


def today() -> dt.date:
    """Give the date by which consent ends, UTC."""
    return dt.datetime.now(tz=dt.UTC).date()


@dataclass(frozen=True, kw_only=True, slots=True)
class Consent:
    """One person's consent. `ValueError` for a record that says too little."""

    person: str
    """Who is shown."""
    purpose: str
    """What for."""
    until: dt.date | None
    """The last day, UTC; None, no end, only for a synthetic face."""
    given: str
    """One of `KINDS`."""
    statement: str
    """What was said, in words; empty for a recording."""
    statement_sha256: str
    """Of the words as UTF-8, or of the recording's file."""
    recorded: dt.date
    """The day on which this record was made, UTC."""

    def __post_init__(self) -> None:
        for name, value in (("person", self.person), ("purpose", self.purpose)):
            if not value.strip() or len(value) > MAX_WORDS_CHARS:
                raise ValueError(f"{name}: expected 1 to {MAX_WORDS_CHARS} characters, got {len(value)}")
        if self.given not in KINDS:
            raise ValueError(f"given: expected one of {', '.join(KINDS)}, got {self.given!r}")
        if (self.until is None) != (self.given == "synthetic"):
            raise ValueError("until: a person's consent has a last day, and a synthetic face's has none")
        if not re.fullmatch(r"[0-9a-f]{64}", self.statement_sha256):
            raise ValueError("statement_sha256: expected 64 hexadecimal digits")
        if len(self.statement) > MAX_STATEMENT_CHARS:
            raise ValueError(f"statement: expected at most {MAX_STATEMENT_CHARS} characters, got {len(self.statement)}")
        if self.given == "recording":
            if self.statement:
                raise ValueError("statement: a recording is named by its hash alone")
        elif not self.statement.strip() or _sha256(self.statement.encode()) != self.statement_sha256:
            raise ValueError("statement: it is empty, or its hash is another one")

    @property
    def is_expired(self) -> bool:
        """True from the day after `until`."""
        return self.until is not None and today() > self.until

    @classmethod
    def of_words(cls, statement: str, *, person: str, purpose: str, until: dt.date | None, given: str = "text") -> Self:
        """Record consent given in words. Raises `ValueError`."""
        digest = _sha256(statement.encode())
        return cls(
            person=person, purpose=purpose, until=until, given=given, statement=statement, statement_sha256=digest,
            recorded=today(),
        )  # fmt: skip

    @classmethod
    def of_recording(cls, path: Path, *, person: str, purpose: str, until: dt.date) -> Self:
        """Record consent given in an audio or video file, which stays where it is. Raises `ValueError`, `OSError`."""
        if not 0 < path.stat().st_size <= MAX_RECORDING_BYTES:
            raise ValueError(f"{path}: expected a file of 1 to {MAX_RECORDING_BYTES} bytes")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(
            person=person, purpose=purpose, until=until, given="recording", statement="", statement_sha256=digest,
            recorded=today(),
        )  # fmt: skip

    @classmethod
    def of_nobody(cls, statement: str = NOBODY) -> Self:
        """Record that a face is nobody's."""
        return cls.of_words(statement, person="nobody", purpose="anything", until=None, given="synthetic")

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Read what `to_json` gave. Raises `ValueError` naming the field at fault."""
        if not isinstance(values, Mapping):
            raise ValueError("expected an object")
        if wrong := sorted(set(values) ^ set(FIELDS)):
            raise ValueError(f"{'it lacks' if wrong[0] in FIELDS else 'it has the unknown field'} {wrong[0]!r}")
        for name in set(FIELDS) - {"until"}:
            if not isinstance(values[name], str):
                raise ValueError(f"{name}: expected a text, got {values[name]!r}")
        fields: dict[str, Any] = dict(values)
        fields["recorded"] = parse_date("recorded", values["recorded"])
        fields["until"] = None if values["until"] is None else parse_date("until", values["until"])
        return cls(**fields)

    def to_json(self) -> dict[str, str | None]:
        """Give the record as the package holds it."""
        return {
            "person": self.person, "purpose": self.purpose, "until": self.until.isoformat() if self.until else None,
            "given": self.given, "statement": self.statement, "statement_sha256": self.statement_sha256,
            "recorded": self.recorded.isoformat(),
        }  # fmt: skip


def parse_date(name: str, text: object) -> dt.date:
    """Read `YYYY-MM-DD`. Raises `ValueError`."""
    if not isinstance(text, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise ValueError(f"{name}: expected a date as 2027-12-31, got {text!r}")
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{name}: {text} is no date ({error})") from None


def add_consent_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options that make a record."""
    group = parser.add_argument_group("consent", "what the package says of the person it shows")
    group.add_argument(
        "--consent", metavar="TEXT|FILE", help="the statement: words, a text file, or the file of a recording"
    )
    group.add_argument("--person", metavar="NAME", help="who consents")
    group.add_argument("--purpose", metavar="TEXT", help="what for")
    group.add_argument("--until", metavar="DATE", help="last day, as 2027-12-31 (UTC)")
    group.add_argument("--nobody", action="store_true", help="the face is synthetic: nobody's")


def has_consent_arguments(args: argparse.Namespace) -> bool:
    """Say whether any of the options was given."""
    return bool(args.nobody or args.consent or args.person or args.purpose or args.until)


def consent_of_arguments(args: argparse.Namespace) -> Consent:
    """Make the record that the options describe. Raises `ValueError` naming what is missing, and `OSError`."""
    if args.nobody:
        if args.person or args.purpose or args.until:
            raise ValueError("--nobody: nobody has no --person, --purpose or --until")
        return Consent.of_nobody(args.consent or NOBODY)
    missing = [f"--{name}" for name in ("consent", "person", "purpose", "until") if not getattr(args, name)]
    if missing:
        raise ValueError(f"consent: {', '.join(missing)} is missing (a synthetic face takes --nobody instead)")
    until = parse_date("--until", args.until)
    if until < today():
        raise ValueError(f"--until: {until} is over")
    path = Path(args.consent)
    if len(args.consent) > 255 or not path.is_file():
        return Consent.of_words(args.consent, person=args.person, purpose=args.purpose, until=until)
    if path.suffix.lower() in TEXT_SUFFIXES:
        words = path.read_text(encoding="utf-8")
        return Consent.of_words(words, person=args.person, purpose=args.purpose, until=until)
    return Consent.of_recording(path, person=args.person, purpose=args.purpose, until=until)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
