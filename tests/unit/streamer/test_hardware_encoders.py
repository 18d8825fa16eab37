"""libx264 stands in for hardware: what matters is what is done with an encoder that works, waits or fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest

from streamer import hardware_encoders
from streamer.codecs import H264LiveEncoder, LiveEncoder, VideoDecoder, Vp8LiveEncoder
from streamer.hardware_encoders import HardwareEncoder, make_best_encoder, trials, try_encoder
from streamer.packets import VIDEO_TIME_BASE
from streamer.pixels import to_picture

QUICK = {"preset": "ultrafast", "tune": "zerolatency", "forced-idr": "1"}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    try_encoder.cache_clear()
    yield
    try_encoder.cache_clear()


def pretend(monkeypatch: pytest.MonkeyPatch, **encoders: dict[str, str]) -> None:
    monkeypatch.setattr(hardware_encoders, "HARDWARE", {name: ("test", options) for name, options in encoders.items()})


def decoded(encoder: LiveEncoder, count: int = 6) -> int:
    decoder, pictures = VideoDecoder("H264"), 0
    for number in range(count):
        picture = to_picture(np.full((64, 64, 3), 30 * number, np.uint8), number * 3000, VIDEO_TIME_BASE)
        data, pts = encoder.encode_data(picture, is_key=number == 3)
        pictures += len(decoder.decode(data, pts, VIDEO_TIME_BASE))
    return pictures


def test_every_encoder_is_tried_and_has_a_reason() -> None:
    found = trials()
    assert [trial.name for trial in found] == ["h264_nvenc", "h264_vaapi", "h264_qsv", "h264_videotoolbox"]
    assert all(len(trial.reason) > 8 for trial in found)


def test_one_that_works_is_taken_for_h264_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, absent={}, libx264=QUICK)
    assert [trial.works for trial in trials()] == [False, True]
    encoder = make_best_encoder("H264")
    assert isinstance(encoder, HardwareEncoder)
    assert decoded(encoder) == 6
    assert isinstance(make_best_encoder("VP8"), Vp8LiveEncoder)


def test_one_that_holds_frames_back_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, libx264={"preset": "medium"})
    (trial,) = trials()
    assert (trial.works, "holds frames back" in trial.reason) == (False, True)
    encoder = make_best_encoder("H264")
    assert isinstance(encoder, H264LiveEncoder)
    assert not isinstance(encoder, HardwareEncoder)


def test_one_that_fails_later_gives_way_to_software(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch, libx264={"x264-params": "no-such-thing=1:level=999"})
    with caplog.at_level(logging.WARNING):
        encoder = HardwareEncoder("libx264")
        monkeypatch.setattr(hardware_encoders, "_open", _broken)
        assert decoded(encoder) == 6
    assert "software goes on" in caplog.text
    assert encoder.name == ""


def _broken(*_: object) -> None:
    raise ValueError("the driver is gone")
