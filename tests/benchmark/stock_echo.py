"""What every part is measured against: aiortc as it comes, giving a page its own camera back.

`python -m tests.benchmark.stock_echo PORT` serves a page that does nothing but send its camera and show the answer,
with the browser's own settings, and prints `ready` once it listens. Nothing of ours runs in it.
"""

from __future__ import annotations

import sys

from aiohttp import web
from aiortc import RTCPeerConnection, RTCSessionDescription

PAGE = """<!doctype html>
<meta charset="utf-8">
<body data-state="idle" style="margin:0">
<video id="camera" autoplay playsinline muted width="320"></video>
<video id="output" autoplay playsinline muted width="320"></video>
<script type="module">
const constraints = {width: {ideal: 640}, height: {ideal: 480}, frameRate: {ideal: 30}};
const stream = await navigator.mediaDevices.getUserMedia({video: constraints});
document.getElementById("camera").srcObject = stream;
const peer = new RTCPeerConnection();
peer.addEventListener("track", ({streams: [answer]}) => (document.getElementById("output").srcObject = answer));
peer.addEventListener("connectionstatechange", () => {
  if (peer.connectionState === "connected") document.body.dataset.state = "live";
});
for (const track of stream.getTracks()) peer.addTrack(track, stream);
await peer.setLocalDescription();
await new Promise((done) => {
  if (peer.iceGatheringState === "complete") return done();
  peer.addEventListener("icegatheringstatechange", () => peer.iceGatheringState === "complete" && done());
});
const answer = await fetch("offer", {method: "POST", body: peer.localDescription.sdp});
await peer.setRemoteDescription({type: "answer", sdp: await answer.text()});
window.peer = peer;
</script>
"""


async def page(_: web.Request) -> web.Response:
    """`GET /`."""
    return web.Response(text=PAGE, content_type="text/html")


async def offer(request: web.Request) -> web.Response:
    """`POST /offer`: echo every track."""
    peer = RTCPeerConnection()
    peers: set[RTCPeerConnection] = request.app["peers"]
    peers.add(peer)

    @peer.on("track")
    def on_track(track) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        peer.addTrack(track)

    @peer.on("connectionstatechange")
    async def on_state() -> None:
        if peer.connectionState in ("failed", "closed"):
            peers.discard(peer)
            await peer.close()

    await peer.setRemoteDescription(RTCSessionDescription(sdp=await request.text(), type="offer"))
    await peer.setLocalDescription(await peer.createAnswer())
    return web.Response(text=peer.localDescription.sdp)


async def _serve(port: int) -> None:
    import asyncio

    app = web.Application()
    app["peers"] = set()
    app.add_routes([web.get("/", page), web.post("/offer", offer)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    import asyncio

    asyncio.run(_serve(int(sys.argv[1])))
