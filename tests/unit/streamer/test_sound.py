from __future__ import annotations

import asyncio
from fractions import Fraction
from unittest.mock import Mock

import av
import numpy as np
import pytest
from aiortc.rtp import RtpPacket

from streamer.continuous_sound import LATE_SAMPLES, ContinuousSound
from streamer.metrics import Meter
from streamer.opus import SILENCE, SILENCE_SAMPLES, num_samples
from streamer.packets import SOUND_TIME_BASE, VIDEO_TIME_BASE, SoundPacket, TargetFrame
from streamer.sound import MAX_WAITING, Sound
from streamer.sound_track import SoundPacker, SoundTrack
from streamer.timeline import Timeline
from tests.unit.streamer.fakes import FakeClock

PICTURE = av.VideoFrame(16, 16, "yuv420p")


def opus_frames(ms: float, count: int = 5) -> list[bytes]:
    """Encode a little sound in packets of `ms`."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.format, encoder.layout = 48_000, "s16", "mono"
    encoder.options = {"frame_duration": str(ms)}
    encoder.open()
    data: list[bytes] = []
    for number in range(count):
        samples = np.sin(np.arange(encoder.frame_size) / 9) * 9000
        frame = av.AudioFrame.from_ndarray(samples.astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, number * encoder.frame_size, Fraction(1, 48_000)
        data += [bytes(packet) for packet in encoder.encode(frame)]
    return data


@pytest.mark.parametrize("ms", [2.5, 5, 10, 20, 40, 60])
def test_the_length_of_a_packet_is_read_off_its_head(ms: float) -> None:
    assert {num_samples(data) for data in opus_frames(ms)} == {int(48 * ms)}


def test_what_is_no_opus_has_no_length_and_silence_is_silent() -> None:
    assert (num_samples(b""), num_samples(b"\x03"), num_samples(b"\x1b\x3f")) == (0, 0, 0)
    assert num_samples(SILENCE) == SILENCE_SAMPLES
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    (frame,) = decoder.decode(av.Packet(SILENCE))
    assert frame.samples == SILENCE_SAMPLES
    assert not frame.to_ndarray().any()


def test_reports_put_both_streams_on_one_timeline_and_arrivals_stand_in_for_them() -> None:
    clock = Timeline()
    assert clock.picture_time(1.0) is None
    for number in range(10):
        clock.picture_arrived(100 + number / 30 + 0.01 * (number % 3), number / 30)
        clock.sound_arrived(100.020 + number / 50 + 0.02 * (number % 2), 7 + number / 50)
    assert clock.picture_time(7.5) == pytest.approx(0.52)
    clock.report_picture(5_000.0, 2.0)
    for jump in (0.0, 0.0, 0.4):  # one report is late
        clock.report_sound(5_000.0 + jump, 9.0)
    assert clock.is_exact  # both have reported
    assert clock.picture_time(9.5) == pytest.approx(2.5)
    for _ in range(2):  # the source starts its sound anew
        clock.report_sound(5_010.0, 0.0)
    assert clock.picture_time(0.25) == pytest.approx(12.25)


class Ear:
    def __init__(self) -> None:
        self.heard: list[SoundPacket] = []

    def hear(self, packet: SoundPacket) -> None:
        self.heard.append(packet)


class Timers:
    """The loop's timers, told by hand."""

    def __init__(self) -> None:
        self.due: list[float] = []

    def call_later(self, seconds: float, callback: object) -> Mock:
        del callback
        self.due.append(seconds)
        return Mock()


def packet(sequence: int, *, ssrc: int = 5, data: bytes = SILENCE) -> RtpPacket:
    made = RtpPacket(payload_type=111, sequence_number=sequence % 65536, timestamp=(sequence * 960) % (1 << 32))
    made.ssrc = ssrc
    made._data = data  # type: ignore[attr-defined]
    return made


def picture(clock: FakeClock, pts_ms: float, age_ms: float) -> TargetFrame:
    return TargetFrame(
        seq=0,
        pts=round(90 * pts_ms),
        time_base=VIDEO_TIME_BASE,
        captured_ns=clock.monotonic_ns() - round(age_ms * 1e6),
        picture=PICTURE,
    )


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def parts(ear: Ear) -> tuple[Sound, FakeClock, Timers]:
    clock, timers = FakeClock(), Timers()
    sound = Sound(loop=timers, clock=clock, meter=Meter(clock), picture_pts=lambda stamp: stamp)  # type: ignore[arg-type]
    sound.connect(frozenset({111}))
    sound.add_sink(ear)
    return sound, clock, timers


def test_sound_waits_for_its_picture_and_for_nothing_else(parts: tuple[Sound, FakeClock, Timers], ear: Ear) -> None:
    sound, clock, timers = parts
    sound.add(packet(0))
    assert (ear.heard, sound.num_waiting) == ([], 0)  # no picture has left: nobody could hear it with one
    sound.report_picture(50 << 32, 0)
    sound.report_sound(50 << 32, 0)
    clock.advance_ms(80)
    sound.follow(picture(clock, 0, age_ms=80))  # a picture takes 80 ms
    sound.add(packet(1))  # begins at 20 ms, and is here at 80: its picture leaves at 100
    assert ear.heard == []
    assert timers.due[-1] == pytest.approx(0.020, abs=1e-3)
    clock.advance_ms(20)
    sound._release()
    assert [(one.seq, one.pts, one.timestamp) for one in ear.heard] == [(1, 960, 960)]
    clock.advance_ms(100)
    sound.add(packet(2))  # later than its picture: at once
    assert [one.seq for one in ear.heard] == [1, 2]


def test_order_loss_duplicates_and_strays(parts: tuple[Sound, FakeClock, Timers], ear: Ear) -> None:
    sound, clock, _ = parts
    sound.add(packet(65_530))
    sound.report_picture(50 << 32, 0)
    sound.report_sound(50 << 32, 65_530 * 960)
    sound.follow(picture(clock, 0, age_ms=0))
    clock.advance_ms(50)
    sound.follow(picture(clock, 0, age_ms=50))
    sound.follow(picture(clock, 0, age_ms=50))
    for sequence in (65_535, 65_533, 65_534, 65_534, 65_537, 65_536):  # all of them early
        sound.add(packet(sequence))
    sound.add(packet(65_538, data=b""))
    other = packet(65_539)
    other.payload_type = 8
    sound.add(other)
    clock.advance_ms(1000)
    sound._release()
    assert [one.seq for one in ear.heard] == [65_533, 65_534, 65_535, 65_536, 65_537]
    sound.add(packet(65_534))
    assert len(ear.heard) == 5
    sound.close()
    assert not sound.num_waiting


def test_a_queue_that_nobody_empties_does_not_grow(parts: tuple[Sound, FakeClock, Timers]) -> None:
    sound, clock, _ = parts
    sound.add(packet(0))
    sound.report_picture(50 << 32, 0)
    sound.report_sound(50 << 32, 0)
    sound.follow(picture(clock, 0, age_ms=0))
    for sequence in range(101, 1100):  # two seconds and more ahead of their pictures
        sound.add(packet(sequence))
    assert sound.num_waiting == MAX_WAITING


async def test_a_track_keeps_half_a_second_for_a_slow_socket_and_nothing_for_none() -> None:
    track = SoundTrack()
    sounds = [
        SoundPacket(seq=n, pts=0, time_base=SOUND_TIME_BASE, captured_ns=0, timestamp=n * 960, data=b"x")
        for n in range(60)
    ]
    track.hear(sounds[0])  # the sender has not begun
    first = asyncio.create_task(track.recv())
    await asyncio.sleep(0)
    for one in sounds[1:]:
        track.hear(one)
    assert (await first).seq == 35
    assert SoundPacker().pack(await track.recv()) == ([b"x"], 36 * 960)
    track.stop()


def test_files_get_packets_end_to_end() -> None:
    def of(ms: float) -> SoundPacket:
        return SoundPacket(
            seq=0, pts=round(48 * ms), time_base=SOUND_TIME_BASE, captured_ns=0, timestamp=0, data=b"\xfc\x01"
        )

    sound = ContinuousSound()
    assert sound.take(48_000) == []
    for ms in (990, 1000, 1021, 1040, 1120):  # too early; trembling; a gap of three packets
        sound.hear(of(ms))
    taken = sound.take(48 * 1200)
    assert [start / 48 for start, _ in taken] == [1000, 1020, 1040, 1060, 1080, 1100, 1120]
    assert [data == SILENCE for _, data in taken] == [False, False, False, True, True, True, False]
    # Nothing comes any more: silence, but for what may still be under way.
    assert sound.take(48 * 1400)[-1][0] + SILENCE_SAMPLES <= 48 * 1400 - LATE_SAMPLES + SILENCE_SAMPLES
    assert sound.take(48 * 1400, late=0)[-1][0] == 48 * 1380
