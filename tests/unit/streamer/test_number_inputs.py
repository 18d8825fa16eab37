from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct

import pytest
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

from models.params import EXPRESSION_NAMES
from reenact.face_change import LIMITS, FaceChange
from streamer.config import InputsConfig
from streamer.errors import UsageError
from streamer.live_link import NUM_VALUES, SHAPES, read_live_link
from streamer.number_inputs import MAX_PER_SECOND, NumberInput, open_inputs
from streamer.osc import read_osc
from tests.unit.streamer.fakes import FakeClock


def osc(address: str, *params: object) -> bytes:
    builder = OscMessageBuilder(address)
    for param in params:
        builder.add_arg(param)  # type: ignore[arg-type]
    return bytes(builder.build().dgram)


def live_link(values: list[float] | None, *, device: str = "8C3A" * 9, subject: str = "iPhone") -> bytes:
    """Make a packet by the layout that the app's makers document."""
    packet = struct.pack(">B", 6)
    for name in (device, subject):
        packet += struct.pack(">I", len(name)) + name.encode()
    packet += struct.pack(">ifii", 1200, 0.25, 60, 1)
    return packet if values is None else packet + struct.pack(f">B{len(values)}f", len(values), *values)


def test_our_own_addresses_and_those_of_vmc() -> None:
    assert read_osc(osc("/reenact/jawOpen", 0.5)) == {"jawOpen": 0.5}
    assert read_osc(osc("/reenact/expression/JAWOPEN", 1)) == {"jawOpen": 1.0}
    assert read_osc(osc("/reenact/yaw", -12.5)) == {"yaw": -12.5}
    bundle = OscBundleBuilder(IMMEDIATELY)
    for name, value in (("JawOpen", 0.25), ("EyeBlinkLeft", 1.0), ("Joy", 1.0)):
        builder = OscMessageBuilder("/VMC/Ext/Blend/Val")
        builder.add_arg(name)
        builder.add_arg(value)
        bundle.add_content(builder.build())  # type: ignore[arg-type] # its own documentation does so
    assert read_osc(bundle.build().dgram) == {"jawOpen": 0.25, "eyeBlinkLeft": 1.0}


def test_what_is_not_known_is_passed_over() -> None:
    for packet in (osc("/reenact/ear", 1.0), osc("/other", 1.0), osc("/reenact/yaw", "x"), osc("/reenact/yaw", True),
                   osc("/reenact/yaw", math.nan), osc("/reenact/yaw")):  # fmt: skip
        assert read_osc(packet) == {}


@pytest.mark.parametrize("packet", [b"", b"/", b"hello", b"#bundle\0" + b"\xff" * 20, b"\0" * 8000, b"/a\0\0,f\0\0\1"])
def test_what_is_no_osc_is_refused_or_says_nothing(packet: bytes) -> None:
    read: dict[str, float] = {}
    with contextlib.suppress(ValueError):  # anything else is a failure
        read = read_osc(packet)
    assert read == {}


def test_a_packet_of_live_link_face() -> None:
    assert sorted(SHAPES) == sorted(EXPRESSION_NAMES)
    values = [0.01 * index for index in range(52)] + [math.radians(10), math.radians(-5), math.radians(2)] + [0.0] * 6
    read = read_live_link(live_link(values))
    assert read["eyeBlinkLeft"] == 0.0
    assert read["jawOpen"] == pytest.approx(0.17)
    assert read["tongueOut"] == pytest.approx(0.51)
    assert (read["yaw"], read["pitch"], read["roll"]) == pytest.approx((10, -5, 2))
    assert set(read) <= set(LIMITS)
    assert read_live_link(live_link(None)) == {}


def test_other_packets_are_not_taken_for_live_link() -> None:
    good = live_link([0.0] * NUM_VALUES)
    wrong = [b"", b"\x05" + good[1:], good[:-1], good + b"\0", b"\x06\xff\xff\xff\xff"]
    wrong += [live_link([0.0] * 60), live_link([math.nan] * NUM_VALUES)]
    wrong += [good[:length] for length in range(1, len(good)) if good[:length] != live_link(None)]
    for packet in wrong:
        with pytest.raises(ValueError, match="no packet of Live Link Face"):
            read_live_link(packet)


def test_numbers_add_up_and_floods_are_cut_off() -> None:
    heard: list[FaceChange] = []
    clock = FakeClock()
    made = NumberInput("OSC", read_osc, heard.append, clock)
    made.datagram_received(osc("/reenact/jawOpen", 0.5), ("127.0.0.1", 1))
    made.datagram_received(osc("/reenact/yaw", 999.0), ("127.0.0.1", 1))
    assert heard[-1].values == {"jawOpen": 0.5, "yaw": 60.0}
    made.datagram_received(b"x" * 9000, ("127.0.0.1", 1))
    made.datagram_received(b"nonsense", ("127.0.0.1", 1))
    for _ in range(MAX_PER_SECOND):
        made.datagram_received(osc("/reenact/yaw", 1.0), ("127.0.0.1", 1))
    assert len(heard) == MAX_PER_SECOND - 2
    clock.advance_ms(1000)
    made.datagram_received(osc("/reenact/yaw", 2.0), ("127.0.0.1", 1))
    assert heard[-1].values == {"jawOpen": 0.5, "yaw": 2.0}


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_packets_arrive_over_the_network_and_ports_are_given_back() -> None:
    heard: asyncio.Queue[FaceChange] = asyncio.Queue(10)
    config = InputsConfig(osc_port=free_port(), live_link_port=free_port())
    async with open_inputs(config, heard.put_nowait, FakeClock()) as opened:
        assert len(opened) == 2
        with pytest.raises(UsageError, match=r"OSC: cannot listen on 127\.0\.0\.1"):
            async with open_inputs(InputsConfig(osc_port=config.osc_port), heard.put_nowait, FakeClock()):
                pass
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(osc("/reenact/yaw", 5.0), ("127.0.0.1", config.osc_port))
            assert (await asyncio.wait_for(heard.get(), 5)).values == {"yaw": 5.0}
            sender.sendto(live_link([0.5] * NUM_VALUES), ("127.0.0.1", config.live_link_port))
            assert (await asyncio.wait_for(heard.get(), 5)).values["jawOpen"] == 0.5
    async with open_inputs(config, heard.put_nowait, FakeClock()) as opened:
        assert len(opened) == 2


async def test_nothing_is_heard_unless_asked_for() -> None:
    async with open_inputs(InputsConfig(), lambda _: None, FakeClock()) as opened:
        assert opened == []
