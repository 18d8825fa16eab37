"""The ways in which a rendition can be encoded: RTP payloads for viewers, a transport stream for players."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from streamer.clock import Clock, elapsed_ms
from streamer.codecs import LiveEncoder, default_bitrate_bps, make_encoder
from streamer.continuous_sound import ContinuousSound, add_opus_stream, opus_packet
from streamer.opus import SAMPLE_RATE
from streamer.packets import VIDEO_TIME_BASE, SharedFrame, TargetFrame

SHARES = (1.0, 0.4, 0.12)
"""The qualities: shares of the bitrate that the picture's size deserves, best first."""
STREAM_RATE = 60
"""Frames a second in which MPEG-2 counts; its frames come at any of these ticks, and not at every one."""
STREAM_KEY_INTERVAL = 60
"""Frames; a player that lost something is whole again after so many."""
STREAM_SHARE = 2.0
"""MPEG-2 needs about twice the bitrate of VP8."""
ENCODE_SHARED = "encode_shared"
"""Name of the stage in `/metrics`."""


def is_key_data(codec: str, data: bytes) -> bool:
    """Say whether one picture's bitstream is a key frame."""
    if codec == "VP8":
        return bool(data) and not data[0] & 0x01  # RFC 6386 section 9.1: P bit.
    return any(nal[0] & 0x1F == 5 for nal in data.split(b"\x00\x00\x01")[1:] if nal)


class RtpEncoder:
    """VP8 or H.264 at a share of its usual bitrate, as RTP payloads."""

    def __init__(
        self, codec: str, share: float, *, bitrate_bps: int, on_encoded: Callable[[float], None], clock: Clock
    ) -> None:
        """Encode `codec` at `share` of `bitrate_bps` (0: of what the picture's size deserves)."""
        self._codec = codec
        self._share = share
        self._bitrate_bps = bitrate_bps
        self._pixels = 0
        self._on_encoded = on_encoded
        self._clock = clock
        self._encoder = self._make(bitrate_bps)

    def encode(self, frame: TargetFrame, is_key: bool) -> SharedFrame | None:
        """Encode one frame. Runs in a worker thread."""
        pixels = frame.picture.width * frame.picture.height
        if pixels != self._pixels:
            self._pixels = pixels
            self._encoder = self._make(int(self._share * (self._bitrate_bps or default_bitrate_bps(pixels))))
        data, pts = self._encoder.encode_data(frame.picture, is_key)
        if not data:
            return None
        return SharedFrame(
            seq=frame.seq,
            pts=pts,
            time_base=VIDEO_TIME_BASE,
            captured_ns=frame.captured_ns,
            data=data,
            payloads=tuple(self._encoder.packetize(data)),
            is_key=is_key_data(self._codec, data),
        )

    def close(self) -> None:
        """Nothing is held."""

    def _make(self, bitrate_bps: int) -> LiveEncoder:
        return make_encoder(self._codec, bitrate_bps=bitrate_bps, on_encoded=self._on_encoded, clock=self._clock)


class _Pieces:
    """A file that hands out what was written since the last time."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class TransportStreamEncoder:
    """MPEG-2 video in an MPEG transport stream that can be entered at any key frame, each frame flushed as it comes.

    Players decode H.264 with a thread for each core and hold a frame back in each (OBS 29.0.2 on two cores: 222 ms
    against 174 ms for MPEG-2, whose decoder does not). Sound goes in as it came, Opus; players put it in
    step by its times.
    """

    def __init__(
        self,
        *,
        bitrate_bps: int,
        on_encoded: Callable[[float], None],
        clock: Clock,
        sound: ContinuousSound | None = None,
        on_closed: Callable[[], None] = lambda: None,
    ) -> None:
        """Encode at `bitrate_bps` (0: by picture size); with `sound`, the stream has a track of it from the start."""
        self._sound = sound
        self._on_closed = on_closed
        self._sound_stream: Any = None
        self._bitrate_bps = bitrate_bps
        self._on_encoded = on_encoded
        self._clock = clock
        self._reformatter = VideoReformatter()
        self._pieces = _Pieces()
        self._context: av.VideoCodecContext | None = None
        self._container: Any = None
        self._stream: Any = None
        self._last_tick = -1

    def encode(self, frame: TargetFrame, is_key: bool) -> SharedFrame | None:
        """Encode one frame. Runs in a worker thread."""
        start_ns = self._clock.monotonic_ns()
        tick = int(frame.pts * frame.time_base * STREAM_RATE + Fraction(1, 2))
        if tick <= self._last_tick:
            return None
        width, height = frame.picture.width & ~1, frame.picture.height & ~1
        if self._context is None or (self._context.width, self._context.height) != (width, height):
            self._context = self._open(width, height)
        picture = self._reformatter.reformat(frame.picture, width=width, height=height, format="yuv420p", threads=1)
        picture.pts, picture.time_base = tick, Fraction(1, STREAM_RATE)
        picture.pict_type = PictureType.I if is_key else PictureType.NONE
        self._mux_sound(int(frame.pts * frame.time_base * SAMPLE_RATE))
        has_key = False
        for packet in self._context.encode(picture):
            has_key = has_key or packet.is_keyframe
            packet.stream = self._stream
            self._container.mux(packet)
        self._last_tick = tick
        self._on_encoded(elapsed_ms(start_ns, self._clock.monotonic_ns()))
        return SharedFrame(
            seq=frame.seq,
            pts=frame.pts,
            time_base=frame.time_base,
            captured_ns=frame.captured_ns,
            data=self._pieces.take(),
            payloads=(),
            is_key=has_key,
        )

    def close(self) -> None:
        """Say that it is over, to whoever feeds the sound."""
        self._on_closed()

    def _mux_sound(self, until: int) -> None:
        """Write the sound up to a picture's time. While none comes, silence: a player that waits for it would stop."""
        if self._sound is None:
            return
        for start, data in self._sound.take(until):
            if start >= 0:
                self._container.mux(opus_packet(self._sound_stream, start, data))

    def _open(self, width: int, height: int) -> av.VideoCodecContext:
        context = av.CodecContext.create("mpeg2video", "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base = Fraction(1, STREAM_RATE)
        context.framerate = Fraction(STREAM_RATE)
        context.bit_rate = int(STREAM_SHARE * (self._bitrate_bps or default_bitrate_bps(width * height)))
        context.gop_size = STREAM_KEY_INTERVAL
        context.max_b_frames = 0
        context.thread_count = 1
        context.flags |= av.codec.context.Flags.low_delay
        if self._container is None:
            # Tables before every picture: a player may enter anywhere and finds them.
            options = {"mpegts_flags": "pat_pmt_at_frames", "flush_packets": "1", "max_delay": "0"}
            self._container = av.open(self._pieces, "w", format="mpegts", options=options)
            self._stream = self._container.add_mux_stream("mpeg2video", width=width, height=height)
            if self._sound is not None:
                self._sound_stream = add_opus_stream(self._container)
        return context
