"""What travels through the pipeline. Every packet carries `seq`, `pts`, `time_base` and `captured_ns` to the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import av

VIDEO_TIME_BASE = Fraction(1, 90_000)
"""Time base of RTP video."""
SOUND_TIME_BASE = Fraction(1, 48_000)
"""Time base of Opus in RTP, whatever its bandwidth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedFrame:
    """One frame as it came off the network, complete but not decoded."""

    seq: int
    """Count of frames released by the jitter buffer, from 0."""
    pts: int
    """Presentation time in `time_base`, 0 at the session's first frame; RTP wrap-around undone."""
    time_base: Fraction
    captured_ns: int
    """`Clock` time at which the frame's first packet arrived here."""
    complete_ns: int = 0
    """`Clock` time at which it was complete and its turn."""
    sent_ns: int | None = None
    """When its first packet left the source, on our `Clock`, as `streamer.send_clock` has it; None if nothing tells."""
    rtp_timestamp: int = 0
    """The source's RTP timestamp, 32 bits, as it came."""
    codec: str
    """`VP8` or `H264`."""
    data: bytes
    """The codec's bitstream (Annex B for H.264)."""
    is_key: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFrame:
    """One decoded picture of the source actor."""

    seq: int
    pts: int
    time_base: Fraction
    captured_ns: int
    decoded_ns: int
    """`Clock` time at which decoding ended; the wait for the inference thread starts here."""
    decode_ms: float
    complete_ns: int = 0
    sent_ns: int | None = None
    rtp_timestamp: int = 0
    """These three as in `EncodedFrame`."""
    picture: av.VideoFrame
    """Still in the decoder's pixel format: frames that are displaced are never converted."""

    @property
    def time_s(self) -> float:
        """Presentation time in seconds."""
        return float(self.pts * self.time_base)


@dataclass(frozen=True, kw_only=True, slots=True)
class Journey:
    """What a frame's way through the server took, from packet in to picture made."""

    rtp_timestamp: int
    """The source's RTP timestamp, 32 bits."""
    sent_ns: int | None
    """When its first packet left the source, on our `Clock`."""
    complete_ns: int
    """When it had arrived whole."""
    decode_ms: float
    convert_ms: float
    """The way to RGB, which the inference thread begins with."""
    taken_ns: int
    """When the inference thread took it up."""
    waited_ms: float = 0.0
    """What it waited for the painter, once it was looked at."""
    stages_ms: Mapping[str, float]
    """Time in each stage of the inference thread and its painter."""
    made_ns: int
    """When the target's picture was done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetFrame:
    """One picture of the target actor, made from the source frame of the same `seq`."""

    seq: int
    pts: int
    time_base: Fraction
    captured_ns: int
    journey: Journey | None = None
    """How it came to be; None where nobody was watching."""
    picture: av.VideoFrame
    """RGB; its `pts` and `time_base` are the packet's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedFrame:
    """One target frame encoded once, for everybody who takes the same rendition."""

    seq: int
    pts: int
    time_base: Fraction
    captured_ns: int
    data: bytes
    """The codec's bitstream, or a piece of a container."""
    payloads: tuple[bytes, ...]
    """The same as RTP payloads; empty in a container."""
    is_key: bool
    """Somebody who has seen nothing yet can begin here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundPacket:
    """One Opus packet of the source: it goes on as it came, neither decoded nor encoded anew."""

    seq: int
    """RTP sequence number, wrap-around undone."""
    pts: int
    """When it begins on the pictures' timeline, in `time_base`: 0 at the session's first frame."""
    time_base: Fraction
    captured_ns: int
    """`Clock` time at which it arrived here."""
    timestamp: int
    """When it begins on its sender's own clock, in `time_base`, wrap-around undone."""
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class FaceState:
    """What the tracker said of the newest frame, for the page."""

    face: str = "absent"
    """`tracked`, `holding`, `easing` or `absent`."""
    num_faces: int = 0
    confidence: float = 0.0
    """0..1."""
    is_calibrating: bool = False
    coverage: Mapping[str, float] | None = None
    """During enrolment, how much of each aim was seen, 0 to 1."""
