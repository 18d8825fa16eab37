"""How many frames a second the server keeps up for a minute, codecs included, and which share of the cores it takes.

The client is a process of its own and does as little as it can: its camera was encoded before it began, and of what
comes back it counts the packets' marker bits. What both took of the cores is the kernel's figure.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import av
from aiohttp import ClientSession
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs.base import Encoder
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtpPacket

from streamer.aiortc_adapter import install_encoder, install_packet_sink
from streamer.codecs import make_encoder
from streamer.packets import VIDEO_TIME_BASE
from tests.clips import clip_path, read_frames
from tests.e2e.live import serving

WARM_UP_S = 5.0
LOADED_S = 90.0
"""Time for the target to be loaded."""
KEY_EVERY = 60
"""Frames between key frames of the camera: it cannot be asked for one."""
TRACKED_S = 300.0
"""Time for a training's video to be tracked."""
SOURCE_SIZE = (640, 480)
MAX_FRAMES = 300


@dataclass
class Encoded:
    """One picture of the camera, encoded before."""

    payloads: list[bytes]
    pts: int


class _Packer(Encoder):
    def encode(self, frame: Any, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        raise NotImplementedError("the camera comes encoded")

    def pack(self, packet: Any) -> tuple[list[bytes], int]:
        return packet.payloads, packet.pts


class EncodedCamera(MediaStreamTrack):
    """A clip at any rate, to and fro."""

    kind = "video"

    def __init__(self, frames: list[list[bytes]], fps: float) -> None:
        super().__init__()
        self._frames = frames
        self._fps = fps
        self._number = 0
        self._start_s: float | None = None

    # aiortc's sender takes encoded pictures too, and gives them to the encoder's `pack`.
    async def recv(self) -> Any:
        if self.readyState != "live":
            raise MediaStreamError
        if self._start_s is None:
            self._start_s = time.monotonic()
        await asyncio.sleep(max(0.0, self._start_s + self._number / self._fps - time.monotonic()))
        frame = Encoded(self._frames[self._number % len(self._frames)], round(self._number * 90_000 / self._fps))
        self._number += 1
        return frame


def encode_clip(path: Path) -> list[list[bytes]]:
    """Encode a clip as VP8, forwards and then backwards, so that it begins where it ends."""
    images = [image for _, image in read_frames(path, limit=MAX_FRAMES // 2)]
    encoder = make_encoder("VP8", bitrate_bps=1_500_000)
    frames = []
    for number, image in enumerate([*images, *images[-2:0:-1]]):
        picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(*SOURCE_SIZE, "yuv420p")
        picture.pts, picture.time_base = number * 3000, VIDEO_TIME_BASE
        frames.append(encoder.encode(picture, number % KEY_EVERY == 0)[0])
    return frames


@dataclass
class Counter:
    """Counts the frames that come back."""

    arrivals_s: list[float] = field(default_factory=list)
    num_bytes: int = 0

    def add(self, packet: RtpPacket) -> tuple[bool, None]:
        """Take one packet; called by aiortc."""
        self.num_bytes += len(packet.payload)
        if packet.marker:
            self.arrivals_s.append(time.monotonic())
        return False, None


async def be_client(url: str, clip: Path, fps: float, seconds: float, server: int) -> dict[str, Any]:
    """Send the clip to a server and count what comes back."""
    frames = await asyncio.to_thread(encode_clip, clip)
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    transceiver = peer.addTransceiver(EncodedCamera(frames, fps), direction="sendrecv")
    counter = Counter()
    install_encoder(transceiver.sender, _Packer())
    install_packet_sink(transceiver.receiver, counter)
    told: list[dict[str, Any]] = []
    channel = peer.createDataChannel("control")
    channel.on("message", lambda text: told.append(json.loads(text)) if isinstance(text, str) else None)
    await peer.setLocalDescription(await peer.createOffer())
    async with ClientSession() as http:
        headers = {"Content-Type": "application/sdp"}
        async with http.post(f"{url}/whip", data=peer.localDescription.sdp, headers=headers) as response:
            assert response.status == 201, await response.text()
            answer = await response.text()
    assert "VP8" in answer
    await peer.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
    async with asyncio.timeout(LOADED_S):
        while not any(message["type"] == "hello" for message in told):  # noqa: ASYNC110 - once, before anything counts
            await asyncio.sleep(0.1)
    await asyncio.sleep(WARM_UP_S)
    before, server_before_s, start_s = resource.getrusage(resource.RUSAGE_SELF), cpu_s(server), time.monotonic()
    num_before, bytes_before, told_before = len(counter.arrivals_s), counter.num_bytes, len(told)
    await asyncio.sleep(seconds)
    after, span_s = resource.getrusage(resource.RUSAGE_SELF), time.monotonic() - start_s
    server_s = cpu_s(server) - server_before_s
    arrivals = counter.arrivals_s[num_before:]
    stats = [message for message in told[told_before:] if message["type"] == "stats"]
    hello = next(message for message in told if message["type"] == "hello")
    await peer.close()
    cores = os.cpu_count() or 1
    client_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "actor": hello["actor"],
        "engine": hello["engine"],
        "resolution": hello["resolution"],
        "fps_sent": fps,
        "seconds": round(span_s, 1),
        "fps": round(len(arrivals) / span_s, 2),
        "worst_second": min(_per_second(arrivals, start_s, int(seconds)), default=0),
        "longest_gap_ms": round(1e3 * max((b - a for a, b in itertools.pairwise(arrivals)), default=0), 1),
        "kbps": round(8e-3 * (counter.num_bytes - bytes_before) / span_s),
        "client_share": round(client_s / span_s / cores, 3),
        "server_share": round(server_s / span_s / cores, 3),
        "age_ms": {name: _median([one["age_ms"][name] for one in stats]) for name in ("p50", "p95")},
        "stages_ms": {name: _median([one["stages_ms"][name] for one in stats]) for name in stats[-1]["stages_ms"]},
        "dropped": stats[-1]["dropped"],
    }


def _per_second(arrivals: list[float], start_s: float, seconds: int) -> list[int]:
    return [sum(start_s + number <= at < start_s + number + 1 for at in arrivals) for number in range(seconds)]


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 2)


def cpu_s(pid: int) -> float:
    """Return what a process has taken of the cores until now, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def begin_training(address: str, video: Path) -> None:
    """Let the server train a target from `video`, and wait until it is at it."""
    about = {
        "title": "Nora", "person": "Nora Berg", "purpose": "a benchmark", "until": "2099-12-31",
        "statement": "I agree that this face is shown.",
    }  # fmt: skip
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/api/jobs", json.dumps(about).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        job = f"{address}/api/jobs/{json.load(answer)['id']}"
    urllib.request.urlopen(urllib.request.Request(f"{job}/video", video.read_bytes(), method="PUT")).close()
    until_s = time.monotonic() + TRACKED_S
    while time.monotonic() < until_s:
        with urllib.request.urlopen(job) as answer:
            entry = json.load(answer)
        progress = entry["progress"] or {}
        if progress.get("label") == "training" and progress.get("done"):
            return
        if entry["state"] not in ("queued", "training"):
            raise RuntimeError(f"the training is {entry['state']}: {entry}")
        time.sleep(1.0)
    raise RuntimeError(f"the training does not begin within {TRACKED_S:.0f} s: {entry}")


def measure_sustained(
    clip: Path, *, actor: str, fps: float, seconds: float, settings: tuple[str, ...] = (), training: Path | None = None
) -> dict[str, Any]:
    """Serve `actor` in one process to a client in another; `settings` as `a.b=c`.

    While the server has a target to train from the video `training`, if one is given.
    """
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        with (
            mock.patch.dict(os.environ, {"REENACT_DATA": str(data)} if training else {}),
            serving(Path(folder) / "server.log", "--actor", actor, settings=settings) as (address, process),
        ):
            if training is not None:
                begin_training(address, training)
            command = [sys.executable, "-m", "tests.benchmark.sustained", "--client", address, "--server", process.pid]
            command += ["--clip", clip, "--fps", fps, "--seconds", seconds]
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def describe(result: dict[str, Any]) -> str:
    """Put a result into lines for people."""
    stages = ", ".join(f"{name} {value:.1f}" for name, value in result["stages_ms"].items())
    return (
        f"{result['actor']} at {result['resolution']}, {result['engine']}, {result['fps_sent']:g} fps in, "
        f"{result['seconds']:.0f} s: {result['fps']:.1f} fps out (worst second {result['worst_second']}), "
        f"age p50 {result['age_ms']['p50']:.1f}, p95 {result['age_ms']['p95']:.1f} ms; of the cores the server took "
        f"{100 * result['server_share']:.0f} %, the client {100 * result['client_share']:.0f} %\n  stages, ms: {stages}"
    )


def main() -> int:
    """Run the command; give its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.sustained", description=__doc__)
    parser.add_argument("--actor", default="milo", help="name or folder of the target (default milo)")
    parser.add_argument("--fps", type=float, default=60.0, help="frames a second of the camera (default 60)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default 60)")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C", help="a setting of the server")
    parser.add_argument("--clip", type=Path, help="video of a face (default: one out of a registry)")
    parser.add_argument("--training", type=Path, help="while a target is being trained from this video")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--server", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    clip = args.clip or clip_path()
    if args.client:
        print(json.dumps(asyncio.run(be_client(args.client, clip, args.fps, args.seconds, args.server))))
        return 0
    result = measure_sustained(
        clip, actor=args.actor, fps=args.fps, seconds=args.seconds, settings=tuple(args.set), training=args.training
    )
    print(describe(result))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
