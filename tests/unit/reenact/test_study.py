from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from reenact import study as study_module
from reenact import study_command
from reenact.study import Answer, Study, StudyError
from reenact.study_results import bootstrap_mean, results, wilson

PERSON = "0123456789abcdef"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    real, made = tmp_path / "real", tmp_path / "made"
    for folder in (real, made):
        folder.mkdir()
        for index in range(3):
            (folder / f"clip{index}.mp4").write_bytes(f"{folder.name} {index}".encode())
    return real, made, tmp_path / "studies"


def make(folders: tuple[Path, Path, Path], kind: str = "rating") -> Study:
    return Study.create("test", folders[0], folders[1], kind=kind, folder=folders[2])


def test_names_of_files_tell_nothing(folders: tuple[Path, Path, Path]) -> None:
    made = make(folders)
    assert (len(made.real), len(made.made)) == (3, 3)
    names = {path.name for path in made.folder.glob("*.mp4")}
    assert len(names) == 6
    assert not any("real" in name or "made" in name or "clip" in name for name in names)
    assert made.clip(made.real[0]).read_bytes().startswith(b"real")


@pytest.mark.parametrize("kind", ["rating", "pair"])
def test_trials_are_random_balanced_and_the_same_when_asked_again(kind: str, folders: tuple[Path, Path, Path]) -> None:
    made = make(folders, kind)
    trials = made.trials(PERSON)
    assert trials == made.trials(PERSON)
    assert sorted(key for keys in trials for key in keys) == sorted((*made.real, *made.made))
    orders = {str(made.trials(f"{number:016x}")) for number in range(20)}
    assert len(orders) > 10
    if kind == "pair":
        for number in range(20):
            lefts = sum(left in made.real for left, _ in made.trials(f"{number:016x}"))
            assert lefts in (1, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"person": "../../etc"}, {"person": 3}, {"trial": "x"}, {"trial": ["a"]}, {"value": 0}, {"value": 6},
        {"value": True}, {"value": 2.5}, {"more": 1},
    ],
)  # fmt: skip
def test_answers_that_nobody_could_give_are_refused(wrong: dict[str, object], folders: tuple[Path, Path, Path]) -> None:
    made = make(folders)
    good = {"person": PERSON, "trial": made.real[0], "value": 4}
    assert made.check(good) == Answer(PERSON, made.real[0], 4)
    with pytest.raises(StudyError, match="answer"):
        made.check({**good, **wrong})


def test_answers_are_kept_once_and_damage_is_passed_over(
    folders: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(folders)
    made.record(Answer(PERSON, made.real[0], 5))
    with pytest.raises(StudyError, match="before"):
        made.record(Answer(PERSON, made.real[0], 1))
    with (made.folder / "answers.jsonl").open("ab") as file:
        file.write(b'{"person": "x"}\n\xff\xff\n' + b"9" * 5000 + b'\n{"person": "0123')  # cut off by a crash
    made.record(Answer(PERSON, made.made[0], 2))
    assert [answer.value for answer in made.answers()] == [5, 2]
    monkeypatch.setattr(study_module, "MAX_ANSWERS", 2)
    with pytest.raises(StudyError, match="can hold"):
        made.record(Answer(PERSON, made.made[1], 2))


def test_what_cannot_be_a_study_is_refused(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    made = make(folders)
    with pytest.raises(StudyError, match="already"):
        make(folders)
    for name in ("../x", "", "none"):
        with pytest.raises(StudyError):
            Study.open(name, folders[2])
    (folders[1] / "clip0.mp4").unlink()
    with pytest.raises(StudyError, match="as many"):
        Study.create("pairs", folders[0], folders[1], kind="pair", folder=folders[2])
    with pytest.raises(StudyError, match="expected 1 to"):
        Study.create("empty", tmp_path / "studies", folders[1], folder=folders[2])
    assert [path.name for path in folders[2].iterdir()] == ["test"]
    values = json.loads((made.folder / "study.json").read_text())
    values["real"] = ["../../../../etc/passwd"]
    (made.folder / "study.json").write_text(json.dumps(values))
    with pytest.raises(StudyError, match="damaged"):
        Study.open("test", folders[2])


def test_wilsons_interval_is_that_of_the_textbook() -> None:
    # Newcombe (1998), table I, method 3.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_bootstrap_draws_people_and_not_answers() -> None:
    rng = np.random.default_rng(1)
    groups = [np.full(30, value) for value in rng.normal(3, 1, 25)]
    low, high = bootstrap_mean(groups)
    means = np.array([group.mean() for group in groups])
    half = 1.96 * means.std(ddof=1) / np.sqrt(len(means))
    assert (high - low) / 2 == pytest.approx(half, rel=0.15)


def test_results_and_the_command(
    folders: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REENACT_DATA", str(folders[2].parent / "data"))

    def run(*words: str) -> int:
        parser = argparse.ArgumentParser()
        study_command.add_arguments(parser)
        return study_command.run(parser.parse_args(words))

    assert run("made", "--real", str(folders[0])) == 2
    assert run("made", "--real", str(folders[0]), "--made", str(folders[1])) == 0
    assert "/study/made" in capsys.readouterr().out
    made = Study.open("made")
    assert results(made) == []
    for number in range(4):
        for key in made.real:
            made.record(Answer(f"{number:016x}", key, 5))
        for key in made.made:
            made.record(Answer(f"{number:016x}", key, 4 if number == 0 else 2))
    assert run("made", "--json") == 0
    rows = {row["what"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert rows["real: taken for real"]["value"] == 1.0
    assert rows["reenacted: taken for real"]["value"] == 0.25
    assert rows["reenacted: taken for real"]["high"] == pytest.approx(wilson(3, 12)[1])
    assert rows["reenacted: mean rating"]["value"] == 2.5
    assert run() == 0
    assert capsys.readouterr().out == "made\n"
    assert run("none") == 1


def test_a_pair_counts_where_the_real_one_was_found(folders: tuple[Path, Path, Path]) -> None:
    made = make(folders, "pair")
    for left, right in made.trials(PERSON):
        made.record(Answer(PERSON, f"{left}+{right}", 0))
    (row,) = results(made)
    assert row.answers == 3
    assert row.value == pytest.approx(sum(left in made.real for left, _ in made.trials(PERSON)) / 3)
