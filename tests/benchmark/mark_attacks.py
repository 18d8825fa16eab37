"""What happens to video on its way: encoders, scaling, cropping, recorded screens. Pictures in, decoded frames out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from aiortc.codecs import depayload
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from numpy.typing import NDArray

from reenact.video import QUALITY_CRF
from streamer.codecs import VideoDecoder, make_encoder
from streamer.packets import VIDEO_TIME_BASE

Image = NDArray[np.uint8]
Shown = tuple[float, Image]
"""Time in seconds, and the picture `[H, W, 3]` uint8 RGB."""
Decoded = tuple[float, av.VideoFrame]

LOW_BPS = 300_000
SCREEN = (1280, 720)
SCREEN_BPS = 1_500_000
SHARE_CUT = 0.1
"""Of width and of height."""
SHARE_LOST = 0.3


@dataclass(frozen=True, slots=True)
class Attack:
    """One way of treating a video."""

    name: str
    run: Callable[[Sequence[Shown]], Iterator[Decoded]]
    is_promised: bool = True
    """Whether the mark is held to survive it; others show where it ends."""


def live(shown: Sequence[Shown], codec: str, bitrate_bps: int = 0) -> Iterator[Decoded]:
    """Send through the live encoder of this program (0: at its usual bitrate) and the decoder of the other end."""
    encoder, decoder = make_encoder(codec, bitrate_bps=bitrate_bps), VideoDecoder(codec)
    described = RTCRtpCodecParameters(mimeType=f"video/{codec}", clockRate=90_000, payloadType=100)
    for time_s, picture in shown:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts, frame.time_base = round(time_s * 90_000), VIDEO_TIME_BASE
        data = b"".join(depayload(described, payload) for payload in encoder.encode(frame)[0])
        for decoded in decoder.decode(data, frame.pts, VIDEO_TIME_BASE) if data else ():
            yield time_s, decoded


def filed(shown: Sequence[Shown], *, bitrate_bps: int = 0, crf: int = 23, preset: str = "medium") -> Iterator[Decoded]:
    """Encode to H.264 as a file is, at a bitrate or, without one, at a quality; and decode."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width = (side & ~1 for side in shown[0][1].shape[:2])
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 90_000), Fraction(30)
    encoder.options = {"preset": preset, "threads": "1"} | ({} if bitrate_bps else {"crf": str(crf)})
    if bitrate_bps:
        encoder.bit_rate = bitrate_bps
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1

    def decoded(packets: Sequence[Any]) -> Iterator[Decoded]:
        for packet in packets:
            for frame in decoder.decode(packet):
                assert isinstance(frame, av.VideoFrame)
                assert frame.pts is not None
                yield frame.pts / 90_000, frame

    for time_s, picture in shown:
        even = picture[: encoder.height, : encoder.width]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = round(time_s * 90_000), Fraction(1, 90_000)
        yield from decoded(encoder.encode(frame))
    yield from decoded([*encoder.encode(None), None])


def seen(decoded: Iterator[Decoded]) -> list[Shown]:
    """Turn decoded frames into pictures, as a player does."""
    return [(time_s, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)) for time_s, frame in decoded]


def scaled(shown: Sequence[Shown], width: int, height: int) -> list[Shown]:
    """Scale every picture."""
    smaller = width < shown[0][1].shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return [
        (time_s, np.asarray(cv2.resize(picture, (width, height), interpolation=way), np.uint8))
        for time_s, picture in shown
    ]


def halved(shown: Sequence[Shown]) -> list[Shown]:
    """Scale to half the width and height."""
    height, width = shown[0][1].shape[:2]
    return scaled(shown, width // 2, height // 2)


def cut(shown: Sequence[Shown]) -> list[Shown]:
    """Cut a tenth of width and of height off, more of it on the left and at the bottom."""
    height, width = shown[0][1].shape[:2]
    left, top = round(0.7 * SHARE_CUT * width), round(0.2 * SHARE_CUT * height)
    right, bottom = left + round((1 - SHARE_CUT) * width), top + round((1 - SHARE_CUT) * height)
    return [(time_s, picture[top:bottom, left:right]) for time_s, picture in shown]


def thinned(shown: Sequence[Shown]) -> list[Shown]:
    """Lose frames at random."""
    kept = np.random.default_rng(7).random(len(shown)) >= SHARE_LOST
    return [item for item, is_kept in zip(shown, kept, strict=True) if is_kept]


def greyed(shown: Sequence[Shown]) -> list[Shown]:
    """Take the colour out."""
    return [
        (time_s, np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.uint8))
        for time_s, picture in shown
    ]


def screen(shown: Sequence[Shown]) -> list[Shown]:
    """Show the video in a page and record the screen: scaled, moved, surrounded, on another clock, with late frames."""
    width, height = SCREEN
    side = round(0.83 * height) if shown[0][1].shape[0] > 300 else round(0.55 * height)
    left, top = width // 3, height // 11
    page = np.full((height, width, 3), 243, np.uint8)
    page[:, : width // 5] = (32, 36, 44)
    cv2.putText(page, "A page about something else", (300, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (20, 20, 20), 2)
    random = np.random.default_rng(11)
    recorded, index = [], 0
    # A recorder takes what is on the screen when its own clock ticks, a few milliseconds early or late.
    for tick in np.arange(shown[0][0], shown[-1][0], 1 / 29.97):
        while index + 1 < len(shown) and shown[index + 1][0] <= tick + random.normal(0.0, 0.004):
            index += 1
        picture = page.copy()
        picture[top : top + side, left : left + side] = cv2.resize(
            shown[index][1], (side, side), interpolation=cv2.INTER_LINEAR
        )
        recorded.append((float(tick), picture))
    return recorded


ATTACKS = (
    Attack("offline render, H.264", lambda shown: filed(shown, crf=QUALITY_CRF)),
    Attack("VP8, 300 kb/s, live", lambda shown: live(shown, "VP8", LOW_BPS)),
    Attack("H.264, 300 kb/s, live", lambda shown: live(shown, "H264", LOW_BPS)),
    Attack("H.264, 300 kb/s, file", lambda shown: filed(shown, bitrate_bps=LOW_BPS)),
    Attack(
        "live, then half size, H.264, 300 kb/s",
        lambda shown: filed(halved(seen(live(shown, "VP8"))), bitrate_bps=LOW_BPS),
    ),
    Attack("half size, VP8, 300 kb/s, live", lambda shown: live(halved(shown), "VP8", LOW_BPS)),
    Attack(
        "live, then 10 % crop, H.264, 300 kb/s",
        lambda shown: filed(cut(seen(live(shown, "VP8"))), bitrate_bps=LOW_BPS),
    ),
    Attack("10 % crop, VP8, 300 kb/s, live", lambda shown: live(cut(shown), "VP8", LOW_BPS)),
    Attack(
        "live, then recorded screen, H.264",
        lambda shown: filed(screen(seen(live(shown, "VP8"))), bitrate_bps=SCREEN_BPS, preset="veryfast"),
    ),
    Attack("live, 30 % of frames lost", lambda shown: live(thinned(shown), "VP8")),
    Attack(
        "live, then half size, H.264, crf 23", lambda shown: filed(halved(seen(live(shown, "VP8")))), is_promised=False
    ),
    Attack(
        "live, then without colour, H.264, crf 23",
        lambda shown: filed(greyed(seen(live(shown, "VP8")))),
        is_promised=False,
    ),
)
