from __future__ import annotations

import json

import pytest

from streamer.control import (
    MAX_BUFFERED_BYTES,
    Calibrate,
    Command,
    Ping,
    Reset,
    SetValue,
    SwitchActor,
    hello,
    parse_message,
    send,
    stats,
)
from streamer.errors import MessageError
from streamer.metrics import AGE, STAGES, Meter
from streamer.packets import FaceState
from streamer.pipeline import EngineInfo
from tests.unit.streamer.fakes import FakeClock


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ('{"type":"set","key":"transfer.mouth_gain","value":1.2}', SetValue("transfer.mouth_gain", 1.2)),
        ('{"type":"set","key":"transfer.is_mirrored","value":false}', SetValue("transfer.is_mirrored", False)),
        ('{"type":"calibrate"}', Calibrate()),
        ('{"type":"reset"}', Reset()),
        ('{"type":"actor","name":"milo"}', SwitchActor("milo")),
        ('{"type":"ping","t":12.5}', Ping(12.5)),
    ],
)
def test_messages_become_commands(text: str, command: Command) -> None:
    assert parse_message(text) == command


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 4000, "not JSON"),
        ('{"type":"ping","t":NaN}', "not JSON"),
        ("[1]", "not a JSON object"),
        ("{}", "type: expected set, calibrate, reset, actor or ping, got None"),
        ('{"type":"sing"}', "got 'sing'"),
        ('{"type":["set"]}', "got ['set']"),
        ('{"type":"set","value":1}', "the field 'key' must be a word"),
        ('{"type":"set","key":"a.b"}', "the field 'value' is missing"),
        ('{"type":"set","key":"a.b","value":1,"x":2}', "unknown field 'x'"),
        ('{"type":"calibrate","now":true}', "unknown field 'now'"),
        ('{"type":"actor","name":3}', "the field 'name' must be a word, got 3"),
        ('{"type":"ping","t":true}', "the field 't' must be a number, got True"),
        ("x" * 5000, "at most 4096"),
        (b"{}", "must be text"),
    ],
)
def test_the_field_at_fault_is_named(message: str | bytes, words: str) -> None:
    with pytest.raises(MessageError) as caught:
        parse_message(message)
    assert caught.value.code == "bad_message"
    assert words in caught.value.message


def test_stats_have_every_stage_and_both_slots() -> None:
    clock = FakeClock()
    meter = Meter(clock)
    meter.time("track", 2.0)
    meter.time(AGE, 12.0)
    meter.drop("network", 4)
    message = stats(meter.snapshot(), FaceState(face="holding", num_faces=0, confidence=0.25), 17)
    assert json.loads(json.dumps(message)) == message
    assert message["stages_ms"] == {name: 2.0 if name == "track" else 0.0 for name in STAGES}
    assert message["dropped"] == {"ingest": 0, "egress": 0, "network": 4}
    assert message["age_ms"] == {"p50": 12.0, "p95": 12.0}
    assert (message["face"], message["confidence"], message["rtp_offset"]) == ("holding", 0.25, 17)


class FakeChannel:
    def __init__(self, state: str = "open", buffered: int = 0) -> None:
        self.readyState = state
        self.bufferedAmount = buffered
        self.sent: list[bytes | str] = []

    def send(self, data: bytes | str) -> None:
        self.sent.append(data)


def test_only_an_open_channel_that_is_read_gets_messages() -> None:
    info = EngineInfo(actor="milo", engine="torch", engine_reason="asked for", resolution=256)
    channel = FakeChannel()
    assert send(channel, hello("s", info, {"transfer.mouth_gain": 1.0}))
    assert isinstance(channel.sent[0], str)
    assert json.loads(channel.sent[0])["settings"] == {"transfer.mouth_gain": 1.0}
    assert not send(None, {})
    assert not send(FakeChannel("closed"), {})
    assert not send(FakeChannel(buffered=MAX_BUFFERED_BYTES + 1), {})
