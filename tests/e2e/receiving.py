"""What a test sees of a connection's video: every picture as it comes, without the stock jitter buffer."""

from __future__ import annotations

import time
from collections.abc import Callable

import av
from aiortc import RTCRtpReceiver
from aiortc.rtp import RtpPacket

from streamer.aiortc_adapter import install_packet_sink
from streamer.codecs import VideoDecoder
from streamer.ingest import piece_of
from streamer.jitter import MarkerJitterBuffer
from streamer.packets import VIDEO_TIME_BASE


class Pictures:
    """Decodes VP8 frame by frame; the stock buffer waits for the next frame, and shows damaged pictures."""

    def __init__(self, receiver: RTCRtpReceiver, see: Callable[[float, int, av.VideoFrame], None]) -> None:
        """Take over `receiver`; `see` is told of each picture when it came, s, and its RTP timestamp, unwrapped."""
        self._see = see
        self._buffer = MarkerJitterBuffer()
        self._decoder = VideoDecoder("VP8")
        install_packet_sink(receiver, self)

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """Take one packet; called by aiortc."""
        now_s = time.monotonic()
        release = self._buffer.add(piece_of(packet, "VP8", round(now_s * 1e9)))
        for frame in release.frames:
            for picture in self._decoder.decode(frame.data, frame.timestamp, VIDEO_TIME_BASE):
                self._see(now_s, frame.timestamp, picture)
        return release.is_key_frame_needed, None
