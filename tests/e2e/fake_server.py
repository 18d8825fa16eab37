"""A small stand-in for the server: the whole protocol between server and page, over a plain echo of the camera.

It lets the page be tested alone, and be told things that a healthy server seldom says: full, refusing, silent, gone.
"""

from __future__ import annotations

import asyncio
import io
import json
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from aiohttp import web
from aiortc import MediaStreamTrack, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.sdp import candidate_from_sdp
from av import VideoFrame
from PIL import Image

from reenact.consent import Consent
from reenact.face_change import LIMITS

WEB = Path(__file__).resolve().parents[2] / "web"
RESOLUTION = 256
# As strict as a site may set it: the page must need nothing inline and nothing from elsewhere.
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'"

SETTINGS: list[dict[str, Any]] = [
    {
        "key": "tracker",
        "value": "auto",
        "minimum": None,
        "maximum": None,
        "unit": "",
        "text": "What reads your face.",
        "choices": ["auto", "landmarks", "regressor"],
    },
    {
        "key": "smoothing.min_cutoff_hz",
        "value": 1.5,
        "minimum": 0.1,
        "maximum": 10.0,
        "unit": "Hz",
        "text": "Cut-off at rest: lower is steadier, higher follows small motion sooner.",
    },
    {
        "key": "smoothing.beta",
        "value": 0.5,
        "minimum": 0.0,
        "maximum": 5.0,
        "unit": "",
        "text": "How much the cut-off opens with speed: higher means less lag in fast motion.",
    },
    *(
        {
            "key": f"transfer.{group}_gain",
            "value": 1.0,
            "minimum": 0.0,
            "maximum": 2.0,
            "unit": "",
            "text": f"How much of your {words} reaches the target; 1 is as you move.",
        }
        for group, words in {
            "rotation": "head rotation",
            "translation": "head position",
            "mouth": "mouth and jaw",
            "brows": "brows",
            "eyes": "blinks and lids",
            "gaze": "gaze",
        }.items()
    ),
    {
        "key": "transfer.is_mirrored",
        "value": False,
        "minimum": None,
        "maximum": None,
        "unit": "",
        "text": "Move as your mirror image does, left for right.",
    },
    *(
        {"key": f"disclosure.{name}", "value": value, "minimum": None, "maximum": None, "unit": "", "text": text} | more
        for name, value, text, more in (
            ("reason", "", "Why the label is switched off.", {}),
            ("is_shown", True, "Say on the picture that it is generated.", {}),
            ("place", "bottom left", "Corner of the label.", {"choices": ["bottom left", "top right"]}),
            ("words", "AI-generated", "What the label says.", {}),
        )
    ),
]
SETTINGS += [
    {
        "key": "media.frame_rate",
        "value": 60,
        "minimum": 5,
        "maximum": 60,
        "unit": "fps",
        "text": "Frames a second at most.",
        "is_whole": True,
    },
    {
        "key": "governor.target_ms",
        "value": 150.0,
        "minimum": 30.0,
        "maximum": 1000.0,
        "unit": "ms",
        "text": "Delay to keep below.",
    },
    {
        "key": "media.codec",
        "value": "auto",
        "minimum": None,
        "maximum": None,
        "unit": "",
        "text": "Codec of both directions.",
        "choices": ["auto", "vp8", "h264"],
    },
]
PRESETS: list[dict[str, Any]] = [
    {"name": "fastest", "text": "Least delay.", "values": {"smoothing.beta": 4.0, "governor.target_ms": 80.0}},
    {"name": "balanced", "text": "For most.", "values": {"smoothing.beta": 0.5, "governor.target_ms": 150.0}},
]
STAGES_MS = {
    "decode": 0.8,
    "queue": 0.4,
    "track": 4.6,
    "transfer": 0.3,
    "render": 1.1,
    "generate": 6.2,
    "mark": 0.1,
    "encode": 2.1,
}
ACTORS: list[dict[str, Any]] = [
    {
        "name": name,
        "title": title,
        "resolution": RESOLUTION,
        "frame_rate": 30.0,
        "license": "CC0-1.0",
        "consent": {**Consent.of_nobody("A synthetic person: nobody's face.").to_json(), "signer": ""},
        "preview": f"/api/actors/{name}/preview.webp",
    }
    for name, title in {"milo": "Milo", "mara": "Mara"}.items()
]


class Echo(MediaStreamTrack):
    """The camera's own picture, cut square: enough to see frames come back."""

    kind = "video"

    def __init__(self, source: MediaStreamTrack, server: FakeServer) -> None:
        super().__init__()
        self._source = source
        self._server = server

    async def recv(self) -> VideoFrame:
        """Wait for the next frame; for ever while the server is told to stall."""
        while True:
            try:
                frame = await self._source.recv()
            except MediaStreamError:
                # A camera that stops ends the echo, as a session's output ends.
                self.stop()
                raise
            assert isinstance(frame, VideoFrame)
            if not self._server.is_stalled and not self._server.is_preparing:
                break
        side = min(frame.width, frame.height)
        pixels = frame.to_ndarray(format="rgb24")
        left = (frame.width - side) // 2
        square = np.ascontiguousarray(pixels[:side, left : left + side])
        answer = VideoFrame.from_ndarray(square, format="rgb24").reformat(RESOLUTION, RESOLUTION, format="yuv420p")
        answer.pts, answer.time_base = frame.pts, frame.time_base
        return answer


class FakeServer:
    """Serves the page on a free port of localhost, in a thread of its own.

    What it says is set by plain attributes; what it was told is kept in plain lists. Use as a context manager.
    """

    def __init__(self, picture: bytes | None = None) -> None:
        self.port = 0
        self.refusal: tuple[int, str, str, dict[str, str]] | None = None
        """Answer of the next `POST /whip`: status, code, sentence, headers."""
        self.face = "tracked"
        self.num_faces = 1
        self.tracker = "landmarks"
        self.calibration_s = 1.0
        self.is_stalled = False
        self.is_preparing = False
        """Says that it loads a target, and sends neither greeting nor picture meanwhile."""
        self.limits = {"frame_rate": 60, "source_px": 1280, "jitter_ms": 0}
        self.governor = {"is_on": True, "step": 0, "text": ""}
        self.is_silent = False
        """Sends nothing over the data channel any more."""
        self.messages: list[dict[str, Any]] = []
        self.offers: list[str] = []
        self.fragments: list[str] = []
        self.deleted: list[str] = []
        self._picture = picture or _gradient()
        self._peers: dict[str, RTCPeerConnection] = {}
        self._channels: dict[str, RTCDataChannel] = {}
        self._settings: dict[str, dict[str, Any]] = {}
        self._actors: dict[str, str] = {}
        self._calibrating_until = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: web.AppRunner | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/"

    @property
    def sessions(self) -> list[str]:
        """Ids of the sessions that stand."""
        return list(self._peers)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-server", daemon=True)
        self._thread.start()
        self._call(self._listen)

    def stop(self, *, says_bye: bool = False) -> None:
        """Go away: close every connection and the port; without a word unless `says_bye`."""
        if self._loop is None:
            return
        if says_bye:
            self.say({"type": "bye", "reason": "shutdown"})
        self._call(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        assert self._thread is not None
        self._thread.join()
        self._loop.close()
        self._loop = None

    def say(self, message: dict[str, Any]) -> None:
        """Send `message` to every session; `bye` ends them, as the server's own does."""

        async def send() -> None:
            for channel in self._channels.values():
                channel.send(json.dumps(message))
            await asyncio.sleep(0.05)
            if message["type"] == "bye":
                await self._end_sessions()

        self._call(send)

    def show_mesh(self, *points: tuple[float, float]) -> None:
        """Send a mesh of `points`, shares of the frame, to every session."""

        async def send() -> None:
            shares = np.round(np.array(points).reshape(-1, 2) * 16384).astype("<i2")
            for channel in self._channels.values():
                channel.send(struct.pack("<cBH", b"M", 1, len(points)) + shares.tobytes())
            await asyncio.sleep(0.05)

        self._call(send)

    def hang_up(self) -> None:
        """Close every connection; the port stays open."""

        async def close() -> None:
            # A page may take its session back (DELETE) between two of them.
            for peer in list(self._peers.values()):
                await peer.close()

        self._call(close)

    def _call(self, work: Callable[[], Any]) -> None:
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(work(), self._loop).result(10)

    async def _listen(self) -> None:
        app = web.Application(middlewares=[_strict])
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/edit", self._editor),
                web.static("/web", WEB),
                web.get("/healthz", self._health),
                web.get("/api/actors", self._list_actors),
                web.get("/api/actors/{name}/preview.webp", self._preview),
                web.get("/api/settings", self._list_settings),
                web.get("/api/mesh", self._list_edges),
                web.get("/api/numbers", self._list_numbers),
                web.get("/api/ice", self._list_servers),
                web.get("/api/jobs", self._list_jobs),
                web.post("/whip", self._publish),
                web.patch("/whip/{session}", self._trickle),
                web.delete("/whip/{session}", self._delete),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "localhost", self.port, reuse_address=True)
        await site.start()
        # "localhost" may be two addresses; Chromium tries both, so one port on the first is enough to know.
        self.port = self._runner.addresses[0][1]

    async def _end_sessions(self) -> None:
        await asyncio.gather(*(peer.close() for peer in self._peers.values()))
        self._peers.clear()
        self._channels.clear()

    async def _close(self) -> None:
        await self._end_sessions()
        if self._runner:
            await self._runner.cleanup()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _page(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(WEB / "index.html")

    async def _editor(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(WEB / "edit.html")

    async def _list_numbers(self, request: web.Request) -> web.Response:
        return web.json_response({"limits": LIMITS})

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "version": "fake", "uptime_s": 1.0, "sessions": len(self._peers)})

    async def _list_actors(self, request: web.Request) -> web.Response:
        return web.json_response({"actors": ACTORS, "default": "milo"})

    async def _preview(self, request: web.Request) -> web.Response:
        return web.Response(body=self._picture, content_type="image/webp")

    async def _list_jobs(self, _: web.Request) -> web.Response:
        return web.json_response({"is_allowed": False, "jobs": []})

    async def _list_servers(self, _: web.Request) -> web.Response:
        return web.json_response({"ice_servers": []})

    async def _list_settings(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"settings": [{"default": row["value"], "choices": [], **row} for row in SETTINGS], "presets": PRESETS}
        )

    async def _list_edges(self, request: web.Request) -> web.Response:
        return web.json_response({"edges": [[0, 1], [1, 2], [2, 3], [0, 3], [0, 2]]})

    async def _publish(self, request: web.Request) -> web.Response:
        offer = await request.text()
        self.offers.append(offer)
        if self.refusal:
            status, code, message, headers = self.refusal
            return web.json_response({"error": {"code": code, "message": message}}, status=status, headers=headers)
        name = request.query.get("actor", "milo")
        if name not in {actor["name"] for actor in ACTORS}:
            return _error(404, "unknown_actor", f"There is no actor {name!r}.")
        session = f"s{len(self.offers)}"
        peer = RTCPeerConnection()
        self._peers[session] = peer
        self._actors[session] = name
        self._settings[session] = {row["key"]: row["value"] for row in SETTINGS}

        @peer.on("track")
        def on_track(track: MediaStreamTrack) -> None:
            if track.kind == "video":  # sound is left unanswered
                peer.addTrack(Echo(track, self))

        @peer.on("datachannel")
        def on_channel(channel: RTCDataChannel) -> None:
            self._channels[session] = channel
            channel.on("message", lambda text: self._on_message(session, channel, json.loads(text)))
            task = asyncio.create_task(self._talk(session, channel), name=f"talk {session}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        await peer.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        headers = {"Location": f"/whip/{session}", "ETag": f'"{session}"'}
        return web.Response(status=201, text=peer.localDescription.sdp, content_type="application/sdp", headers=headers)

    async def _trickle(self, request: web.Request) -> web.Response:
        fragment = await request.text()
        self.fragments.append(fragment)
        peer = self._peers.get(request.match_info["session"])
        if peer is None:
            return _error(404, "not_found", "There is no such session.")
        mid = ""
        for line in fragment.splitlines():
            if line.startswith("a=mid:"):
                mid = line.removeprefix("a=mid:")
            if line.startswith("a=candidate:"):
                candidate = candidate_from_sdp(line.removeprefix("a=candidate:"))
                candidate.sdpMid = mid
                await peer.addIceCandidate(candidate)
        return web.Response(status=204)

    async def _delete(self, request: web.Request) -> web.Response:
        session = request.match_info["session"]
        self.deleted.append(session)
        peer = self._peers.pop(session, None)
        self._channels.pop(session, None)
        if peer is None:
            return _error(404, "not_found", "There is no such session.")
        await peer.close()
        return web.Response()

    async def _talk(self, session: str, channel: RTCDataChannel) -> None:
        """Say hello, then the statistics, as often as the server does."""
        hello = {
            "type": "hello",
            "session": session,
            "actor": self._actors[session],
            "engine": "echo",
            "engine_reason": "No network runs here: the fake server sends the camera back.",
            "tracker": self.tracker,
            "tracker_reason": "the only one of the fake server",
            "resolution": RESOLUTION,
            "settings": self._settings[session],
        }
        has_greeted = not self.is_preparing
        if has_greeted:
            channel.send(json.dumps(hello))
        tick = 0
        while channel.readyState == "open":
            await asyncio.sleep(0.25)
            wave = 1 + 0.15 * np.sin(tick / 7)
            tick += 1
            is_calibrating = asyncio.get_running_loop().time() < self._calibrating_until
            stats = {
                "type": "stats",
                "fps_in": 30.0,
                "fps_out": 29.8,
                "stages_ms": {key: round(value * float(wave), 2) for key, value in STAGES_MS.items()},
                "age_ms": {"p50": 14.8, "p95": 19.3},
                "dropped": {"ingest": tick // 40, "egress": 0},
                "face": self.face,
                "num_faces": self.num_faces,
                "confidence": 0.97,
                "is_calibrating": is_calibrating,
                "is_preparing": self.is_preparing,
                "limits": self.limits,
                "governor": self.governor,
            }
            if not self.is_silent and channel.readyState == "open":
                if not has_greeted and not self.is_preparing:
                    channel.send(json.dumps(hello))
                    has_greeted = True
                channel.send(json.dumps(stats))

    def _on_message(self, session: str, channel: RTCDataChannel, message: dict[str, Any]) -> None:
        if self.is_silent:
            return
        match message:
            case {"type": "ping", "t": sent_ms}:
                channel.send(json.dumps({"type": "pong", "t": sent_ms, "server_ms": 0.0}))
                return
            case {"type": "set", "key": "tracker", "value": "regressor"}:
                channel.send(json.dumps({"type": "settings", "settings": self._settings[session]}))
                sentence = "The tracker 'regressor' has no weights here."
                channel.send(json.dumps({"type": "error", "code": "bad_value", "message": sentence}))
            case {"type": "set", "key": key, "value": value}:
                self._settings[session][key] = value
                channel.send(json.dumps({"type": "settings", "settings": self._settings[session]}))
            case {"type": "calibrate"}:
                self._calibrating_until = asyncio.get_running_loop().time() + self.calibration_s
            case {"type": "actor", "name": "mara"}:
                sentence = "Mara was refused: generator.safetensors is damaged."
                channel.send(json.dumps({"type": "error", "code": "actor_refused", "message": sentence}))
        self.messages.append(message)


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


def _gradient() -> bytes:
    """A preview without anybody in it, as WebP."""
    rows, columns = np.mgrid[0:RESOLUTION, 0:RESOLUTION]
    picture = np.stack([60 + rows // 4, 90 + columns // 5, 100 + rows // 6], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "webp")
    return file.getvalue()


@web.middleware
async def _strict(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    response: web.StreamResponse = await handler(request)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Cache-Control"] = "no-store"
    return response


if __name__ == "__main__":
    with FakeServer() as server:
        print(server.url, flush=True)
        threading.Event().wait()
