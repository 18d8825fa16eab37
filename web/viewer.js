// @ts-check
import { fetchIceServers } from "./ice.js";
import { WhipResource } from "./whip.js";

/** Host candidates come within a few ms; what comes later is left out: a viewer tries again. */
const GATHER_MS = 400;
const RETRY_MS = 1000;
const CONNECT_TIMEOUT_MS = 10_000;
/** No new picture for so long: the session has gone, or its network. */
const STALL_MS = 5000;

const video = /** @type {HTMLVideoElement} */ (document.getElementById("output"));
const status = /** @type {HTMLElement} */ (document.getElementById("status"));
const session = location.pathname.split("/").pop() ?? "";
const endpoint = new URL(`/whep/${session}${location.search}`, location.href);

// OBS makes itself known to the pages in its browser sources; there the picture is a layer of a scene.
document.documentElement.classList.toggle("in-obs", "obsstudio" in window);

/** @param {"connecting"|"live"} state @param {string} [text] */
function show(state, text = "") {
  document.body.dataset.state = state;
  status.textContent = text;
}

/** @param {RTCPeerConnection} peer */
function gathered(peer) {
  return new Promise((resolve) => {
    const done = () => peer.iceGatheringState === "complete" && resolve(undefined);
    peer.addEventListener("icegatheringstatechange", done);
    setTimeout(resolve, GATHER_MS);
    done();
  });
}

/** Play with sound; where the browser wants a click for that, play without until it comes. */
async function play() {
  try {
    await video.play();
  } catch {
    video.muted = true;
    await video.play().catch(() => undefined);
  }
}
document.addEventListener("click", () => (video.muted = false));

/** Resolves when the connection is over, whoever ended it.
 * @param {RTCPeerConnection} peer */
function over(peer) {
  return new Promise((resolve) => {
    let lastMs = performance.now();
    let isAlive = true;
    const end = () => ((isAlive = false), clearInterval(timer), resolve(undefined));
    const onFrame = () => {
      lastMs = performance.now();
      show("live");
      if (isAlive) video.requestVideoFrameCallback(onFrame);
    };
    video.requestVideoFrameCallback?.(onFrame);
    const timer = setInterval(() => {
      if (document.hidden || !("requestVideoFrameCallback" in video)) lastMs = performance.now();
      const limitMs = document.body.dataset.state === "live" ? STALL_MS : CONNECT_TIMEOUT_MS;
      if (performance.now() - lastMs > limitMs) end();
    }, 500);
    peer.addEventListener("connectionstatechange", () => {
      if (["failed", "closed", "disconnected"].includes(peer.connectionState)) end();
    });
  });
}

async function watch() {
  const peer = new RTCPeerConnection({ iceServers: await fetchIceServers() });
  const abort = new AbortController();
  /** @type {WhipResource|null} */
  let resource = null;
  const leave = () => void resource?.delete();
  window.addEventListener("pagehide", leave, { signal: abort.signal });
  try {
    const transceiver = peer.addTransceiver("video", { direction: "recvonly" });
    peer.addTransceiver("audio", { direction: "recvonly" });
    const receiver = /** @type {any} */ (transceiver.receiver);
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
    const stream = new MediaStream();
    peer.addEventListener("track", (event) => {
      stream.addTrack(event.track);
      if (video.srcObject !== stream) video.srcObject = stream;
      void play();
    });
    await peer.setLocalDescription();
    await gathered(peer);
    const offer = /** @type {RTCSessionDescription} */ (peer.localDescription).sdp;
    resource = await WhipResource.publish(endpoint, offer, abort.signal);
    const ended = over(peer);
    await peer.setRemoteDescription({ type: "answer", sdp: resource.answer });
    await ended;
  } finally {
    leave();
    abort.abort();
    peer.close();
  }
}

for (;;) {
  let text = "The picture has stopped. Connecting again …";
  try {
    await watch();
  } catch (/** @type {any} */ error) {
    text = error?.facts?.message ?? "The server does not answer.";
  }
  show("connecting", text);
  await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
}
