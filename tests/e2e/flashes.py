"""A source that flashes and clicks at the same moments, and a receiver that says how far apart both come out."""

from __future__ import annotations

import asyncio
import io
import time
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtcpSrPacket, RtpPacket
from numpy.typing import NDArray

from streamer.aiortc_adapter import install_encoder, install_packet_sink, install_sender_reports, payload_of
from streamer.codecs import make_encoder
from streamer.jitter import Unwrapper
from tests.e2e.peers import NumberedCamera
from tests.e2e.receiving import Pictures

RATE = 48_000
FRAME = 960
FLASH_EVERY_S = 0.5
FLASH_S = 0.1
CLICK_HZ = 3000.0


def is_flash(time_s: float) -> bool:
    """Say whether there is a flash, and the click with it, at `time_s` of the source."""
    return time_s > 0.2 and time_s % FLASH_EVERY_S < FLASH_S


class FlashingCamera(NumberedCamera):
    """Dark, and white for `FLASH_S` every `FLASH_EVERY_S`, on the clock that the microphone shares."""

    def draw(self) -> NDArray[np.uint8]:
        image = super().draw()
        image[64:] = 235 if is_flash(self.number / self.fps + 1e-6) else 24
        return image


class ClickingMicrophone(MediaStreamTrack):
    """Silence, and a tone with every flash of `camera`; each frame comes as it begins: a microphone without delay."""

    kind = "audio"

    def __init__(self, camera: NumberedCamera, drift: float = 0.0) -> None:
        """Count time `drift` too fast, as a cheap sound card does (1e-4: 100 ppm)."""
        super().__init__()
        self._camera = camera
        self._drift = drift
        self._number = 0

    async def recv(self) -> av.AudioFrame:
        while self._camera._start_s is None:  # noqa: ASYNC110 - the camera tells nobody
            await asyncio.sleep(0.005)
        if self.readyState != "live":
            raise MediaStreamError
        start_s = self._number * FRAME / RATE
        await asyncio.sleep(max(0.0, self._camera._start_s + start_s / (1 + self._drift) - time.monotonic()))
        at = (start_s + np.arange(FRAME) / RATE) / (1 + self._drift)
        tone = np.where((at > 0.2) & (at % FLASH_EVERY_S < FLASH_S), np.sin(2 * np.pi * CLICK_HZ * at), 0.0)
        frame = av.AudioFrame.from_ndarray((tone * 16_000).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._number * FRAME, Fraction(1, RATE)
        self._number += 1
        return frame


def report_honestly(peer: RTCPeerConnection, camera: NumberedCamera, drift: float = 0.0) -> None:
    """Have the senders of `peer` report when their media was captured, as browsers do.

    aiortc reports when the newest packet left, which on a busy machine is any time later. It must count RTP time from
    near 0: `aiortc.rtcrtpsender.random32` has to give small numbers.
    """
    for transceiver in peer.getTransceivers():
        _report_honestly(transceiver, camera, drift if transceiver.kind == "audio" else 0.0)


def _report_honestly(transceiver: Any, camera: NumberedCamera, drift: float) -> None:
    sender, rate = transceiver.sender, (RATE if transceiver.kind == "audio" else 90_000) * (1 + drift)
    send = sender._send_rtcp

    async def send_honestly(packets: list[Any]) -> None:
        for packet in packets:
            if isinstance(packet, RtcpSrPacket) and camera._start_s is not None:
                wall_s = camera._start_s + 10_000 + packet.sender_info.rtp_timestamp / rate
                packet.sender_info.ntp_timestamp = int(wall_s * (1 << 32))
        await send(packets)

    sender._send_rtcp = send_honestly


def onsets(times_s: NDArray[np.float64], levels: NDArray[np.float64], threshold: float) -> list[float]:
    """Give the times at which `levels` rise above `threshold` after a quiet fifth of a second."""
    found: list[float] = []
    loud_s = -np.inf
    for at, level in zip(times_s, levels, strict=True):
        if level > threshold:
            if at - loud_s > 0.2:
                found.append(float(at))
            loud_s = at
    return found[1:]  # The first may have been under way.


def offsets_ms(flashes: list[float], clicks: list[float]) -> list[float]:
    """Give how much later each flash's click comes than the flash, in ms."""
    both = [flash for flash in flashes if clicks and clicks[0] - 0.2 < flash < clicks[-1] + 0.2]
    return [1e3 * (min(clicks, key=lambda click: abs(click - flash)) - flash) for flash in both]


def marks_of(data: bytes, format_name: str) -> tuple[list[float], list[float], str]:
    """Give the times of flashes and clicks in a file, and the codec of its sound."""
    pictures: list[tuple[float, float]] = []
    sounds: list[tuple[float, float]] = []
    with av.open(io.BytesIO(data), "r", format=format_name) as container:
        frames: Any = container.decode(*container.streams)
        for frame in frames:
            assert frame.time is not None
            if isinstance(frame, av.VideoFrame):
                pictures.append((frame.time, float(frame.to_ndarray(format="gray")[frame.height // 2 :].mean())))
            else:
                samples = np.abs(frame.to_ndarray()).max(axis=0)
                loud = samples[: len(samples) // 48 * 48].reshape(-1, 48).max(axis=1)
                sounds += [(frame.time + ms / 1e3, float(level)) for ms, level in enumerate(loud)]
        name = container.streams.audio[0].codec_context.name
    return _onsets(pictures, 128), _onsets(sounds, 0.1), name


class _OpusEar:
    """Decode Opus packets; how loud each millisecond is."""

    def __init__(self) -> None:
        self._decoder: Any = av.CodecContext.create("libopus", "r")
        self._decoder.sample_rate = RATE

    def levels(self, data: bytes) -> NDArray[np.float64]:
        loud = [
            np.abs(frame.to_ndarray().astype(np.float64)) / (32768 if frame.format.name.startswith("s16") else 1)
            for frame in self._decoder.decode(av.Packet(data))
        ]
        samples = np.concatenate([one.reshape(-1, 2).max(axis=1) if one.shape[0] == 1 else one[0] for one in loud])
        return np.asarray(samples[: len(samples) // 48 * 48].reshape(-1, 48).max(axis=1))


@dataclass
class Receiver:
    """Takes a connection's packets as they arrive: no jitter buffer stands between them and the measurement."""

    flashes: list[tuple[float, float]] = field(default_factory=list)
    """Arrival and brightness of each picture."""
    clicks: list[tuple[float, float]] = field(default_factory=list)
    """Time and loudness of each millisecond of sound, were it played as it arrives."""
    reported_flashes: list[tuple[float, float]] = field(default_factory=list)
    """As `flashes`, on the wall clock of the reports: by these a browser puts sound and picture in step."""
    reported_clicks: list[tuple[float, float]] = field(default_factory=list)
    num_sounds: int = 0
    payload_bytes: list[bytes] = field(default_factory=list)

    def attach(self, peer: RTCPeerConnection) -> None:
        """Take over the receivers of `peer`, before it connects."""
        for transceiver in peer.getTransceivers():
            if transceiver.kind == "video":
                # Stock aiortc reports a picture's time after encoding it, and takes long for that: ours is quick.
                install_encoder(transceiver.sender, make_encoder("VP8"))
            if transceiver.kind == "video":
                _Flashes(self, transceiver.receiver)
            else:
                _Sounds(self, transceiver.receiver)

    def arrival_offsets_ms(self) -> list[float]:
        return offsets_ms(_onsets(self.flashes, 128), _onsets(self.clicks, 0.1))

    def reported_offsets_ms(self) -> list[float]:
        return offsets_ms(_onsets(self.reported_flashes, 128), _onsets(self.reported_clicks, 0.1))


def _onsets(pairs: list[tuple[float, float]], threshold: float) -> list[float]:
    times, levels = np.array(sorted(pairs)).reshape(-1, 2).T
    return onsets(times, levels, threshold)


class _Timeline:
    """RTP timestamps on the wall clock of the sender's newest reports."""

    def __init__(self, rate: int, receiver: Any) -> None:
        self._rate = rate
        self._timestamps = Unwrapper(32)
        self._origins: list[float] = []
        install_sender_reports(receiver, self._report)

    def _report(self, ntp_timestamp: int, timestamp: int) -> None:
        if not ntp_timestamp:
            return  # Nothing has been sent.
        self._origins.append(ntp_timestamp / (1 << 32) - self._timestamps.peek(timestamp) / self._rate)

    def wall_s(self, timestamp: int) -> float | None:
        at = self._timestamps.unwrap(timestamp) / self._rate
        return at + float(np.median(self._origins[-20:])) if len(self._origins) > 1 else None


class _Flashes:
    def __init__(self, ears: Receiver, receiver: Any) -> None:
        self._ears = ears
        self._timeline = _Timeline(90_000, receiver)
        Pictures(receiver, self._see)

    def _see(self, at_s: float, timestamp: int, picture: av.VideoFrame) -> None:
        bright = float(picture.to_ndarray(format="gray")[picture.height // 2 :].mean())
        self._ears.flashes.append((at_s, bright))
        wall_s = self._timeline.wall_s(timestamp % (1 << 32))
        if wall_s is not None:
            self._ears.reported_flashes.append((wall_s, bright))


class _Sounds:
    def __init__(self, ears: Receiver, receiver: Any) -> None:
        self._ears = ears
        self._opus = _OpusEar()
        self._timeline = _Timeline(RATE, receiver)
        install_packet_sink(receiver, self)

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        now_s = time.monotonic()
        self._ears.num_sounds += 1
        self._ears.payload_bytes.append(payload_of(packet))
        wall_s = self._timeline.wall_s(packet.timestamp)
        for ms, level in enumerate(self._opus.levels(payload_of(packet))):
            self._ears.clicks.append((now_s + ms / 1e3, float(level)))
            if wall_s is not None:
                self._ears.reported_clicks.append((wall_s + ms / 1e3, float(level)))
        return False, None
