"""The ways in which a rendition can be encoded: RTP payloads for viewers, a transport stream for players."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import av
from av.packet import Packet

from streamer.clock import Clock
from streamer.codecs import default_bitrate_bps, make_encoder
from streamer.packets import VIDEO_TIME_BASE, SharedFrame, TargetFrame

SHARES = (1.0, 0.4, 0.12)
"""The qualities: shares of the bitrate that the picture's size deserves, best first."""
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
        self._encoder = make_encoder(codec, bitrate_bps=bitrate_bps, on_encoded=on_encoded, clock=clock)

    def encode(self, frame: TargetFrame, is_key: bool) -> SharedFrame | None:
        """Encode one frame. Runs in a worker thread."""
        pixels = frame.picture.width * frame.picture.height
        if pixels != self._pixels:
            self._pixels = pixels
            self._encoder.target_bitrate = int(self._share * (self._bitrate_bps or default_bitrate_bps(pixels)))
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
    """H.264 in an MPEG transport stream that can be entered at any key frame, each frame flushed as it comes."""

    def __init__(self, *, bitrate_bps: int, on_encoded: Callable[[float], None], clock: Clock) -> None:
        """Encode at `bitrate_bps` (0: by picture size)."""
        self._encoder = make_encoder("H264", bitrate_bps=bitrate_bps, on_encoded=on_encoded, clock=clock)
        self._pieces = _Pieces()
        self._container: Any = None
        self._stream: Any = None

    def _open(self, frame: av.VideoFrame) -> None:
        options = {
            # Tables before every picture: a player may enter anywhere and finds them.
            "mpegts_flags": "pat_pmt_at_frames",
            "flush_packets": "1",
            "max_delay": "0",
        }
        self._container = av.open(self._pieces, "w", format="mpegts", options=options)
        self._stream = self._container.add_mux_stream(
            "h264", width=frame.width, height=frame.height, time_base=VIDEO_TIME_BASE
        )

    def encode(self, frame: TargetFrame, is_key: bool) -> SharedFrame | None:
        """Encode one frame. Runs in a worker thread."""
        data, pts = self._encoder.encode_data(frame.picture, is_key)
        if not data:
            return None
        if self._container is None:
            self._open(frame.picture)
        packet = Packet(data)
        packet.stream = self._stream
        packet.pts = packet.dts = pts
        packet.time_base = VIDEO_TIME_BASE
        packet.is_keyframe = is_key = is_key_data("H264", data)
        self._container.mux(packet)
        return SharedFrame(
            seq=frame.seq,
            pts=pts,
            time_base=VIDEO_TIME_BASE,
            captured_ns=frame.captured_ns,
            data=self._pieces.take(),
            payloads=(),
            is_key=is_key,
        )
