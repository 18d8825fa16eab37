from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from aiortc.codecs import depayload
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from numpy.typing import NDArray

from streamer.codecs import (
    CODEC_NAMES,
    MAX_BITRATE_BPS,
    LiveEncoder,
    VideoDecoder,
    default_bitrate_bps,
    describe_payload,
    make_encoder,
)
from streamer.downlink import Seen
from streamer.packets import VIDEO_TIME_BASE
from streamer.pixels import to_picture
from tests.unit.streamer.fakes import FakeClock

TIME_BASE = Fraction(1, 90_000)
CODECS = ["VP8", "H264"]


def picture(number: int, size: int = 128, time_base: Fraction = TIME_BASE, step: int = 3000) -> av.VideoFrame:
    """A noisy picture that moves, so that delta frames have something to say."""
    generator = np.random.default_rng(7)
    base = generator.integers(0, 255, (size // 4, size // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(base, number, 1)), format="rgb24")
    frame.pts, frame.time_base = number * step, time_base
    return frame


def join(codec: str, payloads: list[bytes]) -> bytes:
    """What a receiver hands to its decoder."""
    parameters = RTCRtpCodecParameters(mimeType=f"video/{codec}", clockRate=90_000, payloadType=97)
    return b"".join(depayload(parameters, payload) for payload in payloads)


def describe(codec: str, payloads: list[bytes]) -> list[tuple[bool, bool]]:
    return [describe_payload(codec, payload, join(codec, [payload])) for payload in payloads]


def psnr(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


@pytest.mark.parametrize("codec", CODECS)
def test_what_goes_in_comes_out_without_delay(codec: str) -> None:
    encoder, decoder = make_encoder(codec), VideoDecoder(codec)
    for number in range(10):
        payloads, timestamp = encoder.encode(picture(number))
        assert timestamp == number * 3000
        assert all(len(payload) <= 1300 for payload in payloads)
        (decoded,) = decoder.decode(join(codec, payloads), timestamp, TIME_BASE)
        assert (decoded.pts, decoded.width, decoded.height) == (timestamp, 128, 128)
        reference = picture(number).reformat(format="yuv420p").to_ndarray()
        assert psnr(decoded.to_ndarray()[:128], reference[:128]) > 30


@pytest.mark.parametrize("codec", CODECS)
def test_key_frames_come_first_and_on_request_only(codec: str) -> None:
    encoder = make_encoder(codec)
    keys = []
    for number in range(12):
        payloads, _ = encoder.encode(picture(number), force_keyframe=number == 7)
        described = describe(codec, payloads)
        assert described[0][0] is True
        keys.append(any(is_key for _, is_key in described))
    assert [number for number, is_key in enumerate(keys) if is_key] == [0, 7]


@pytest.mark.parametrize("codec", CODECS)
def test_a_decoder_can_start_at_a_requested_key_frame(codec: str) -> None:
    encoder, decoder = make_encoder(codec), VideoDecoder(codec)
    encoder.encode(picture(0))
    payloads, timestamp = encoder.encode(picture(1), force_keyframe=True)
    (decoded,) = decoder.decode(join(codec, payloads), timestamp, TIME_BASE)
    reference = picture(1).reformat(format="yuv420p").to_ndarray()
    assert psnr(decoded.to_ndarray()[:128], reference[:128]) > 30


@pytest.mark.parametrize("codec", CODECS)
def test_only_the_first_payload_starts_a_frame(codec: str) -> None:
    payloads, _ = make_encoder(codec).encode(picture(0, size=512))
    described = describe(codec, payloads)
    assert len(payloads) > 3
    assert described[0] == (True, True)
    if codec == "VP8":
        assert set(described[1:]) == {(False, False)}
    else:
        # The slices' first fragments may start a frame too, should the parameter sets before them be lost.
        assert sum(is_start for is_start, _ in described) <= 2


@pytest.mark.parametrize("codec", CODECS)
def test_bitrate_rises_above_aiortcs_caps_and_follows_the_estimate(codec: str) -> None:
    encoder = make_encoder(codec, bitrate_bps=4_000_000)
    assert encoder.bitrate_for(256 * 256) == 4_000_000
    encoder.target_bitrate = 1_000_000
    # Headers, retransmissions and sound want their part of what the network carries.
    assert encoder.bitrate_for(256 * 256) == 850_000
    encoder.target_bitrate = 1
    assert encoder.bitrate_for(256 * 256) == 85_000
    encoder.target_bitrate = 10**9
    assert encoder.bitrate_for(256 * 256) == 4_000_000


def test_default_bitrate_grows_with_the_picture() -> None:
    assert default_bitrate_bps(256 * 256) == 2_500_000
    assert 5_000_000 < default_bitrate_bps(512 * 512) < 6_500_000
    assert default_bitrate_bps(4096 * 4096) == MAX_BITRATE_BPS


def sizes(encoder: LiveEncoder, first: int, count: int) -> list[int]:
    generator = np.random.default_rng(first)
    result = []
    for number in range(first, first + count):
        frame = av.VideoFrame.from_ndarray(generator.integers(0, 255, (128, 128, 3), np.uint8), format="rgb24")
        frame.pts, frame.time_base = number * 3000, TIME_BASE
        result.append(sum(map(len, encoder.encode(frame)[0])))
    return result


@pytest.mark.parametrize("codec", CODECS)
def test_a_lower_estimate_lowers_the_rate(codec: str) -> None:
    encoder = make_encoder(codec, bitrate_bps=6_000_000)
    before = np.mean(sizes(encoder, 0, 40)[20:])
    encoder.target_bitrate = 600_000
    after = np.mean(sizes(encoder, 40, 60)[40:])
    assert after < before / 2


def test_small_changes_of_the_estimate_do_not_cost_a_key_frame() -> None:
    encoder = make_encoder("VP8", bitrate_bps=2_000_000)
    keys = []
    for number, estimate in enumerate([2_000_000, 1_800_000, 1_500_000, 1_700_000, 500_000, 550_000]):
        encoder.target_bitrate = estimate
        payloads, _ = encoder.encode(picture(number))
        keys.append(describe("VP8", payloads)[0][1])
    assert keys == [True, False, False, False, True, False]


@pytest.mark.parametrize("codec", CODECS)
def test_frames_are_left_out_rather_than_queued_and_a_key_frame_is_not_forgotten(codec: str) -> None:
    encoder = make_encoder(codec, bitrate_bps=2_000_000)
    encoder.target_bitrate = 300_000
    sent = sizes(encoder, 0, 60)  # Noise: no codec brings it down to 5 kbit a frame.
    assert 0 in sent
    assert 8 * sum(sent) <= 300_000 * 2.0 + 8 * max(sent)
    number = 60
    wanted = False
    while True:  # a key frame is asked for on a frame that is left out
        payloads, _ = encoder.encode(picture(number, 128), force_keyframe=not wanted)
        number += 1
        if payloads:
            break
        wanted = True
    assert describe(codec, payloads)[0][1]


def test_heavy_loss_lowers_the_bitrate() -> None:
    encoder = make_encoder("VP8", bitrate_bps=2_000_000)
    encoder.hear_report(Seen(highest=0, lost=0))
    encoder.hear_report(Seen(highest=100, lost=50))  # Before the first frame there is nothing to lower.
    assert encoder.bitrate_for(256 * 256) == 2_000_000
    encoder.encode(picture(0))
    encoder.hear_report(Seen(highest=200, lost=50))
    encoder.hear_report(Seen(highest=300, lost=90))
    assert encoder.bitrate_for(256 * 256) == 1_360_000


@pytest.mark.parametrize("codec", CODECS)
def test_another_size_is_followed(codec: str) -> None:
    encoder, decoder = make_encoder(codec), VideoDecoder(codec)
    for number, size in enumerate([128, 192, 128]):
        payloads, timestamp = encoder.encode(picture(number, size))
        (decoded,) = decoder.decode(join(codec, payloads), timestamp, TIME_BASE)
        assert decoded.width == size


def test_odd_sizes_are_trimmed() -> None:
    frame = av.VideoFrame.from_ndarray(np.zeros((65, 67, 3), np.uint8), format="rgb24")
    frame.pts, frame.time_base = 0, TIME_BASE
    payloads, timestamp = make_encoder("VP8").encode(frame)
    (decoded,) = VideoDecoder("VP8").decode(join("VP8", payloads), timestamp, TIME_BASE)
    assert (decoded.width, decoded.height) == (66, 64)


def test_time_is_kept_in_any_base_and_never_runs_backwards() -> None:
    encoder = make_encoder("VP8")
    assert encoder.encode(picture(3, time_base=Fraction(1, 1000), step=40))[1] == 120 * 90
    assert encoder.encode(picture(2, time_base=Fraction(1, 1000), step=40))[0] == []
    assert encoder.encode(picture(4, time_base=Fraction(1, 1000), step=40))[0] != []


def test_a_frame_that_fails_costs_that_frame_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = make_encoder("VP8")
    encode = type(encoder)._encode
    failures = [True, True, False]

    def flaky(self: LiveEncoder, frame: av.VideoFrame) -> bytes:
        if failures.pop(0):
            raise av.FFmpegError(1, "broken")
        return encode(self, frame)

    monkeypatch.setattr(type(encoder), "_encode", flaky)
    assert [bool(encoder.encode(picture(number))[0]) for number in range(3)] == [False, False, True]
    assert len(caplog.records) == 1


def test_encoding_time_is_reported() -> None:
    reported: list[float] = []
    make_encoder("VP8", on_encoded=reported.append, clock=FakeClock()).encode(picture(0))
    assert reported == [0.0]


def test_unknown_codecs_are_refused() -> None:
    with pytest.raises(ValueError, match="VP8, H264"):
        make_encoder("AV1")
    with pytest.raises(ValueError, match="VP8, H264"):
        VideoDecoder("AV1")


@pytest.mark.parametrize("codec", CODECS)
def test_damage_is_an_ffmpeg_error_or_nothing(codec: str) -> None:
    decoder = VideoDecoder(codec)
    try:
        assert decoder.decode(b"\x00\x00\x01garbage" * 20, 0, TIME_BASE) == []
    except av.FFmpegError:
        pass


@pytest.mark.parametrize("payload", [b"", b"\x10", b"\x00" * 3, b"\xff" * 5])
@pytest.mark.parametrize("codec", CODECS)
def test_short_payloads_describe_nothing_or_something_but_never_fail(codec: str, payload: bytes) -> None:
    describe_payload(codec, payload, payload[1:])


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_a_smaller_picture_can_be_asked_for_while_it_runs(codec: str) -> None:
    encoder, decoder = make_encoder(codec), VideoDecoder(codec)
    sizes = []
    for number in range(8):
        encoder.configure(bitrate_bps=900_000, longest_side=128 if 3 <= number < 6 else 1024)
        picture = to_picture(np.full((256, 192, 3), 30 * number, np.uint8), number * 3000, VIDEO_TIME_BASE)
        data, pts = encoder.encode_data(picture)
        sizes += [(frame.width, frame.height) for frame in decoder.decode(data, pts, VIDEO_TIME_BASE)]
    assert sizes == [(192, 256)] * 3 + [(96, 128)] * 3 + [(192, 256)] * 2
