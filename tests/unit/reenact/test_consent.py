from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reenact import actor as actor_module
from reenact import actors_command, consent, signing
from reenact.actor import MANIFEST, WEIGHTS, Actor, ActorError, sign_actor
from reenact.consent import Consent
from tests.unit.reenact.make import make_actor

TOMORROW = consent.today() + dt.timedelta(days=1)
NORA = {"person": "Nora Berg", "purpose": "a play at the Nordic theatre"}


def words(until: dt.date = TOMORROW) -> Consent:
    return Consent.of_words("I agree.", **NORA, until=until)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_actor(tmp_path_factory.mktemp("actors")).folder


@pytest.fixture
def package(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / pristine.name))


def rewrite(package: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the manifest as a stranger would: without the key."""
    values = json.loads((package / MANIFEST).read_text())
    change(values)
    (package / MANIFEST).write_text(json.dumps(values))


def parse(*options: str) -> Consent:
    parser = argparse.ArgumentParser()
    consent.add_consent_arguments(parser)
    return consent.consent_of_arguments(parser.parse_args(options))


# The record


def test_a_record_comes_back_from_json(tmp_path: Path) -> None:
    video = tmp_path / "consent.mp4"
    video.write_bytes(b"moving pictures")
    recording = Consent.of_recording(video, **NORA, until=TOMORROW)
    assert recording.statement_sha256 == hashlib.sha256(b"moving pictures").hexdigest()
    for record in (words(), recording, Consent.of_nobody()):
        assert Consent.from_json(json.loads(json.dumps(record.to_json()))) == record


@pytest.mark.parametrize(
    ("change", "words_of_error"),
    [
        ({"person": " "}, "person: expected 1 to 300 characters"),
        ({"purpose": "x" * 301}, "purpose: expected 1 to 300 characters, got 301"),
        ({"until": None}, "until: a person's consent has a last day"),
        ({"until": "2027-02-30"}, "until: 2027-02-30 is no date"),
        ({"until": 20271231}, "until: expected a date as 2027-12-31"),
        ({"given": "by nodding"}, "given: expected one of text, recording, synthetic"),
        ({"given": "synthetic"}, "a synthetic face's has none"),
        ({"given": "recording"}, "statement: a recording is named by its hash alone"),
        ({"statement": "I agree to everything."}, "statement: it is empty, or its hash is another one"),
        ({"statement_sha256": "0" * 64}, "statement: it is empty, or its hash is another one"),
        ({"statement_sha256": "xyz"}, "statement_sha256: expected 64 hexadecimal digits"),
        ({"person": 7}, "person: expected a text, got 7"),
        ({"extra": "x"}, "it has the unknown field 'extra'"),
    ],
)
def test_records_that_say_too_little(change: dict[str, Any], words_of_error: str) -> None:
    with pytest.raises(ValueError, match=words_of_error):
        Consent.from_json(words().to_json() | change)


def test_consent_holds_through_its_last_day(monkeypatch: pytest.MonkeyPatch) -> None:
    record = words(until=dt.date(2027, 3, 1))
    for day, is_expired in ((dt.date(2027, 3, 1), False), (dt.date(2027, 3, 2), True)):
        monkeypatch.setattr(consent, "today", lambda day=day: day)
        assert record.is_expired is is_expired
        assert not Consent.of_nobody().is_expired


def test_options_make_records(tmp_path: Path) -> None:
    options = ("--person", "Nora Berg", "--purpose", NORA["purpose"], "--until", TOMORROW.isoformat())
    assert parse("--consent", "I agree.", *options) == words()
    letter = tmp_path / "letter.txt"
    letter.write_text("I agree.")
    assert parse("--consent", str(letter), *options) == words()
    voice = tmp_path / "voice.wav"
    voice.write_bytes(b"RIFF")
    assert parse("--consent", str(voice), *options).given == "recording"
    assert parse("--nobody").given == "synthetic"
    for wrong, complaint in (
        (("--consent", "I agree."), "--person, --purpose, --until is missing"),
        (("--nobody", "--person", "Nora"), "nobody has no --person"),
        (("--consent", "I agree.", *options[:-1], "2020-01-01"), "--until: 2020-01-01 is over"),
        (("--consent", "I agree.", *options[:-1], "soon"), "--until: expected a date"),
    ):
        with pytest.raises(ValueError, match=complaint):
            parse(*wrong)


# The package


def test_a_package_without_a_record_says_how_to_make_one(package: Path) -> None:
    olds: list[object] = [{}, {"statement": "fine", "recorded": "2026-11-22"}, "yes"]
    for old in olds:
        rewrite(package, partial(dict.update, consent=old))
        with pytest.raises(ActorError, match=r"no record of consent .* `reenact actors sign .* --consent .*--nobody`"):
            Actor.load(package)


def test_a_replaced_record_is_refused(package: Path) -> None:
    rewrite(package, lambda values: values.update(consent=Consent.of_nobody("Free for all.").to_json()))
    with pytest.raises(ActorError, match="its signature does not fit: something in it was changed"):
        Actor.load(package)


def test_a_replaced_weight_file_is_refused_even_with_its_hash(package: Path) -> None:
    data = bytearray((package / WEIGHTS).read_bytes())
    data[-5] ^= 1
    (package / WEIGHTS).write_bytes(data)
    with pytest.raises(ActorError, match="was changed or damaged"):
        Actor.load(package)
    digest = hashlib.sha256(data).hexdigest()
    rewrite(package, lambda values: values["files"][WEIGHTS].update(sha256=digest))
    with pytest.raises(ActorError, match="its signature does not fit"):
        Actor.load(package)


def test_a_strangers_signature_is_refused_until_trusted(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = signing.key_folder()
    monkeypatch.setenv("REENACT_DATA", str(package.parent / "stranger"))
    stranger = sign_actor(package, words()).signer
    monkeypatch.delenv("REENACT_DATA")
    assert signing.public_hex(signing.own_key()) != stranger
    with pytest.raises(ActorError, match=f"a key that this machine does not know, {stranger[:16]}"):
        Actor.load(package)
    (ours / signing.TRUSTED_FILE).write_text(f"# studios\n{stranger.upper()}  the studio next door\n\n")
    try:
        assert Actor.load(package).signer == stranger
        (ours / signing.TRUSTED_FILE).write_text("not a key\n")
        with pytest.raises(ActorError, match=r"trusted\.txt, line 1: a key has 64 hexadecimal digits"):
            Actor.load(package)
    finally:
        (ours / signing.TRUSTED_FILE).unlink()


def test_expired_consent_stops_loading(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_actor(package, words())
    assert Actor.load(package, verify=False).consent == words()
    monkeypatch.setattr(consent, "today", lambda: TOMORROW + dt.timedelta(days=1))
    for verify in (True, False):
        with pytest.raises(ActorError, match=f"The consent to show 'Nora Berg' in .* ended on {TOMORROW}"):
            Actor.load(package, verify=verify)
    with pytest.raises(ActorError, match="it takes a new record"):
        sign_actor(package)


def test_an_unsound_package_is_not_signed(package: Path) -> None:
    (package / WEIGHTS).write_bytes(b"weights")
    before = (package / MANIFEST).read_bytes()
    with pytest.raises(ActorError, match="was changed or damaged"):
        sign_actor(package, words())
    assert (package / MANIFEST).read_bytes() == before


def test_what_ships_needs_no_signature_and_nothing_else_goes_without(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_of_shipped = tmp_path / "manifest.json"
    monkeypatch.setattr(actor_module, "SHIPPED", list_of_shipped)
    sign_actor(package, is_shipped=True)
    with pytest.raises(ActorError, match="it is not signed"):
        Actor.load(package)
    digest = hashlib.sha256((package / MANIFEST).read_bytes()).hexdigest()
    list_of_shipped.write_text(json.dumps([{"file": "actors/tiny.actor/actor.json", "sha256": digest}]))
    assert Actor.load(package).signer == ""
    rewrite(package, lambda values: values.update(title="Another"))
    with pytest.raises(ActorError, match="it is not signed"):
        Actor.load(package)


# The key


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REENACT_DATA", str(tmp_path / "data"))
    assert signing.trusted_keys() == frozenset()
    key = signing.public_hex(signing.own_key())
    assert signing.public_hex(signing.own_key()) == key
    assert signing.trusted_keys() == {key}
    path = tmp_path / "data" / "keys" / "signing.pem"
    assert path.stat().st_mode & 0o077 == 0
    assert [entry.name for entry in path.parent.iterdir()] == ["signing.pem"]
    path.write_text("-----BEGIN NONSENSE-----")
    with pytest.raises(signing.SigningError, match="cannot be used"):
        signing.own_key()


@pytest.mark.parametrize("signature", [None, {}, {"key": "0" * 64}, {"key": "0" * 64, "value": "zz"}, "signed", [1]])
def test_what_is_no_signature(signature: object) -> None:
    with pytest.raises(signing.SigningError, match="it is not signed"):
        signing.check_signature({"a": 1}, signature)


def test_a_signature_is_of_the_content_and_not_of_its_spelling() -> None:
    values = {"b": [1.5, "é"], "a": {"d": None, "c": True}}
    signature = signing.sign(values)
    again = json.loads(json.dumps(dict(reversed(values.items())), indent=4))
    assert signing.check_signature(again, signature) == signature["key"]
    with pytest.raises(signing.SigningError, match="was changed after it was signed"):
        signing.check_signature(values | {"b": [1.5, "e"]}, signature)


# The command


def command(*options: str) -> int:
    parser = argparse.ArgumentParser()
    actors_command.add_arguments(parser)
    return actors_command.run(parser.parse_args(options))


def test_a_package_that_one_holds_can_be_signed(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(package, lambda values: (values.pop("signature"), values.update(consent={"statement": "old"})))
    assert command("verify", str(package)) == 1
    assert command("sign", str(package)) == 1
    assert "has no record of consent to sign" in capsys.readouterr().err
    assert command("sign", str(package), "--consent", "I agree.") == 2
    assert "--person, --purpose, --until is missing" in capsys.readouterr().err
    until = TOMORROW.isoformat()
    options = ("--consent", "I agree.", "--person", "N", "--purpose", "P", "--until", until)
    assert command("sign", str(package), *options) == 0
    assert f"consent of N, text, until {until} | signed by " in capsys.readouterr().out
    assert command("verify", "--json", str(package)) == 0


def test_somebody_elses_record_is_shown_before_it_is_signed(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(package, lambda values: values.update(title="Renamed"))
    monkeypatch.setattr("sys.stdin.readline", lambda: "\n", raising=False)
    assert command("sign", str(package)) == 1
    assert "  statement          nobody's face" in capsys.readouterr().out
    with pytest.raises(ActorError):
        Actor.load(package)
    assert command("sign", str(package), "--yes") == 0
    assert Actor.load(package).title == "Renamed"


def test_an_actor_that_ships_gets_its_hash_into_the_manifest(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = tmp_path / "models" / "actors"
    bundled.mkdir(parents=True)
    folder = package.rename(bundled / "nora.actor")  # signing gives it the name of its folder
    entries = [
        {"file": f"actors/nora.actor/{name}", "sha256": "", "made_by": "", "data": "", "licence": ""}
        for name in (WEIGHTS, MANIFEST)
    ]
    (tmp_path / "models" / "manifest.json").write_text(json.dumps(entries))
    monkeypatch.setattr(actors_command, "BUNDLED", bundled)
    for module in (actor_module, actors_command):
        monkeypatch.setattr(module, "SHIPPED", tmp_path / "models" / "manifest.json")
    assert command("sign", str(folder), "--nobody") == 0
    assert Actor.load(folder).signer == ""
