"""When a source counts as silent or gone, by a clock that tests move; and what is said between page and pipeline."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from streamer.config import MediaConfig
from streamer.metrics import Meter
from streamer.pipeline import EngineInfo
from streamer.recordings import Recordings
from streamer.session import Session
from tests.unit.streamer.fakes import FakeClock, FakeSettings, make_personal


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.meter = Meter(self.clock)
        self.over: list[str] = []
        self.session = Session(
            actor="milo",
            client="",
            settings=FakeSettings(),
            media=MediaConfig(),
            max_viewers=2,
            recordings=Recordings(self.clock),
            clock=self.clock,
            meter=self.meter,
            on_over=lambda _, reason: self.over.append(reason),
        )
        self.ingest = self.session.pipeline.connect_source({97: "VP8"})

    def stream(self, fps: float, seconds: float) -> None:
        for _ in range(int(fps * seconds)):
            self.clock.advance_ms(1000 / fps)
            self.ingest.last_packet_ns = self.clock.now_ns
            self.meter.count("decoded")


def replaceable(rig: Rig) -> bool:
    return rig.session.is_replaceable


@pytest.fixture
async def rig() -> Rig:
    return Rig()


async def test_a_source_that_sends_keeps_its_place(rig: Rig) -> None:
    rig.stream(30, 5)
    assert replaceable(rig) is False
    assert not rig.session.is_idle
    rig.session.look()
    assert rig.over == []
    await rig.session.close("closed")


async def test_silence_costs_first_the_place_then_the_session(rig: Rig) -> None:
    rig.stream(30, 5)
    rig.clock.advance_ms(900)
    assert replaceable(rig) is False
    rig.clock.advance_ms(200)
    assert replaceable(rig) is True
    assert not rig.session.is_idle
    rig.clock.advance_ms(2000)
    rig.session.look()
    assert rig.over == ["idle"]
    await rig.session.close("idle")


async def test_a_slow_camera_is_not_silent(rig: Rig) -> None:
    rig.stream(1, 12)
    rig.clock.advance_ms(1900)
    assert replaceable(rig) is False
    assert not rig.session.is_idle
    await rig.session.close("closed")


async def test_a_source_that_never_sends_is_gone_after_a_while(rig: Rig) -> None:
    rig.clock.advance_ms(4_900)
    assert replaceable(rig) is False
    rig.clock.advance_ms(200)
    assert replaceable(rig) is True
    rig.clock.advance_ms(14_000)
    rig.session.look()
    assert rig.over == []
    rig.clock.advance_ms(1_000)
    rig.session.look()
    assert rig.over == ["idle"]
    await rig.session.close("idle")


async def test_describe_and_the_end(rig: Rig) -> None:
    info = EngineInfo(
        mark="12345678-abcdef",
        actor="milo",
        engine="fake",
        engine_reason="",
        tracker="landmarks",
        tracker_reason="",
        resolution=256,
    )
    rig.session.on_engine(info)
    rig.clock.advance_ms(1500)
    assert rig.session.describe() == {
        "id": rig.session.id,
        "actor": "milo",
        "mark": "12345678-abcdef",
        "state": "connecting",
        "age_s": 1.5,
        "fps": 0.0,
        "size": [256, 256],
        "viewers": 0,
    }
    rig.session.on_failed("engine_failed", "It broke.")
    assert rig.over == ["failed"]
    await rig.session.close("failed")
    assert rig.session.state == "ended"
    assert rig.session.pipeline.is_closed


class FakeChannel:
    readyState = "open"  # noqa: N815 - the name that browsers gave it
    bufferedAmount = 0  # noqa: N815

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, data: bytes | str) -> None:
        self.sent.append(data if isinstance(data, bytes) else json.loads(data))


async def test_what_the_page_says_reaches_the_inference_thread_and_what_it_found_the_page(rig: Rig) -> None:
    channel = FakeChannel()
    rig.session._channel = cast(Any, channel)
    say = rig.session._on_message
    orders = rig.session.pipeline.orders
    say('{"type":"set","key":"tracker","value":"landmarks"}')
    assert orders.take().settings.tracker == "landmarks"
    assert channel.sent.pop()["settings"]["tracker"] == "landmarks"
    say('{"type":"set","key":"tracker","value":"regressor"}')
    settings, error = channel.sent
    assert settings["settings"]["tracker"] == "landmarks"
    assert error == {
        "type": "error", "code": "bad_value", "message": "The tracker 'regressor' has no weights here.",
    }  # fmt: skip
    assert orders.take().settings is None
    say('{"type":"mesh","is_on":true}')
    assert orders.is_mesh_wanted
    personal = make_personal()
    say(json.dumps({"type": "restore", "calibration": personal.to_json()}))
    restored = orders.take().personal
    assert restored is not None
    assert restored.to_json() == personal.to_json()
    channel.sent.clear()
    rig.session.on_mesh(b"M")
    rig.session.on_calibrated(personal)
    assert channel.sent == [b"M", {"type": "calibration", "calibration": personal.to_json()}]
    rig.session._channel = None
    await rig.session.close("closed")


async def test_the_page_hears_that_a_target_is_being_loaded(rig: Rig) -> None:
    channel = FakeChannel()
    rig.session._channel = cast(Any, channel)
    rig.stream(30, 1)
    rig.session.look()
    with rig.session.pipeline.preparing():
        pass
    rig.session.look()
    told = [message["is_preparing"] for message in channel.sent if message["type"] == "stats"]
    assert told == [True, False]
    rig.session._channel = None
    await rig.session.close("closed")
