"""One new target on its way: who, what for, from which video, and how far it is. Kept as `job.json` in its folder."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import secrets
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, cast

from reenact.consent import MAX_STATEMENT_CHARS, Consent, parse_date, today
from streamer.errors import ServiceError

State = Literal["waiting", "checking", "queued", "training", "finished", "failed", "refused"]
"""`waiting` for its video; `checking` that; `queued` until its turn; at the end an actor, a failure that can be gone on
from, or a video that would not do."""
FILE = "job.json"
FIELDS = ("title", "person", "purpose", "until", "statement", "is_spoken", "minutes", "resolution")
MAX_TITLE_CHARS = 80
MINUTES = (1, 600)
RESOLUTIONS = (256, 512)


@dataclass(kw_only=True, slots=True)
class Job:
    """See the module."""

    id: str
    """Made here: the folder's name, too."""
    name: str
    """Of the actor to come."""
    title: str
    person: str
    purpose: str
    until: str
    statement: str
    """The words of consent, empty until they were spoken."""
    is_spoken: bool
    minutes: int
    resolution: int
    state: State = "waiting"
    code: str = ""
    reason: str = ""
    """Why it was refused, or failed: a sentence for people."""
    cure: str = ""
    video: str = ""
    """File in the job's folder, named by what it contains."""
    spoken: str = ""
    """File of the spoken statement in the job's folder."""
    created_s: float = 0.0
    """Wall time, Unix."""
    found: dict[str, Any] = field(default_factory=dict)
    """What the check found in the video."""

    @property
    def has_consent(self) -> bool:
        """Whether the statement is there: without it nothing is taken and nothing trained."""
        return bool(self.spoken) if self.is_spoken else bool(self.statement)

    def save(self, folder: Path) -> None:
        """Write `job.json`, whole or not at all. Raises `OSError`."""
        part = folder / (FILE + ".part")
        with part.open("w") as file:
            json.dump(dataclasses.asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. Raises `OSError`, `ValueError` and `TypeError`."""
        job = cls(**json.loads((folder / FILE).read_text()))
        if job.id != folder.name:
            raise ValueError(f"{folder} holds the job {job.id}")
        return job


def parse_job(values: object, taken: Collection[str], now_s: float) -> Job:
    """Check what a page asks for; raise `ServiceError` (400) naming the field at fault.

    `taken` are the names of actors and jobs that there are.
    """
    if not isinstance(values, Mapping):
        raise bad("Expected a JSON object.")
    fields: dict[str, Any] = {"statement": "", "is_spoken": False, "minutes": 20, "resolution": 256, **values}
    if wrong := sorted(set(fields) ^ set(FIELDS)):
        raise bad(f"{wrong[0]!r} is {'missing' if wrong[0] in FIELDS else 'no field of a job'}.")
    for name in ("title", "person", "purpose", "until", "statement"):
        if not isinstance(fields[name], str) or (name != "statement" and not fields[name].strip()):
            raise bad(f"{name}: expected some words.")
    if len(fields["title"]) > MAX_TITLE_CHARS or not fields["title"].isprintable():
        raise bad(f"title: expected at most {MAX_TITLE_CHARS} printable characters.")
    if not isinstance(fields["is_spoken"], bool):
        raise bad("is_spoken: expected true or false.")
    for name, allowed in (("minutes", range(MINUTES[0], MINUTES[1] + 1)), ("resolution", RESOLUTIONS)):
        if isinstance(fields[name], bool) or fields[name] not in cast(Collection[object], allowed):
            raise bad(f"{name}: expected one of {allowed[0]} to {allowed[-1]}, got {fields[name]!r}.")
    _check_consent(fields)
    return Job(id=secrets.token_hex(8), name=name_of(fields["title"], taken), created_s=now_s, **fields)


def _check_consent(fields: Mapping[str, Any]) -> None:
    """Refuse now what a package would refuse after hours of training."""
    if fields["is_spoken"] == bool(fields["statement"].strip()):
        raise ServiceError(
            400,
            "consent_missing",
            "Consent takes a statement: written in 'statement', or spoken ('is_spoken') and sent as a recording.",
        )
    try:
        until = parse_date("until", fields["until"])
        if until < today():
            raise ValueError(f"until: {until} is over")
        words = fields["statement"] or "spoken"
        if len(words) > MAX_STATEMENT_CHARS:
            raise ValueError(f"statement: expected at most {MAX_STATEMENT_CHARS} characters")
        words.encode()
        Consent.of_words(words, person=fields["person"], purpose=fields["purpose"], until=until)
    except ValueError as error:
        raise bad(f"{error}.") from None


def bad(message: str) -> ServiceError:
    """Make the error for a request that makes no sense."""
    return ServiceError(400, "bad_job", message)


def name_of(title: str, taken: Collection[str]) -> str:
    """Make an actor's name of a title: letters, digits and dashes, and a number where it is taken."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:48].strip("-") or "target"
    names = [stem, *(f"{stem}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)
