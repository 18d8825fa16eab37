from __future__ import annotations

import itertools
import random

import pytest

from streamer.jitter import MarkerJitterBuffer, Release, RtpPiece, Unwrapper

MS = 1_000_000


def piece(
    sequence: int,
    timestamp: int = 0,
    *,
    marker: bool = False,
    start: bool = False,
    key: bool = False,
    data: bytes = b"x",
    at_ms: float = 0.0,
) -> RtpPiece:
    return RtpPiece(
        sequence=sequence % 65536,
        timestamp=timestamp % (1 << 32),
        is_marker=marker,
        is_frame_start=start,
        is_key=key,
        data=data,
        arrival_ns=int(at_ms * MS),
    )


def stream(
    num_frames: int, *, per_frame: int = 3, first: int = 0, timestamp: int = 0, keys: tuple[int, ...] = (0,)
) -> list[RtpPiece]:
    """`per_frame` packets for each frame at 30 fps; the data names frame and packet."""
    pieces = []
    for frame in range(num_frames):
        for index in range(per_frame):
            pieces.append(
                piece(
                    first + frame * per_frame + index,
                    timestamp + frame * 3000,
                    marker=index == per_frame - 1,
                    start=index == 0,
                    key=frame in keys and index == 0,
                    data=b"%d.%d " % (frame, index),
                    at_ms=frame * 33.3 + index,
                )
            )
    return pieces


def frames_of(buffer: MarkerJitterBuffer, pieces: list[RtpPiece]) -> list[int]:
    """Feed `pieces`; return the numbers of the frames released, checking that each is whole."""
    released = []
    for given in pieces:
        for frame in buffer.add(given).frames:
            parts = frame.data.split()
            number = int(parts[0].split(b".")[0])
            assert parts == [b"%d.%d" % (number, index) for index in range(len(parts))]
            released.append(number)
    return released


def test_a_frame_is_released_by_its_own_marker() -> None:
    buffer = MarkerJitterBuffer()
    first, middle, last = stream(1)
    assert buffer.add(first) == Release()
    assert buffer.add(middle) == Release()
    (frame,) = buffer.add(last).frames
    assert frame.data == b"0.0 0.1 0.2 "
    assert frame.is_key
    assert frame.arrival_ns == first.arrival_ns


def test_a_frame_without_marker_is_released_by_the_next_one() -> None:
    buffer = MarkerJitterBuffer()
    assert buffer.add(piece(0, 0, start=True, key=True)).frames == ()
    assert len(buffer.add(piece(1, 3000, start=True)).frames) == 1


@pytest.mark.parametrize("seed", range(20))
def test_reordering_within_the_wait_loses_nothing(seed: int) -> None:
    generator = random.Random(seed)
    pieces = stream(60)
    # Each packet may be overtaken by those of the next 40 ms, after the first one fixed where the stream starts.
    order = sorted(range(1, len(pieces)), key=lambda i: pieces[i].arrival_ns + generator.uniform(0, 40) * MS)
    shuffled = [pieces[0]] + [
        RtpPiece(
            **{name: getattr(pieces[i], name) for name in RtpPiece.__slots__ if name != "arrival_ns"},
            arrival_ns=n * 10 * MS,
        )
        for n, i in enumerate(order)
    ]
    buffer = MarkerJitterBuffer(max_wait_ms=10_000)
    assert frames_of(buffer, shuffled) == list(range(60))


@pytest.mark.parametrize("seed", range(10))
def test_duplicates_are_counted_and_change_nothing(seed: int) -> None:
    generator = random.Random(seed)
    pieces = stream(40)
    doubled = [copy for given in pieces for copy in [given] * generator.choice((1, 1, 2, 3))]
    buffer = MarkerJitterBuffer()
    assert frames_of(buffer, doubled) == list(range(40))
    assert buffer.counts.duplicate + buffer.counts.late == len(doubled) - len(pieces)
    assert buffer.counts.abandoned_frames == 0


def test_the_first_frame_may_start_with_a_later_packet() -> None:
    buffer = MarkerJitterBuffer()
    first, middle, last = stream(1)
    assert frames_of(buffer, [middle, first, last]) == [0]


@pytest.mark.parametrize("first", [65_530, 65_534, 65_535, 32_766])
def test_sequence_numbers_wrap(first: int) -> None:
    buffer = MarkerJitterBuffer()
    assert frames_of(buffer, stream(30, first=first)) == list(range(30))
    buffer = MarkerJitterBuffer()
    pieces = stream(30, first=first)
    pieces[4], pieces[7] = pieces[7], pieces[4]
    assert frames_of(buffer, pieces) == list(range(30))


def test_timestamps_are_unwrapped() -> None:
    buffer = MarkerJitterBuffer()
    times = []
    for given in stream(10, per_frame=1, timestamp=(1 << 32) - 9000):
        times += [frame.timestamp for frame in buffer.add(given).frames]
    assert [b - a for a, b in itertools.pairwise(times)] == [3000] * 9


def test_a_long_stream_passes_many_wraps() -> None:
    buffer = MarkerJitterBuffer()
    count = 0
    for number in range(140_000):
        given = piece(number, number * 3000, marker=True, start=True, key=number == 0, at_ms=number * 33)
        count += len(buffer.add(given).frames)
    assert count == 140_000
    assert not buffer._pieces


def test_a_retransmission_in_time_releases_everything_that_waited() -> None:
    buffer = MarkerJitterBuffer(max_wait_ms=150)
    pieces = stream(5)
    missing = pieces.pop(4)
    assert frames_of(buffer, pieces[:-3]) == [0]
    late = piece(4, 3000, data=b"1.1 ", at_ms=120)
    assert missing.sequence == late.sequence
    assert frames_of(buffer, [late]) == [1, 2, 3]
    assert frames_of(buffer, pieces[-3:]) == [4]
    assert buffer.counts.abandoned_frames == 0


def test_a_lost_packet_costs_the_frames_up_to_the_next_key_frame() -> None:
    buffer = MarkerJitterBuffer(max_wait_ms=100, key_request_ms=300)
    pieces = [given for given in stream(30, keys=(0, 20)) if given.data != b"5.1 "]
    requests, released = [], []
    for given in pieces:
        release = buffer.add(given)
        released += [int(frame.data.split(b".")[0]) for frame in release.frames]
        if release.is_key_frame_needed:
            requests.append(given.arrival_ns // MS)
    assert released == [0, 1, 2, 3, 4, *range(20, 30)]
    # Asked once the wait is over, and again after 300 ms.
    assert len(requests) == 2
    assert 160 + 100 <= requests[0] <= 160 + 140
    assert 300 <= requests[1] - requests[0] <= 340
    assert buffer.counts.abandoned_frames >= 14
    assert not buffer.is_waiting_for_key


def test_the_retransmission_that_comes_too_late_is_ignored() -> None:
    buffer = MarkerJitterBuffer(max_wait_ms=50)
    pieces = stream(10)
    missing = pieces.pop(4)
    assert frames_of(buffer, pieces) == [0]
    assert buffer.add(missing).frames == ()
    assert buffer.counts.late == 1


def test_a_key_frame_behind_a_gap_is_taken_at_once_while_one_is_needed() -> None:
    buffer = MarkerJitterBuffer(max_wait_ms=10_000)
    pieces = stream(12, keys=(0, 8))
    buffer.require_key_frame()
    # Frame 0 is a key frame and ends the wait; then the decoder fails again, and frame 5 has a hole.
    assert frames_of(buffer, pieces[:9]) == [0, 1, 2]
    buffer.require_key_frame()
    rest = [given for given in pieces[9:] if given.data != b"5.1 "]
    assert frames_of(buffer, rest) == [8, 9, 10, 11]


def test_joining_in_the_middle_of_a_frame_asks_for_a_key_frame() -> None:
    buffer = MarkerJitterBuffer()
    pieces = stream(6, keys=(0, 4))
    requests = [buffer.add(given).is_key_frame_needed for given in pieces[1:6]]
    assert requests[1] is True
    assert frames_of(buffer, pieces[6:]) == [4, 5]


def test_padding_between_frames_is_no_frame_and_no_gap() -> None:
    buffer = MarkerJitterBuffer()
    assert len(buffer.add(piece(0, 0, start=True, key=True, marker=True)).frames) == 1
    assert buffer.add(piece(1, 0, data=b"")).frames == ()
    assert len(buffer.add(piece(2, 3000, start=True, marker=True, at_ms=500)).frames) == 1
    assert buffer.counts.abandoned_frames == 0


def test_a_restarted_stream_is_followed_from_its_key_frame() -> None:
    buffer = MarkerJitterBuffer()
    assert frames_of(buffer, stream(4)) == [0, 1, 2, 3]
    assert frames_of(buffer, stream(4, first=40_000, timestamp=99, keys=(0,))) == [0, 1, 2, 3]
    assert buffer.counts.resets == 1


def test_capacity_is_a_limit() -> None:
    buffer = MarkerJitterBuffer(max_wait_ms=1e9, capacity=32)
    pieces = stream(200, keys=(0, 100))
    del pieces[4]
    released = frames_of(buffer, pieces)
    assert released[0] == 0
    assert released[1:] == list(range(100, 200))
    assert len(buffer._pieces) <= 32


@pytest.mark.parametrize("seed", range(20))
def test_under_loss_and_reordering_only_whole_frames_in_order_come_out(seed: int) -> None:
    generator = random.Random(seed)
    buffer = MarkerJitterBuffer(max_wait_ms=60, capacity=128)
    pieces = [given for given in stream(300, keys=tuple(range(0, 300, 25))) if generator.random() > 0.03]
    for i in range(0, len(pieces) - 4, 4):
        pieces[i : i + 4] = generator.sample(pieces[i : i + 4], 4)
    released = frames_of(buffer, pieces)
    assert released == sorted(set(released))
    assert len(released) > 60
    assert released[-1] > 200
    # A frame refers to the one before it: none may come out without that, key frames apart.
    assert all(number % 25 == 0 or number - 1 == before for before, number in itertools.pairwise(released))


@pytest.mark.parametrize(("bits", "values", "expected"), [(16, [65535, 0, 65534, 3], [65535, 65536, 65534, 65539])])
def test_unwrapper(bits: int, values: list[int], expected: list[int]) -> None:
    unwrapper = Unwrapper(bits)
    assert [unwrapper.unwrap(value) for value in values] == expected


def test_what_is_missing_is_asked_for_again_as_often_as_repairs_take() -> None:
    buffer = MarkerJitterBuffer(max_wait_ms=1000)
    pieces = stream(30, first=65_530)
    lost = pieces[7]  # sequence number 1
    asked: list[tuple[float, list[int]]] = []
    for given in (*pieces[:7], *pieces[8:]):
        buffer.add(given)
        if again := buffer.ask_again(given.arrival_ns):
            asked.append((given.arrival_ns / MS, again))
    assert {tuple(again) for _, again in asked} == {(1,)}
    times = [at for at, _ in asked]
    assert times[0] - lost.arrival_ns / MS >= 50  # aiortc asked at once
    assert all(75 <= after - before < 110 for before, after in itertools.pairwise(times))
    # It comes after 900 ms: the next one is given more time.
    buffer.add(piece(65_530 + 7, 6000, data=lost.data, at_ms=970))
    assert buffer.ask_again(int(971 * MS)) == []
    late = [one for one in stream(60, first=65_530) if one.timestamp // 3000 >= 30]
    again_ms = []
    for given in late[1:]:
        buffer.add(given)
        if buffer.ask_again(given.arrival_ns):
            again_ms.append(given.arrival_ns / MS - late[0].arrival_ns / MS)
    assert again_ms[0] > 250
