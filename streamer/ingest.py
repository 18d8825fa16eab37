"""Packets of the source's video in, decoded frames out: jitter buffer on the event loop, decoder on its own thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

import av
from aiortc.rtp import RtpPacket

from streamer.aiortc_adapter import payload_of
from streamer.clock import Clock, elapsed_ms
from streamer.codecs import VideoDecoder, describe_payload
from streamer.jitter import AssembledFrame, MarkerJitterBuffer, RtpPiece
from streamer.metrics import Meter
from streamer.pace import Pace
from streamer.packets import VIDEO_TIME_BASE, EncodedFrame, SourceFrame
from streamer.send_clock import SendClock
from streamer.slots import BoundedFifo, LatestSlot

logger = logging.getLogger(__name__)

DECODE_QUEUE_FRAMES = 16
"""Half a second at 30 fps: a decoder further behind than that gives up to the next key frame."""
RESTART_PTS_STEP = 3_000
"""How far `pts` moves on, in 1/90000 s, when the sender's RTP time starts anew."""


class Ingest:
    """Stand in for the receiver's jitter buffer and decode what it releases into `slot`.

    Every frame must be decoded, as later ones refer to it: frames are dropped only behind the decoder, in the slot.
    """

    def __init__(
        self,
        slot: LatestSlot[SourceFrame],
        *,
        codecs: Mapping[int, str],
        clock: Clock,
        meter: Meter,
        name: str,
        buffer: MarkerJitterBuffer | None = None,
    ) -> None:
        """Decode payload types `codecs` (to codec names); `name` names the thread."""
        self._slot = slot
        self._codecs = dict(codecs)
        self._clock = clock
        self._meter = meter
        self._buffer = buffer or MarkerJitterBuffer()
        self._send_clock = SendClock()
        self.pace = Pace()
        """How many frames a second go on."""
        self._frames: BoundedFifo[EncodedFrame] = BoundedFifo(DECODE_QUEUE_FRAMES)
        self._thread = threading.Thread(target=self._decode_all, name=f"decode-{name}", daemon=True)
        self._is_decoder_lost = threading.Event()
        self._seq = 0
        self._pts_origin: int | None = None
        self._newest_timestamp = 0
        self._abandoned = 0
        self.on_missing: Callable[[int, list[int]], None] = lambda ssrc, sequences: None
        """Asks the sender, by its SSRC, for packets once more."""
        self.last_packet_ns: int | None = None
        """`Clock` time of the newest packet of video; None before the first."""

    @property
    def rtp_origin(self) -> int | None:
        """RTP timestamp (90 kHz, unwrapped) of `pts` 0; None before the first frame."""
        return self._pts_origin

    def pts_of(self, timestamp: int) -> int | None:
        """Return the `pts` of a 32-bit RTP timestamp near the newest frame's; None before the first frame."""
        if self._pts_origin is None:
            return None
        distance = (timestamp - self._newest_timestamp + (1 << 31)) % (1 << 32) - (1 << 31)
        return self._newest_timestamp + distance - self._pts_origin

    def start(self) -> None:
        """Start the decoder thread."""
        self._thread.start()

    def close(self) -> None:
        """Tell the decoder thread to end; `join` waits for it."""
        self._frames.close()

    def join(self, timeout_s: float) -> bool:
        """Wait for the decoder thread; False if it still runs."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """Take one RTP packet in; return whether to ask for a key frame. Called by aiortc, on the event loop."""
        now_ns = self._clock.monotonic_ns()
        self.last_packet_ns = now_ns
        codec = self._codecs.get(packet.payload_type)
        if codec is None:
            return False, None
        if self._is_decoder_lost.is_set():
            self._is_decoder_lost.clear()
            self._buffer.require_key_frame()
        abs_send_time = packet.extensions.abs_send_time
        sent_ns = None if abs_send_time is None else self._send_clock.map(abs_send_time, now_ns)
        release = self._buffer.add(piece_of(packet, codec, now_ns, sent_ns))
        for frame in release.frames:
            self._enqueue(frame, codec, now_ns)
        if missing := self._buffer.ask_again(now_ns):
            self.on_missing(packet.ssrc, missing)
        self._report_losses()
        return release.is_key_frame_needed, None

    def _enqueue(self, frame: AssembledFrame, codec: str, now_ns: int) -> None:
        encoded = EncodedFrame(
            seq=self._seq,
            pts=self._map_time(frame.timestamp),
            time_base=VIDEO_TIME_BASE,
            captured_ns=frame.arrival_ns,
            complete_ns=now_ns,
            sent_ns=frame.sent_ns,
            rtp_timestamp=frame.timestamp % (1 << 32),
            codec=codec,
            data=frame.data,
            is_key=frame.is_key,
        )
        self._seq += 1
        if self._frames.is_closed:
            return
        if not self._frames.offer(encoded):
            self._meter.drop("decoder_behind", self._frames.clear() + 1)
            self._buffer.require_key_frame()

    def _map_time(self, timestamp: int) -> int:
        """Return the `pts` of an RTP timestamp: 0 at the first frame, always rising."""
        if self._pts_origin is None:
            self._pts_origin = timestamp
        elif timestamp <= self._newest_timestamp:
            self._pts_origin -= self._newest_timestamp - timestamp + RESTART_PTS_STEP
        self._newest_timestamp = timestamp
        return timestamp - self._pts_origin

    def _report_losses(self) -> None:
        abandoned = self._buffer.counts.abandoned_frames
        self._meter.drop("network", abandoned - self._abandoned)
        self._abandoned = abandoned

    def _decode_all(self) -> None:
        decoder: VideoDecoder | None = None
        while (frame := self._frames.take()) is not None:
            if decoder is None or decoder.codec != frame.codec:
                decoder = VideoDecoder(frame.codec)
            self._decode(decoder, frame)

    def _decode(self, decoder: VideoDecoder, frame: EncodedFrame) -> None:
        start_ns = self._clock.monotonic_ns()
        try:
            pictures = decoder.decode(frame.data, frame.pts, frame.time_base)
        except av.FFmpegError as error:
            logger.debug("frame %s could not be decoded: %s", frame.seq, error)
            self._meter.drop("undecodable")
            self._is_decoder_lost.set()
            return
        end_ns = self._clock.monotonic_ns()
        for picture in pictures:
            self._meter.count("decoded")
            if not self.pace.admits(frame.pts, frame.time_base):
                self._meter.drop("pace")
                continue
            self._slot.put(
                SourceFrame(
                    seq=frame.seq,
                    pts=frame.pts,
                    time_base=frame.time_base,
                    captured_ns=frame.captured_ns,
                    decoded_ns=end_ns,
                    decode_ms=elapsed_ms(start_ns, end_ns),
                    complete_ns=frame.complete_ns,
                    sent_ns=frame.sent_ns,
                    rtp_timestamp=frame.rtp_timestamp,
                    picture=picture,
                )
            )


def piece_of(packet: RtpPacket, codec: str, arrival_ns: int, sent_ns: int | None = None) -> RtpPiece:
    """Give what the jitter buffer wants to know of a packet of video; times are the receiver's, ns."""
    data = payload_of(packet)
    is_start, is_key = describe_payload(codec, packet.payload, data)
    return RtpPiece(
        sequence=packet.sequence_number,
        timestamp=packet.timestamp,
        is_marker=bool(packet.marker),
        is_frame_start=is_start,
        is_key=is_key,
        data=data,
        arrival_ns=arrival_ns,
        sent_ns=sent_ns,
    )
