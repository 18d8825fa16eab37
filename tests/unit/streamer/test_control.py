from __future__ import annotations

import json

import numpy as np
import pytest

from reenact.face_change import FaceChange
from streamer.control import (
    MAX_BUFFERED_BYTES,
    Calibrate,
    Command,
    Edit,
    Ping,
    Puppet,
    Record,
    Reset,
    Restore,
    Seen,
    SetValue,
    ShowMesh,
    SwitchActor,
    hello,
    mesh,
    parse_message,
    send,
    stats,
)
from streamer.errors import MessageError
from streamer.latency import Glimpse
from streamer.metrics import AGE, STAGES, Meter
from streamer.packets import FaceState
from streamer.pipeline import EngineInfo
from tests.unit.streamer.fakes import FakeClock, make_personal


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ('{"type":"set","key":"transfer.mouth_gain","value":1.2}', SetValue("transfer.mouth_gain", 1.2)),
        ('{"type":"set","key":"transfer.is_mirrored","value":false}', SetValue("transfer.is_mirrored", False)),
        ('{"type":"calibrate"}', Calibrate()),
        ('{"type":"reset"}', Reset()),
        ('{"type":"actor","name":"milo"}', SwitchActor("milo")),
        ('{"type":"ping","t":12.5}', Ping(12.5)),
        ('{"type":"mesh","is_on":true}', ShowMesh(True)),
        ('{"type":"record","is_on":true,"format":"webm"}', Record("webm")),
        ('{"type":"record","is_on":false}', Record(None)),
        (
            '{"type":"seen","frames":[[60,3,4.5,1,12],[61,null,4,1,12]]}',
            Seen((Glimpse(60, 3, 4.5, 1, 12), Glimpse(61, None, 4, 1, 12))),
        ),
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
        ("{}", "calibrate, reset, actor, mesh, restore, record, seen, puppet, edit or ping, got None"),
        ('{"type":"sing"}', "got 'sing'"),
        ('{"type":"seen"}', "must be a list"),
        ('{"type":"seen","frames":[[1,2,3]]}', "five times"),
        ('{"type":"seen","frames":[[-1,2,3,4,5]]}', "five times"),
        ('{"type":"seen","frames":[[1,2,3,4,true]]}', "five times"),
        ('{"type":"seen","frames":[[1,2,null,4,5]]}', "five times"),
        ('{"type":"seen","frames":[[1,2,3,4,70000]]}', "five times"),
        ('{"type":["set"]}', "got ['set']"),
        ('{"type":"set","value":1}', "the field 'key' must be a word"),
        ('{"type":"set","key":"a.b"}', "the field 'value' is missing"),
        ('{"type":"set","key":"a.b","value":1,"x":2}', "unknown field 'x'"),
        ('{"type":"calibrate","now":true}', "unknown field 'now'"),
        ('{"type":"actor","name":3}', "the field 'name' must be a word, got 3"),
        ('{"type":"ping","t":true}', "the field 't' must be a number, got True"),
        ("x" * 17_000, "at most 16384"),
        ('{"type":"mesh"}', "'is_on' must be true or false, got None"),
        ('{"type":"record","is_on":true}', "record: the field 'format' must be a word"),
        ('{"type":"record","is_on":false,"format":"mp4"}', "record: unknown field 'format'"),
        ('{"type":"mesh","is_on":1}', "'is_on' must be true or false, got 1"),
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
    assert message["is_preparing"] is False


class FakeChannel:
    def __init__(self, state: str = "open", buffered: int = 0) -> None:
        self.readyState = state
        self.bufferedAmount = buffered
        self.sent: list[bytes | str] = []

    def send(self, data: bytes | str) -> None:
        self.sent.append(data)


def test_only_an_open_channel_that_is_read_gets_messages() -> None:
    info = EngineInfo(
        mark="12345678-abcdef",
        actor="milo", engine="torch", engine_reason="asked for", tracker="landmarks", tracker_reason="measured",
        resolution=256,
    )  # fmt: skip
    channel = FakeChannel()
    assert send(channel, hello("s", info, {"transfer.mouth_gain": 1.0}))
    assert isinstance(channel.sent[0], str)
    message = json.loads(channel.sent[0])
    assert message["settings"] == {"transfer.mouth_gain": 1.0}
    assert (message["tracker"], message["tracker_reason"]) == ("landmarks", "measured")
    assert send(channel, b"M")
    assert channel.sent[1] == b"M"
    assert not send(None, {})
    assert not send(FakeChannel("closed"), {})
    assert not send(FakeChannel(buffered=MAX_BUFFERED_BYTES + 1), {})


def test_a_calibration_comes_back_whole_or_not_at_all() -> None:
    text = json.dumps({"type": "restore", "calibration": make_personal().to_json()})
    command = parse_message(text)
    assert isinstance(command, Restore)
    assert command.personal.translation[2] == pytest.approx(-0.6)
    for damaged in (text.replace("-0.6", "0.6"), '{"type":"restore"}', text.replace("landmarks", "regressor")):
        with pytest.raises(MessageError) as caught:
            parse_message(damaged)
        assert caught.value.code == "bad_calibration"
        assert "calibration" in caught.value.message


def test_a_mesh_is_a_header_and_two_numbers_a_point() -> None:
    message = mesh(np.array([[0.5, 0.25], [-0.125, 9.0]], np.float32))
    assert message[:4] == b"M\x01\x02\x00"
    assert np.frombuffer(message, "<i2", offset=4).tolist() == [8192, 4096, -2048, 32767]
    assert mesh(None) == b"M\x01\x00\x00"
    assert len(mesh(np.zeros((478, 2), np.float32))) < 2000


def test_numbers_and_edits_are_checked() -> None:
    assert parse_message('{"type": "puppet", "values": {"jawOpen": 0.5}}') == Puppet(FaceChange({"jawOpen": 0.5}))
    assert parse_message('{"type": "edit", "values": {"yaw": 100}}') == Edit(FaceChange({"yaw": 60.0}))
    for values in ("1", '{}, "more": 1', '{"ear": 1}', '{"yaw": "x"}', "null"):
        with pytest.raises(MessageError):
            parse_message(f'{{"type": "edit", "values": {values}}}')
