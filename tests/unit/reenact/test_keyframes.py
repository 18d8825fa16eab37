from __future__ import annotations

import json
from pathlib import Path

import pytest

from reenact.keyframes import Keyframes

GOOD = {"version": 1, "keys": [{"time_s": 2, "values": {"yaw": 20}}, {"time_s": 1, "values": {"jawOpen": 0.5}}]}


def test_between_keys_the_way_is_eased_and_beyond_them_they_hold() -> None:
    keys = Keyframes.of(GOOD)
    assert keys.times_s == (1.0, 2.0)
    assert keys.at(0.0).values == keys.at(1.0).values == {"jawOpen": 0.5}
    assert keys.at(9.0).values == keys.at(2.0).values == {"yaw": 20.0}
    assert keys.at(1.5).values == pytest.approx({"jawOpen": 0.25, "yaw": 10.0})
    assert keys.at(1.1).values["yaw"] == pytest.approx(20 * 0.028)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "version 1"),
        ({"version": 2, "keys": []}, "version 1"),
        ({"version": 1, "keys": []}, "1 to 1000"),
        ({"version": 1, "keys": [{"time_s": -1, "values": {}}]}, r"keys\[0\]\.time_s"),
        ({"version": 1, "keys": [{"time_s": True, "values": {}}]}, r"keys\[0\]\.time_s"),
        ({"version": 1, "keys": [3]}, r"keys\[0\]\.time_s"),
        ({"version": 1, "keys": [{"time_s": 0, "values": {"ear": 1}}]}, "no 'ear'"),
    ],
)
def test_nonsense_is_refused(values: object, words: str, tmp_path: Path) -> None:
    path = tmp_path / "edits.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=words):
        Keyframes.read(path)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 5000)
    for name in ("a.json", "none.json"):
        with pytest.raises(ValueError, match="holds no edits"):
            Keyframes.read(tmp_path / name)
