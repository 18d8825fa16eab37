"""H.264 encoders in hardware: which of them this build of FFmpeg has and this machine runs, tried and not guessed.

Where one runs, H.264 goes through it; where it fails later, software goes on, and the log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import av
import numpy as np

from streamer.clock import Clock
from streamer.codecs import KEY_FRAME_INTERVAL, NOMINAL_FRAME_RATE, H264LiveEncoder, LiveEncoder, make_encoder
from streamer.packets import VIDEO_TIME_BASE

logger = logging.getLogger(__name__)

HARDWARE = {
    "h264_nvenc": ("NVIDIA", {"preset": "p1", "tune": "ull", "zerolatency": "1", "rc": "cbr", "delay": "0"}),
    "h264_vaapi": ("VA-API: Intel and AMD on Linux", {}),
    "h264_qsv": ("Intel Quick Sync", {"preset": "veryfast", "async_depth": "1"}),
    "h264_videotoolbox": ("Apple", {"realtime": "1", "prio_speed": "1"}),
}
"""FFmpeg's name to whose it is, and its options for no delay."""
TRIAL_SIZE = 256
TRIAL_FRAMES = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of trying an encoder."""

    name: str
    works: bool
    reason: str
    """For people: what it is, or why it does not run."""


def _open(name: str, width: int, height: int, bitrate: int) -> av.VideoCodecContext:
    context = av.CodecContext.create(name, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height = width, height
    context.pix_fmt = "nv12" if name == "h264_qsv" else "yuv420p"
    context.time_base, context.framerate = VIDEO_TIME_BASE, Fraction(NOMINAL_FRAME_RATE)
    context.bit_rate = bitrate
    context.gop_size = KEY_FRAME_INTERVAL
    context.max_b_frames = 0
    context.options = {**HARDWARE[name][1]}
    return context


@cache
def try_encoder(name: str) -> Trial:
    """Encode a few pictures; an encoder works if each comes out at once."""
    maker = HARDWARE[name][0]
    if name not in av.codecs_available:
        return Trial(name, False, f"{maker}: this build of PyAV does not have it")
    try:
        context = _open(name, TRIAL_SIZE, TRIAL_SIZE, 2_500_000)
        for number in range(TRIAL_FRAMES):
            image = np.full((TRIAL_SIZE, TRIAL_SIZE, 3), 16 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=context.pix_fmt)
            frame.pts, frame.time_base = number * 3000, VIDEO_TIME_BASE
            if not context.encode(frame):
                return Trial(name, False, f"{maker}: it holds frames back, which live work cannot wait for")
    except av.FFmpegError as error:
        return Trial(name, False, f"{maker}: it cannot be opened here ({error.strerror})")
    except (ValueError, RuntimeError) as error:
        return Trial(name, False, f"{maker}: {error}")
    return Trial(name, True, f"{maker}: works, without delay")


def trials() -> list[Trial]:
    """Try all of them."""
    return [try_encoder(name) for name in HARDWARE]


class HardwareEncoder(H264LiveEncoder):
    """H.264 by an encoder in hardware; by software from the first failure on."""

    def __init__(
        self,
        name: str,
        *,
        bitrate_bps: int = 0,
        on_encoded: Callable[[float], None] = lambda _: None,
        clock: Clock | None = None,
    ) -> None:
        """Encode with `name`, one of `HARDWARE`; the rest as in `LiveEncoder`."""
        super().__init__(bitrate_bps=bitrate_bps, on_encoded=on_encoded, clock=clock)
        self.name = name

    def _encode(self, frame: av.VideoFrame) -> bytes:
        if not self.name:
            return super()._encode(frame)
        try:
            if self.name == "h264_qsv":
                pts, kind = frame.pts, frame.pict_type
                frame = frame.reformat(format="nv12")
                frame.pts, frame.time_base, frame.pict_type = pts, VIDEO_TIME_BASE, kind
            return super()._encode(frame)
        except (av.FFmpegError, ValueError) as error:
            logger.warning("the encoder %s fails (%s): software goes on", self.name, error)
            self.name, self._context = "", None
            return super()._encode(frame.reformat(format="yuv420p") if frame.format.name != "yuv420p" else frame)

    def _open(self, frame: av.VideoFrame, bitrate: int) -> av.VideoCodecContext:
        if not self.name:
            return super()._open(frame, bitrate)
        return _open(self.name, frame.width, frame.height, bitrate)

    def _retarget(self, context: av.VideoCodecContext, frame: av.VideoFrame, bitrate: int) -> av.VideoCodecContext:
        ratio = bitrate / (context.bit_rate or 1)
        if not self.name:
            return super()._retarget(context, frame, bitrate)
        # Not every driver takes a new bitrate on the way; a new encoder costs a key frame.
        return context if 2 / 3 < ratio < 3 / 2 else self._open(frame, bitrate)


def make_best_encoder(
    codec: str,
    *,
    bitrate_bps: int = 0,
    on_encoded: Callable[[float], None] = lambda _: None,
    clock: Clock | None = None,
) -> LiveEncoder:
    """Return the encoder for `codec`: H.264 in hardware where that works."""
    name = next((trial.name for trial in trials() if trial.works), "") if codec == "H264" else ""
    if not name:
        return make_encoder(codec, bitrate_bps=bitrate_bps, on_encoded=on_encoded, clock=clock)
    return HardwareEncoder(name, bitrate_bps=bitrate_bps, on_encoded=on_encoded, clock=clock)
