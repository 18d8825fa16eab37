from __future__ import annotations

import pytest

from streamer.errors import MessageError
from streamer.settings import SettingsTable
from tests.unit.streamer.fakes import FakeSettings, FakeTransfer


def table() -> SettingsTable[FakeSettings]:
    return SettingsTable(FakeSettings())


def test_values_have_keys() -> None:
    assert table().values() == {
        "tracker": "auto",
        "smoothing.min_cutoff_hz": 1.5,
        "transfer.mouth_gain": 1.0,
        "transfer.is_mirrored": True,
        "transfer.mode": "head",
        "transfer.steps": 3,
    }


def test_set_makes_a_new_whole() -> None:
    settings = table()
    before = settings.current
    after = settings.set("transfer.mouth_gain", 2)
    assert after.transfer.mouth_gain == 2.0
    assert isinstance(after.transfer.mouth_gain, float)
    assert before.transfer.mouth_gain == 1.0
    assert settings.set("transfer.is_mirrored", False).transfer.is_mirrored is False
    assert settings.set("transfer.steps", 4.0).transfer.steps == 4
    assert settings.current.transfer.mouth_gain == 2.0
    assert settings.set("tracker", "landmarks").tracker == "landmarks"
    assert settings.current.transfer.mouth_gain == 2.0


@pytest.mark.parametrize(
    ("key", "value", "code", "words"),
    [
        ("transfer.mouth_gain", 2.5, "bad_value", "transfer.mouth_gain: expected 0.0 to 2.0, got 2.5"),
        ("transfer.mouth_gain", float("nan"), "bad_value", "transfer.mouth_gain: expected a number, got nan"),
        ("transfer.mouth_gain", "1", "bad_value", "transfer.mouth_gain: expected a number, got '1'"),
        ("transfer.mouth_gain", True, "bad_value", "transfer.mouth_gain: expected a number, got True"),
        ("transfer.mouth_gain", None, "bad_value", "transfer.mouth_gain: expected a number, got None"),
        ("transfer.is_mirrored", 1, "bad_value", "transfer.is_mirrored: expected true or false, got 1"),
        ("transfer.steps", 1.5, "bad_value", "transfer.steps: expected a whole number, got 1.5"),
        ("transfer.mode", "feet", "bad_value", "transfer.mode: expected one of head, face, got 'feet'"),
        ("transfer.mode", 3, "bad_value", "transfer.mode: expected a word, got 3"),
        ("transfer.ears_gain", 1.0, "unknown_setting", "There is no setting 'transfer.ears_gain'."),
        ("tracker", "abacus", "bad_value", "tracker: expected one of auto, landmarks, regressor, got 'abacus'"),
        ("tracker", "regressor", "bad_value", "The tracker 'regressor' has no weights here."),
        ("tracker", 1, "bad_value", "tracker: expected a word, got 1"),
        ("transfer", 1.0, "unknown_setting", "There is no setting 'transfer'."),
        ("__class__.x", 1.0, "unknown_setting", "There is no setting '__class__.x'."),
    ],
)
def test_a_refusal_names_the_field(key: str, value: object, code: str, words: str) -> None:
    settings = table()
    with pytest.raises(MessageError) as caught:
        settings.set(key, value)
    assert caught.value.code == code
    assert caught.value.message == words
    assert settings.current == FakeSettings()


def test_describe_tells_value_and_default_apart() -> None:
    settings = SettingsTable(FakeSettings(transfer=FakeTransfer(mouth_gain=0.5)), FakeSettings())
    described = {entry["key"]: entry for entry in settings.describe()}
    assert described["transfer.mouth_gain"] == {
        "key": "transfer.mouth_gain",
        "value": 0.5,
        "default": 1.0,
        "minimum": 0.0,
        "maximum": 2.0,
        "unit": "",
        "text": "How far the mouth opens.",
        "choices": [],
        "is_whole": False,
    }
    assert described["transfer.mode"]["choices"] == ["head", "face"]
