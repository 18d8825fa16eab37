"""A study of believability: clips, real or reenacted, and what people take them for (Deep Video Portraits, section 7).

A folder holds `study.json`, the clips under names that tell nothing, and `answers.jsonl`, one line for each answer.
Only this module writes there; what it reads back is checked as if it came from a stranger.
"""

from __future__ import annotations

import json
import os
import random
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from reenact.signing import data_folder

KINDS = ("rating", "pair")
"""rating: one clip, "this is real" from 1 (strongly disagree) to 5 (strongly agree); pair: which of two is real."""
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
KEY = re.compile(r"[0-9a-f]{16}")
CLIP_SUFFIXES = (".mp4", ".webm")
MAX_CLIPS = 400
MAX_CLIP_BYTES = 256 << 20
MAX_ANSWERS = 100_000
MAX_ANSWER_BYTES = 512
SCALE = (1, 5)
"""Ratings: the paper's Likert scale. From 4 on a clip was taken for real."""
REAL_FROM = 4


class StudyError(Exception):
    """A study cannot be made, opened or answered; the message is one sentence for people."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one person said of one trial."""

    person: str
    """Random, made by the page: 16 hexadecimal digits. It only keeps answers of one sitting together."""
    trial: str
    """Keys of the clips shown, joined by `+`, left first."""
    value: int
    """Rating 1 to 5; of a pair 0 for the left one, 1 for the right one."""


@dataclass(frozen=True, slots=True)
class Study:
    """A study on disk."""

    folder: Path
    kind: str
    question: str
    real: tuple[str, ...]
    """Keys of the real clips."""
    made: tuple[str, ...]
    """Keys of the reenacted clips."""
    suffixes: Mapping[str, str]
    """Ending of each clip's file."""

    @classmethod
    def create(cls, name: str, real: Path, made: Path, *, kind: str = "rating", folder: Path | None = None) -> Self:
        """Copy the clips of two folders under names that tell nothing. Raises `StudyError`."""
        if not NAME.fullmatch(name) or kind not in KINDS:
            raise StudyError(f"expected a name of letters a-z, digits, - and _, and one of {', '.join(KINDS)}")
        sides = [_clips(real), _clips(made)]
        if kind == "pair" and len(sides[0]) != len(sides[1]):
            raise StudyError(
                f"pairs need as many real clips as reenacted ones, got {len(sides[0])} and {len(sides[1])}"
            )
        target = (folder or studies_folder()) / name
        if target.exists():
            raise StudyError(f"There is a study {name!r} already.")
        scratch = target.with_name(f".{name}.{secrets.token_hex(4)}")
        try:
            scratch.mkdir(parents=True)
            keys = [{secrets.token_hex(8): path for path in side} for side in sides]
            for key, path in [*keys[0].items(), *keys[1].items()]:
                shutil.copyfile(path, scratch / f"{key}{path.suffix.lower()}")
            values = {
                "version": 1, "kind": kind, "question": _QUESTIONS[kind], "real": list(keys[0]), "made": list(keys[1]),
                "suffixes": {key: path.suffix.lower() for side in keys for key, path in side.items()},
                "names": {key: path.name for side in keys for key, path in side.items()},
            }  # fmt: skip
            (scratch / "study.json").write_text(json.dumps(values, indent=1), encoding="utf-8")
            scratch.rename(target)
        except OSError as error:
            raise StudyError(f"{target} cannot be written: {error.strerror or error}") from None
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return cls.open(name, folder)

    @classmethod
    def open(cls, name: str, folder: Path | None = None) -> Self:
        """Open a study by name. Raises `StudyError`."""
        path = (folder or studies_folder()) / name
        if not NAME.fullmatch(name) or not (path / "study.json").is_file():
            raise StudyError(f"There is no study {name[:64]!r}.")
        try:
            values = json.loads((path / "study.json").read_text(encoding="utf-8"))
            real, made = tuple(values["real"]), tuple(values["made"])
            suffixes, question = dict(values["suffixes"]), str(values["question"])
            if values["version"] != 1 or values["kind"] not in KINDS or not real or not made:
                raise ValueError("its fields")
            for key in (*real, *made):
                if not KEY.fullmatch(key) or suffixes[key] not in CLIP_SUFFIXES:
                    raise ValueError("its clips")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StudyError(f"The study {name!r} is damaged: {error}.") from None
        return cls(path, values["kind"], question, real, made, suffixes)

    def trials(self, person: str) -> list[list[str]]:
        """Give the order in which a person sees everything: random, balanced, and the same when asked again.

        Pairs have the real one as often left as right.
        """
        chance = random.Random(person)
        if self.kind == "rating":
            singles = [[key] for key in (*self.real, *self.made)]
            chance.shuffle(singles)
            return singles
        made = chance.sample(self.made, len(self.made))
        lefts = [index % 2 == 0 for index in range(len(made))]
        chance.shuffle(lefts)
        real = chance.sample(self.real, len(self.real))
        return [[a, b] if left else [b, a] for a, b, left in zip(real, made, lefts, strict=True)]

    def clip(self, key: str) -> Path:
        """Give a clip's file. Raises `StudyError` for a key that is none."""
        if key not in self.suffixes or not KEY.fullmatch(key):
            raise StudyError("There is no such clip.")
        return self.folder / f"{key}{self.suffixes[key]}"

    def check(self, values: Any) -> Answer:  # noqa: ANN401 - from strangers
        """Check an answer. Raises `StudyError` naming the field at fault."""
        if not isinstance(values, Mapping) or set(values) != {"person", "trial", "value"}:
            raise StudyError("answer: expected person, trial and value")
        person, trial, value = values["person"], values["trial"], values["value"]
        if not isinstance(person, str) or not KEY.fullmatch(person):
            raise StudyError("answer.person: expected 16 hexadecimal digits")
        low, high = SCALE if self.kind == "rating" else (0, 1)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise StudyError(f"answer.value: expected a whole number from {low} to {high}")
        if not isinstance(trial, str) or trial not in {"+".join(keys) for keys in self.trials(person)}:
            raise StudyError("answer.trial: expected what was shown")
        return Answer(person, trial, value)

    def record(self, answer: Answer) -> None:
        """Keep an answer: one line, on the disk. Raises `StudyError` where the study is full, or was so answered."""
        answers = self.answers()
        if len(answers) >= MAX_ANSWERS:
            raise StudyError("This study has all the answers that it can hold.")
        if any((old.person, old.trial) == (answer.person, answer.trial) for old in answers):
            raise StudyError("That was answered before.")
        line = json.dumps({"person": answer.person, "trial": answer.trial, "value": answer.value}) + "\n"
        with (self.folder / "answers.jsonl").open("ab") as file:
            if file.tell() and not self._ends_whole():
                file.write(b"\n")  # what a crash cut off stays a line of its own, which nobody reads
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def answers(self) -> list[Answer]:
        """Read every answer that holds; damaged lines are passed over."""
        read: dict[tuple[str, str], Answer] = {}
        try:
            with (self.folder / "answers.jsonl").open("rb") as file:
                for line in file:
                    if len(line) <= MAX_ANSWER_BYTES and len(read) < MAX_ANSWERS:
                        try:
                            answer = self.check(json.loads(line))
                        except (ValueError, StudyError, RecursionError):
                            continue
                        read.setdefault((answer.person, answer.trial), answer)
        except FileNotFoundError:
            pass
        return list(read.values())

    def _ends_whole(self) -> bool:
        with (self.folder / "answers.jsonl").open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"


_QUESTIONS = {"rating": "This video clip looks real to me.", "pair": "Which of the two is the real one?"}


def studies_folder() -> Path:
    """Give the folder of this user's studies."""
    return data_folder() / "studies"


def _clips(folder: Path) -> Sequence[Path]:
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() in CLIP_SUFFIXES and path.is_file())
    except OSError as error:
        raise StudyError(f"{folder} cannot be read: {error.strerror}") from None
    if not 1 <= len(found) <= MAX_CLIPS:
        raise StudyError(f"{folder}: expected 1 to {MAX_CLIPS} clips ({', '.join(CLIP_SUFFIXES)}), got {len(found)}")
    for path in found:
        if path.stat().st_size > MAX_CLIP_BYTES:
            raise StudyError(f"{path}: a clip may have {MAX_CLIP_BYTES >> 20} MiB")
    return found
