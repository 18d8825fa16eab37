from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from streamer.metrics import Meter
from streamer.packets import VIDEO_TIME_BASE, SharedFrame, TargetFrame
from streamer.pixels import to_picture
from streamer.renditions import KEY_FRAME_PAUSE_S, Outlets, Rendition, Renditions
from tests.unit.streamer.fakes import FakeClock


def target_frame(seq: int) -> TargetFrame:
    picture = to_picture(np.zeros((16, 16, 3), np.uint8), seq * 3000, VIDEO_TIME_BASE)
    return TargetFrame(seq=seq, pts=seq * 3000, time_base=VIDEO_TIME_BASE, captured_ns=0, picture=picture)


class FakeEncoder:
    """Give every frame back as one byte; frame 0 is a key frame, as with every encoder."""

    def __init__(self) -> None:
        self.encoded: list[tuple[int, bool]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.num_closed = 0

    def encode(self, frame: TargetFrame, is_key: bool) -> SharedFrame | None:
        self.gate.wait(5)
        if self.error is not None:
            raise self.error
        self.encoded.append((frame.seq, is_key))
        return SharedFrame(
            seq=frame.seq,
            pts=frame.pts,
            time_base=frame.time_base,
            captured_ns=0,
            data=b"x",
            payloads=(b"x",),
            is_key=is_key,
        )

    def close(self) -> None:
        self.num_closed += 1


class Listener:
    def __init__(self) -> None:
        self.frames: list[SharedFrame] = []
        self.has_ended = False

    def take(self, rendition: Rendition, frame: SharedFrame) -> None:
        self.frames.append(frame)

    def end(self) -> None:
        self.has_ended = True


def has_frames(listener: Listener, count: int) -> bool:
    return len(listener.frames) == count


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.meter = Meter(self.clock)
        self.outlets = Outlets()
        self.renditions = Renditions(self.outlets, clock=self.clock, meter=self.meter)
        self.encoders: list[FakeEncoder] = []

    def make(self) -> FakeEncoder:
        self.encoders.append(FakeEncoder())
        return self.encoders[-1]

    async def frame(self, seq: int, arrived: Callable[[], bool]) -> None:
        self.outlets.put(target_frame(seq))
        async with asyncio.timeout(5):
            while not arrived():  # noqa: ASYNC110 - the encoder works in a thread
                await asyncio.sleep(0)


@pytest.fixture
async def rig() -> Rig:
    return Rig()


async def test_many_share_one_encode_and_the_last_ends_it(rig: Rig) -> None:
    first, second = Listener(), Listener()
    rendition = rig.renditions.get("VP8 0", rig.make)
    rendition.add(first)
    rig.renditions.get("VP8 0", rig.make).add(second)
    assert len(rig.encoders) == 1
    await rig.frame(0, lambda: len(second.frames) == 1)
    assert first.frames == second.frames
    assert rig.encoders[0].encoded == [(0, True)]
    rendition.remove(first)
    await rig.frame(1, lambda: len(second.frames) == 2)
    assert len(first.frames) == 1
    rendition.remove(second)
    assert rig.renditions.num_encoders == 0
    assert len(rig.outlets) == 0
    await rig.renditions.wait_closed()
    assert len(rig.encoders[0].encoded) == 2


async def test_key_frames_come_on_request_but_not_one_after_another(rig: Rig) -> None:
    listener = Listener()
    rendition = rig.renditions.get("VP8 0", rig.make)
    rendition.add(listener)
    for seq in range(60):
        rendition.request_key_frame()  # A viewer who loses everything asks all the time.
        rig.clock.advance_ms(1000 / 30)
        await rig.frame(seq, partial(has_frames, listener, seq + 1))
    keys = [frame.seq for frame in listener.frames if frame.is_key]
    gaps = [later - earlier for earlier, later in itertools.pairwise(keys)]
    assert set(gaps) <= {15, 16}
    assert KEY_FRAME_PAUSE_S == 0.5
    rig.renditions.close()
    await rig.renditions.wait_closed()
    assert listener.has_ended


async def test_a_slow_encoder_takes_the_newest_frame_and_the_loss_is_counted(rig: Rig) -> None:
    listener = Listener()
    rig.renditions.get("VP8 0", rig.make).add(listener)
    (encoder,) = rig.encoders
    await rig.frame(0, lambda: len(listener.frames) == 1)
    encoder.gate.clear()
    rig.outlets.put(target_frame(1))
    await asyncio.sleep(0.02)  # The encoder holds frame 1 now.
    rig.outlets.put(target_frame(2))
    rig.outlets.put(target_frame(3))
    encoder.gate.set()
    async with asyncio.timeout(5):
        while len(listener.frames) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert [frame.seq for frame in listener.frames] == [0, 1, 3]
    assert rig.meter.snapshot().dropped == {"rendition": 1}
    rig.renditions.close()


async def test_an_encoder_that_breaks_ends_its_own_rendition_only(rig: Rig) -> None:
    good, bad = Listener(), Listener()
    rig.renditions.get("VP8 0", rig.make).add(good)
    rig.renditions.get("H264 0", rig.make).add(bad)
    rig.encoders[1].error = RuntimeError("broken")
    await rig.frame(0, lambda: bad.has_ended and len(good.frames) == 1)
    await rig.frame(1, lambda: len(good.frames) == 2)
    assert rig.renditions.num_encoders == 1
    rig.renditions.close()
    await rig.renditions.wait_closed()
    with pytest.raises(RuntimeError, match="ended"):
        rig.renditions.get("VP8 0", rig.make)


async def test_the_rate_is_what_was_sent_in_the_last_second(rig: Rig) -> None:
    listener = Listener()
    rendition = rig.renditions.get("VP8 0", rig.make)
    rendition.add(listener)
    for seq in range(60):
        rig.clock.advance_ms(1000 / 30)
        await rig.frame(seq, partial(has_frames, listener, seq + 1))
    assert rendition.rate_bps == pytest.approx(30 * 8, abs=9)
    rig.clock.advance_ms(2000)
    assert rendition.rate_bps == 0
    rig.renditions.close()
