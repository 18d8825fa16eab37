from __future__ import annotations

import asyncio

import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from streamer.packets import VIDEO_TIME_BASE, TargetFrame
from streamer.pixels import to_picture
from streamer.slots import LoopSlot
from streamer.tracks import TargetTrack


def frame(number: int) -> TargetFrame:
    picture = to_picture(np.zeros((16, 16, 3), np.uint8), number * 3000, VIDEO_TIME_BASE)
    return TargetFrame(seq=number, pts=number * 3000, time_base=VIDEO_TIME_BASE, captured_ns=0, picture=picture)


async def test_a_frame_counts_as_sent_when_the_sender_comes_back() -> None:
    slot: LoopSlot[TargetFrame] = LoopSlot(asyncio.get_running_loop())
    sent: list[int] = []
    track = TargetTrack(slot, lambda frame: sent.append(frame.seq))
    slot.put(frame(4))
    picture = await track.recv()
    assert (picture.pts, picture.time_base) == (12_000, VIDEO_TIME_BASE)
    assert sent == []
    slot.put(frame(5))
    await track.recv()
    assert sent == [4]


async def test_a_closed_slot_ends_the_track() -> None:
    slot: LoopSlot[TargetFrame] = LoopSlot(asyncio.get_running_loop())
    track = TargetTrack(slot, lambda _: None)
    slot.close()
    with pytest.raises(MediaStreamError):
        await track.recv()
    assert track.readyState == "ended"
    with pytest.raises(MediaStreamError):
        await track.recv()
