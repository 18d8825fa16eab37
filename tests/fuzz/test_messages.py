"""Whatever a page may say over the data channel, in its settings, or on the command line: an answer, never a crash."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.reenactor import ReenactSettings
from streamer import control
from streamer.config import Config, load_config, parse_assignment
from streamer.errors import MessageError, UsageError
from streamer.settings import SettingsTable
from tests.fuzz.inputs import JSON, NASTY_TEXT, damaged_json, inputs, nothing_leaks
from tests.unit.streamer.fakes import make_personal
from tests.unit.streamer.test_session import Rig

GOOD: list[dict[str, Any]] = [
    {"type": "set", "key": "transfer.mouth_gain", "value": 1.5},
    {"type": "calibrate"},
    {"type": "reset"},
    {"type": "actor", "name": "milo"},
    {"type": "mesh", "is_on": True},
    {"type": "restore", "calibration": make_personal().to_json()},
    {"type": "record", "format": "mp4"},
    {"type": "ping", "t": 12.5},
]
TABLE = SettingsTable(ReenactSettings())
KEYS = sorted(TABLE.values())


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    with nothing_leaks():
        yield


@st.composite
def messages(draw: st.DrawFn) -> str | bytes:
    kind = draw(st.sampled_from(("damaged", "damaged", "damaged", "json", "text", "bytes", "long")))
    if kind == "damaged":
        text = json.dumps(draw(damaged_json(draw(st.sampled_from(GOOD)))))
        return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text
    if kind == "json":
        return json.dumps(draw(JSON))
    if kind == "text":
        return draw(st.text(max_size=100) | st.sampled_from(NASTY_TEXT))
    if kind == "bytes":
        return draw(st.binary(max_size=100))
    return "[" * draw(st.integers(1, 20_000))


@inputs(200)
@given(message=messages())
def test_a_message_is_understood_or_refused_with_a_sentence(message: str | bytes) -> None:
    try:
        assert isinstance(control.parse_message(message), control.Command)
    except MessageError as error:
        assert error.code
        assert 0 < len(error.message) < 40_000
        json.dumps(error.message)


@inputs(150)
@given(key=st.sampled_from(KEYS) | st.sampled_from(NASTY_TEXT) | st.text(max_size=30), value=JSON)
def test_a_setting_is_taken_within_its_bounds_or_refused_and_left(key: str, value: Any) -> None:
    table = SettingsTable(ReenactSettings())
    before = table.values()
    try:
        table.set(key, value)
    except MessageError as error:
        assert error.code in ("unknown_setting", "bad_value")
        assert table.values() == before
    for entry in table.describe():
        low, high, now = entry["minimum"], entry["maximum"], entry["value"]
        if isinstance(now, int | float) and not isinstance(now, bool):
            assert low is None or now >= low  # type: ignore[operator]
            assert high is None or now <= high  # type: ignore[operator]


@inputs(150)
@given(
    text=st.text(max_size=60)
    | st.builds(
        "{}={}".format,
        st.sampled_from([*KEYS, "server.port", "server.host", "media.ice_servers", "engine.threads", "x", "server"]),
        st.sampled_from(NASTY_TEXT) | st.text(max_size=20) | st.from_type(float).map(str),
    )
)
def test_a_word_of_the_command_line_is_taken_or_refused(text: str) -> None:
    try:
        config = load_config(ReenactSettings(), None, [parse_assignment(text)])
    except UsageError as error:
        assert str(error)
    else:
        assert isinstance(config, Config)


class FakeChannel:
    """A page that listens."""

    readyState = "open"  # noqa: N815
    bufferedAmount = 0  # noqa: N815

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []

    def send(self, data: str | bytes) -> None:
        if isinstance(data, str):
            self.heard.append(json.loads(data))

    def on(self, *_: object) -> None:
        pass


@inputs(40)
@given(said=st.lists(messages(), max_size=5))
def test_a_session_answers_and_lives_whatever_it_is_told(said: list[str | bytes]) -> None:
    async def talk() -> None:
        rig, channel = Rig(), FakeChannel()
        session: Any = rig.session
        session._on_channel(channel)
        for message in said:
            session._on_message(message)
        session._on_message('{"type": "ping", "t": 1}')
        assert channel.heard[-1]["type"] == "pong"
        session.look()
        assert rig.over == []
        session.pipeline.orders.take()
        await session.close("closed")

    asyncio.run(talk())
