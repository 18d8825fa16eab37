"""An aiortc page: a camera with the frame number drawn into its pixels, and a viewer that reads it back."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from numpy.typing import NDArray

from tests.impairment import ImpairingRelay

BITS = 16
CELL = 16


def draw_number(image: NDArray[np.uint8], number: int) -> None:
    """Write `number` as black and white cells into the upper left corner."""
    for bit in range(BITS):
        row, column = divmod(bit, 8)
        image[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = 255 * (number >> bit & 1)


def read_number(image: NDArray[Any]) -> int:
    """Read the number that `draw_number` wrote, through a lossy codec."""
    number = 0
    for bit in range(BITS):
        row, column = divmod(bit, 8)
        cell = image[row * CELL + 4 : (row + 1) * CELL - 4, column * CELL + 4 : (column + 1) * CELL - 4]
        number |= int(cell.mean() > 127) << bit
    return number


class NumberedCamera(MediaStreamTrack):
    """A camera at `fps` whose frame `n` shows the number `n`."""

    kind = "video"

    def __init__(self, fps: float = 30.0, size: tuple[int, int] = (320, 240), num_frames: int | None = None) -> None:
        super().__init__()
        self.fps = fps
        self.size = size
        self.num_frames = num_frames
        self.number = 0
        self.sent_s: dict[int, float] = {}
        self._start_s: float | None = None

    def draw(self) -> NDArray[np.uint8]:
        """Return the next frame, `[H, W, 3]` RGB."""
        image = np.full((self.size[1], self.size[0], 3), 96, np.uint8)
        draw_number(image, self.number)
        return image

    async def recv(self) -> av.VideoFrame:
        if self.readyState != "live" or self.number == self.num_frames:
            await asyncio.sleep(3600)
            raise MediaStreamError
        if self._start_s is None:
            self._start_s = time.monotonic()
        await asyncio.sleep(max(0.0, self._start_s + self.number / self.fps - time.monotonic()))
        frame = av.VideoFrame.from_ndarray(self.draw(), format="rgb24")
        frame.pts = round(self.number * 90_000 / self.fps)
        frame.time_base = Fraction(1, 90_000)
        self.sent_s[self.number] = time.monotonic()
        self.number += 1
        return frame


@dataclass
class Seen:
    """One frame of the output."""

    number: int
    pts: int
    at_s: float
    shape: tuple[int, ...]


@dataclass
class Page:
    """What a page holds: its connection, its camera, what it saw and was told."""

    peer: RTCPeerConnection
    camera: NumberedCamera
    seen: list[Seen] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    location: str = ""
    channel: Any = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, condition: Any, timeout_s: float = 10.0) -> None:
        """Wait until `condition()` holds, looking after every frame and message."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]

    def send(self, **message: Any) -> None:
        self.channel.send(json.dumps(message))

    async def watch(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, av.VideoFrame)
            assert frame.pts is not None
            image = frame.to_ndarray(format="rgb24")
            self.seen.append(Seen(read_number(image), frame.pts, time.monotonic(), image.shape))
            self._changed.set()

    def hear(self, message: str) -> None:
        self.messages.append(json.loads(message))
        self._changed.set()


async def offer_of(page: Page) -> str:
    """Return the page's SDP offer with all candidates."""
    await page.peer.setLocalDescription(await page.peer.createOffer())
    return str(page.peer.localDescription.sdp)


def make_page(
    camera: NumberedCamera,
    *,
    codec: str | None = None,
    has_output: bool = True,
    microphone: MediaStreamTrack | None = None,
) -> Page:
    """Make a page that has not connected."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    page = Page(peer, camera)
    transceiver = peer.addTransceiver(camera, direction="sendrecv" if has_output else "sendonly")
    if codec is not None:
        from aiortc import RTCRtpSender

        wanted = [c for c in RTCRtpSender.getCapabilities("video").codecs if c.mimeType in (codec, "video/rtx")]
        transceiver.setCodecPreferences(wanted)
    if microphone is not None:
        peer.addTransceiver(microphone, direction="sendrecv" if has_output else "sendonly")
    page.channel = peer.createDataChannel("control")
    page.channel.on("message", page.hear)
    return page


@asynccontextmanager
async def connected(
    server: TestServer | str,
    camera: NumberedCamera,
    *,
    query: str = "",
    codec: str | None = None,
    has_output: bool = True,
    microphone: MediaStreamTrack | None = None,
    on_made: Callable[[Page], None] = lambda _: None,
    relay: ImpairingRelay | None = None,
) -> AsyncIterator[Page]:
    """Open a session and close it at the end, as a page does; `on_made` may change the page before it connects, and
    its media goes through `relay`.
    """
    page = make_page(camera, codec=codec, has_output=has_output, microphone=microphone)
    on_made(page)
    watchers: list[asyncio.Task[None]] = []

    def on_track(track: MediaStreamTrack) -> None:
        if track.kind == "video":
            watchers.append(asyncio.create_task(page.watch(track), name="watch-output"))

    page.peer.on("track", on_track)
    try:
        async with ClientSession() as http:
            url = f"{server.rstrip('/') if isinstance(server, str) else server.make_url('')}/whip{query}"
            headers = {"Content-Type": "application/sdp"}
            offer = await offer_of(page)
            if relay is not None:
                offer = relay.rewrite_offer(offer)
            response = await http.post(url, data=offer, headers=headers)
            assert response.status == 201, await response.text()
            page.location = response.headers["Location"]
            answer = await response.text()
            if relay is not None:
                answer = relay.rewrite_answer(answer)
        await page.peer.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
        yield page
    finally:
        await page.peer.close()
        for watcher in watchers:
            watcher.cancel()


@dataclass
class Viewer:
    """A WHEP viewer made of aiortc: what it saw."""

    peer: RTCPeerConnection
    seen: list[Seen] = field(default_factory=list)
    location: str = ""
    answer: str = ""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, condition: Any, timeout_s: float = 10.0) -> None:
        """Wait until `condition()` holds, looking after every frame."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def watch(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            assert isinstance(frame, av.VideoFrame)
            assert frame.pts is not None
            image = frame.to_ndarray(format="rgb24")
            self.seen.append(Seen(read_number(image), frame.pts, time.monotonic(), image.shape))
            self._changed.set()


@asynccontextmanager
async def viewing(
    server: TestServer,
    session: str = "live",
    *,
    codec: str | None = None,
    has_sound: bool = False,
    hides_addresses: bool = False,
    on_made: Callable[[Viewer], None] = lambda _: None,
) -> AsyncIterator[Viewer]:
    """Watch a session, and leave at the end; `on_made` may change the viewer before it connects.

    `hides_addresses` gives names of the local network for them, as pages do that may use no camera.
    """
    viewer = Viewer(RTCPeerConnection(RTCConfiguration(iceServers=[])))
    watchers: list[asyncio.Task[None]] = []

    def on_track(track: MediaStreamTrack) -> None:
        if track.kind == "video":
            watchers.append(asyncio.create_task(viewer.watch(track), name="view"))

    viewer.peer.on("track", on_track)
    transceiver = viewer.peer.addTransceiver("video", direction="recvonly")
    if has_sound:
        viewer.peer.addTransceiver("audio", direction="recvonly")
    on_made(viewer)
    if codec is not None:
        from aiortc import RTCRtpSender

        wanted = [c for c in RTCRtpSender.getCapabilities("video").codecs if c.mimeType in (codec, "video/rtx")]
        transceiver.setCodecPreferences(wanted)
    try:
        await viewer.peer.setLocalDescription(await viewer.peer.createOffer())
        offer = str(viewer.peer.localDescription.sdp)
        if hides_addresses:
            offer = re.sub(r"(?m)^(a=candidate:\S+ \d \S+ \d+) \S+", rf"\1 {uuid.uuid4()}.local", offer)
        async with ClientSession() as http:
            response = await http.post(
                server.make_url(f"/whep/{session}"),
                data=offer,
                headers={"Content-Type": "application/sdp"},
            )
            viewer.answer = await response.text()
            assert response.status == 201, viewer.answer
            viewer.location = response.headers["Location"]
            await viewer.peer.setRemoteDescription(RTCSessionDescription(sdp=viewer.answer, type="answer"))
            yield viewer
            await http.delete(server.make_url(viewer.location))
    finally:
        await viewer.peer.close()
        for watcher in watchers:
            watcher.cancel()
