"""Video codecs for live work: encoders and decoders with our own settings behind aiortc's `Encoder` interface.

aiortc 1.16.0 caps VP8 at 1.5 Mb/s and H.264 at 3 Mb/s by module constants, throws the encoder away (a key frame)
whenever the receiver's bandwidth estimate moves by 10 %, and never asks x264 for IDR frames. Only its packetization
is used here.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
from aiortc.codecs.h264 import H264Encoder
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.mediastreams import convert_timebase
from av.frame import Frame
from av.packet import Packet
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from streamer.clock import Clock, SystemClock, elapsed_ms
from streamer.downlink import PacedEncoder, Seen
from streamer.packets import VIDEO_TIME_BASE
from streamer.pixels import fit_size

logger = logging.getLogger(__name__)

CODEC_NAMES = ("VP8", "H264")
"""What we can send and receive, by SDP name."""
MAX_BITRATE_BPS = 12_000_000
PAYLOAD_SHARE = 0.85
"""Of the bandwidth estimated; the rest is for headers, retransmissions and sound."""
DEEP_S = 0.1
"""What the network carries in so long may be owed to it; then frames are left out until it is paid."""
KEY_FRAME_INTERVAL = 3_000
"""Frames; key frames come on request, this is only the longest distance between two."""
NOMINAL_FRAME_RATE = 30
"""A hint for rate control; the true times are in `pts`."""
VP8_RISE, VP8_FALL = 1.5, 0.7
"""libvpx takes a new bitrate only with a restart, which costs a key frame: worth it for changes beyond these."""


def default_bitrate_bps(pixels: int) -> int:
    """Return the bitrate for a picture of so many pixels: 2.5 Mb/s at 256 x 256, 5.7 Mb/s at 512 x 512."""
    return min(MAX_BITRATE_BPS, int(2_500_000 * (pixels / (256 * 256)) ** 0.6))


def describe_payload(codec: str, payload: bytes, data: bytes) -> tuple[bool, bool]:
    """Say of one RTP payload whether a frame starts in it, and whether that frame is a key frame.

    `payload` is as received, `data` is without the RTP payload descriptor (Annex B for H.264).
    """
    if not payload or not data:
        return False, False
    if codec == "VP8":
        is_start = bool(payload[0] & 0x10) and not payload[0] & 0x07  # RFC 7741: S bit, partition 0.
        return is_start, is_start and not data[0] & 0x01  # RFC 6386 section 9.1: P bit.
    if len(data) < 6 or data[:4] != b"\x00\x00\x00\x01":
        return False, False
    nal_type = data[4] & 0x1F
    if nal_type in (7, 8, 9):  # SPS, PPS, access unit delimiter.
        return True, nal_type == 7
    # The first bit of a slice header is 1 where first_mb_in_slice is 0.
    is_start = nal_type in (1, 5) and bool(data[5] & 0x80)
    return is_start, is_start and nal_type == 5


class VideoDecoder:
    """One decoder, on one thread of CPU, without delay."""

    def __init__(self, codec: str) -> None:
        """Open the decoder for `codec`, one of `CODEC_NAMES`."""
        if codec not in CODEC_NAMES:
            raise ValueError(f"expected one of {', '.join(CODEC_NAMES)}, got {codec!r}")
        self.codec = codec
        self._context = av.CodecContext.create("libvpx" if codec == "VP8" else "h264", "r")
        # A second thread per decoder would take time from inference and gives nothing at camera sizes.
        self._context.thread_count = 1

    def decode(self, data: bytes, pts: int, time_base: Fraction) -> list[av.VideoFrame]:
        """Decode one frame's bitstream; raise `av.FFmpegError` on damage."""
        packet = Packet(data)
        packet.pts = pts
        packet.time_base = time_base
        return [frame for frame in self._context.decode(packet) if isinstance(frame, av.VideoFrame)]


class _Debt:
    """How much more was encoded than the network carries: frames wait on its account, not in its queues."""

    def __init__(self) -> None:
        self._bits = 0.0
        self._paid: int | None = None

    def is_deep(self, timestamp: int, rate_bps: int) -> bool:
        """Say whether the frame of `timestamp` (90 kHz) has to be left out at `rate_bps`."""
        since = 0 if self._paid is None else max(0, timestamp - self._paid)
        self._paid = timestamp
        self._bits = max(0.0, self._bits - rate_bps * float(since * VIDEO_TIME_BASE))
        return self._bits > DEEP_S * rate_bps

    def add(self, bits: int) -> None:
        """Note what was encoded."""
        self._bits += bits


class LiveEncoder(PacedEncoder):
    """What both encoders share: pixel format, bitrate within limits, and errors that cost one frame only."""

    def __init__(
        self, *, bitrate_bps: int = 0, on_encoded: Callable[[float], None] = lambda _: None, clock: Clock | None = None
    ) -> None:
        """Encode at `bitrate_bps` (0: by picture size) and report each frame's encoding time in ms."""
        self._clock = clock or SystemClock()
        super().__init__(self._clock)
        self._ceiling_bps = bitrate_bps
        self._longest_side = 0
        self._on_encoded = on_encoded
        self._reformatter = VideoReformatter()
        self._context: av.VideoCodecContext | None = None
        self._last_pts: int | None = None
        self._debt = _Debt()
        self._is_key_owed = False
        self._has_failed = False

    def configure(self, *, bitrate_bps: int, longest_side: int) -> None:
        """Encode at most so many bit/s (0: by picture size) and pixels a side from the next frame on."""
        self._ceiling_bps = bitrate_bps
        self._longest_side = longest_side

    def bitrate_for(self, pixels: int) -> int:
        """Return the bit/s to encode a picture of so many pixels with now."""
        ceiling = self._ceiling_bps or default_bitrate_bps(pixels)
        return min(ceiling, int(PAYLOAD_SHARE * self.downlink.bps))

    def encode(self, frame: Frame, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        """Encode one picture to RTP payloads and its RTP time; no payloads if it had to be dropped.

        Runs in a worker thread. Never raises: an exception would end aiortc's sender for good.
        """
        assert isinstance(frame, av.VideoFrame)
        data, timestamp = self.encode_data(frame, force_keyframe)
        return self.packetize(data), timestamp

    def hear_report(self, seen: Seen) -> None:
        """Take in what the receiver saw of what was sent."""
        if self._context is not None:
            self.downlink.hear_report(seen, float(self._context.bit_rate or 0))

    def encode_data(self, frame: av.VideoFrame, is_key: bool = False) -> tuple[bytes, int]:
        """As `encode`, but return the codec's bitstream (Annex B for H.264) in place of RTP payloads."""
        assert frame.pts is not None
        assert frame.time_base is not None
        start_ns = self._clock.monotonic_ns()
        timestamp = convert_timebase(frame.pts, frame.time_base, VIDEO_TIME_BASE)
        if self._last_pts is not None and timestamp <= self._last_pts:
            return b"", timestamp
        if self._debt.is_deep(timestamp, self.downlink.bps):
            self._is_key_owed = self._is_key_owed or is_key
            return b"", timestamp
        is_key = is_key or self._is_key_owed
        self._is_key_owed = False
        try:
            data = self._encode(self._prepare(frame, timestamp, is_key))
        except (av.FFmpegError, ValueError):
            if not self._has_failed:
                logger.exception("a frame could not be encoded; further ones are dropped in silence")
            self._has_failed = True
            self._context = None
            return b"", timestamp
        self._last_pts = timestamp
        self._debt.add(8 * len(data))
        self._on_encoded(elapsed_ms(start_ns, self._clock.monotonic_ns()))
        return data, timestamp

    def packetize(self, data: bytes) -> list[bytes]:
        """Cut one picture's bitstream into RTP payloads."""
        return self._payloads(data) if data else []

    def pack(self, packet: Packet[Any]) -> tuple[list[bytes], int]:
        """Refuse: our track hands out pictures, never encoded packets."""
        raise NotImplementedError("this encoder takes pictures only")

    def _prepare(self, frame: av.VideoFrame, timestamp: int, is_key: bool) -> av.VideoFrame:
        # 4:2:0 wants even sides; one thread, because swscale's own threads cost more than they give at this size.
        width, height = frame.width & ~1, frame.height & ~1
        if 0 < self._longest_side < max(width, height):
            width, height = fit_size(width, height, self._longest_side)
        prepared = self._reformatter.reformat(frame, width=width, height=height, format="yuv420p", threads=1)
        prepared.pts = timestamp
        prepared.time_base = VIDEO_TIME_BASE
        prepared.pict_type = PictureType.I if is_key else PictureType.NONE
        return prepared

    def _encode(self, frame: av.VideoFrame) -> bytes:
        bitrate = self.bitrate_for(frame.width * frame.height)
        context = self._context
        if context is None or (context.width, context.height) != (frame.width, frame.height):
            context = self._context = self._open(frame, bitrate)
        elif bitrate != context.bit_rate:
            context = self._context = self._retarget(context, frame, bitrate)
        return b"".join(bytes(packet) for packet in context.encode(frame))

    def _context_for(self, name: str, frame: av.VideoFrame, bitrate: int) -> av.VideoCodecContext:
        context = av.CodecContext.create(name, "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height, context.pix_fmt = frame.width, frame.height, "yuv420p"
        context.bit_rate = bitrate
        context.time_base = VIDEO_TIME_BASE
        context.framerate = Fraction(NOMINAL_FRAME_RATE)
        context.gop_size = KEY_FRAME_INTERVAL
        context.thread_count = 2 if frame.width * frame.height > 1280 * 720 else 1
        return context

    def _open(self, frame: av.VideoFrame, bitrate: int) -> av.VideoCodecContext:
        raise NotImplementedError

    def _retarget(self, context: av.VideoCodecContext, frame: av.VideoFrame, bitrate: int) -> av.VideoCodecContext:
        raise NotImplementedError

    def _payloads(self, data: bytes) -> list[bytes]:
        raise NotImplementedError


class Vp8LiveEncoder(LiveEncoder):
    """VP8 in real time: one pass, no look-ahead, constant bitrate, frames that survive the loss of another."""

    def __init__(
        self, *, bitrate_bps: int = 0, on_encoded: Callable[[float], None] = lambda _: None, clock: Clock | None = None
    ) -> None:
        """See `LiveEncoder`."""
        super().__init__(bitrate_bps=bitrate_bps, on_encoded=on_encoded, clock=clock)
        self._picture_id = random.randrange(1 << 15)

    def _open(self, frame: av.VideoFrame, bitrate: int) -> av.VideoCodecContext:
        context = self._context_for("libvpx", frame, bitrate)
        context.qmin, context.qmax = 2, 56
        context.options = {
            "deadline": "realtime",
            "cpu-used": "-12",  # A fixed speed; -6 takes half as long again for the same PSNR at 256 x 256.
            "lag-in-frames": "0",
            "error-resilient": "default",
            "minrate": str(bitrate),
            "maxrate": str(bitrate),  # With minrate: constant bitrate.
            "bufsize": str(bitrate // 2),
            "undershoot-pct": "100",
            "overshoot-pct": "15",
            "static-thresh": "1",
            "noise-sensitivity": "0",  # The picture is generated: there is no sensor noise to take out.
        }
        return context

    def _retarget(self, context: av.VideoCodecContext, frame: av.VideoFrame, bitrate: int) -> av.VideoCodecContext:
        ratio = bitrate / (context.bit_rate or 1)
        if VP8_FALL < ratio < VP8_RISE:
            return context
        return self._open(frame, bitrate)

    def _payloads(self, data: bytes) -> list[bytes]:
        payloads = Vp8Encoder._packetize(data, self._picture_id)
        self._picture_id = (self._picture_id + 1) % (1 << 15)
        return payloads


class H264LiveEncoder(LiveEncoder):
    """Constrained-baseline H.264 without delay, with IDR frames on request and a bitrate that follows the network."""

    def _open(self, frame: av.VideoFrame, bitrate: int) -> av.VideoCodecContext:
        context = self._context_for("libx264", frame, bitrate)
        context.profile = "Baseline"
        context.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "forced-idr": "1",  # Without it a requested key frame is a plain I frame that no decoder can start at.
            "maxrate": str(bitrate),
            "bufsize": str(bitrate // 2),
        }
        return context

    def _retarget(self, context: av.VideoCodecContext, frame: av.VideoFrame, bitrate: int) -> av.VideoCodecContext:
        context.bit_rate = bitrate  # libx264 takes this over with the next frame.
        return context

    def _payloads(self, data: bytes) -> list[bytes]:
        return H264Encoder._packetize(H264Encoder._split_bitstream(data))


def make_encoder(
    codec: str,
    *,
    bitrate_bps: int = 0,
    on_encoded: Callable[[float], None] = lambda _: None,
    clock: Clock | None = None,
) -> LiveEncoder:
    """Return the encoder for `codec`, one of `CODEC_NAMES`."""
    if codec == "VP8":
        return Vp8LiveEncoder(bitrate_bps=bitrate_bps, on_encoded=on_encoded, clock=clock)
    if codec == "H264":
        return H264LiveEncoder(bitrate_bps=bitrate_bps, on_encoded=on_encoded, clock=clock)
    raise ValueError(f"expected one of {', '.join(CODEC_NAMES)}, got {codec!r}")
