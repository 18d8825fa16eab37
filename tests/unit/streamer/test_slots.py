from __future__ import annotations

import asyncio
import threading

from streamer.slots import BoundedFifo, LatestSlot, LoopSlot


def test_latest_slot_keeps_the_newest_and_counts_the_displaced() -> None:
    displaced: list[int] = []
    slot: LatestSlot[int] = LatestSlot(lambda: displaced.append(1))
    assert [slot.put(1), slot.put(2), slot.put(3)] == [False, True, True]
    assert slot.take(0) == 3
    assert slot.take(0) is None
    assert len(displaced) == 2


def test_latest_slot_wakes_without_a_packet() -> None:
    slot: LatestSlot[int] = LatestSlot()
    slot.wake()
    assert slot.take() is None
    slot.put(7)
    assert slot.take() == 7


def test_latest_slot_releases_its_consumer_when_closed_and_swallows_what_comes_later() -> None:
    slot: LatestSlot[int] = LatestSlot()
    got: list[int | None] = []
    consumer = threading.Thread(target=lambda: got.append(slot.take()))
    consumer.start()
    slot.close()
    consumer.join(5)
    assert got == [None]
    assert slot.put(1) is False
    assert slot.take() is None
    assert slot.is_closed


def test_latest_slot_hands_over_between_threads() -> None:
    slot: LatestSlot[int] = LatestSlot()
    got: list[int] = []
    done = threading.Event()

    def consume() -> None:
        while (item := slot.take()) is not None:
            got.append(item)
            if item == 999:
                done.set()

    consumer = threading.Thread(target=consume)
    consumer.start()
    for number in range(1000):
        slot.put(number)
    assert done.wait(5)
    slot.close()
    consumer.join(5)
    assert got == sorted(set(got))


async def test_loop_slot_keeps_the_newest_for_one_coroutine() -> None:
    displaced: list[int] = []
    slot: LoopSlot[int] = LoopSlot(asyncio.get_running_loop(), lambda: displaced.append(1))
    slot.put(1)
    slot.put(2)
    assert await slot.take() == 2
    assert len(displaced) == 1
    waiting = asyncio.create_task(slot.take())
    await asyncio.sleep(0)
    await asyncio.to_thread(slot.put, 3)
    assert await waiting == 3


async def test_loop_slot_ends_its_consumer() -> None:
    slot: LoopSlot[int] = LoopSlot(asyncio.get_running_loop())
    waiting = asyncio.create_task(slot.take())
    await asyncio.sleep(0)
    slot.close()
    assert await waiting is None
    assert slot.put(1) is False


def test_loop_slot_outlives_its_loop() -> None:
    loop = asyncio.new_event_loop()
    slot: LoopSlot[int] = LoopSlot(loop)
    loop.close()
    assert slot.put(1) is False
    slot.close()


def test_fifo_keeps_order_refuses_when_full_and_ends() -> None:
    queue: BoundedFifo[int] = BoundedFifo(2)
    assert [queue.offer(1), queue.offer(2), queue.offer(3)] == [True, True, False]
    assert queue.take() == 1
    assert queue.clear() == 1
    queue.close()
    assert queue.take() is None
    assert queue.offer(4) is False
