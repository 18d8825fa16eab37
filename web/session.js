// @ts-check
import { Control } from "./control.js";
import { Failure } from "./errors.js";
import { WhipResource } from "./whip.js";

/** Bits a second of each pixel of the camera: the tracker sees no more in a sharper face (VP8 quantizer 20 to 30 of 127),
 * and a frame is sooner there that has fewer. */
const BITRATE_PER_PIXEL = 3;
const [MIN_BITRATE, MAX_BITRATE] = [400_000, 1_500_000];
/** What Chromium believes of the network at first; it is slow to ask for more. Beyond the bitrate it is room: a frame ten
 * times as large as others, as after a quick movement, leaves at 2.5 times this, instead of at the camera's own rate. */
const START_KBPS = 4000;
/** VP8 costs the server least to decode and encode; H.264 next. */
const CODEC_ORDER = ["video/vp8", "video/h264"];
/** Host candidates come within a few ms; what comes later is trickled. */
const GATHER_MS = 250;
/** STUN error: unauthorized (RFC 8489 section 14.8). */
const REFUSED = 401;
const COMPLAINT_MS = 3000;
const CONNECT_TIMEOUT_MS = 15_000;
/** A connection waits so long for the server to hear of its end. */
const DELETE_MS = 500;

/**
 * One WebRTC session: the camera goes out and the target comes back on the same video line, beside the `control`
 * data channel. Events: `stream` (detail: MediaStream), `lost` (ended by the network or
 * the server; `complaint` is what the server said just before, if it did).
 */
export class Session extends EventTarget {
  peer;
  control;
  /** @type {Failure|null} */
  complaint = null;
  /** @type {WhipResource|null} */
  #resource = null;
  /** @type {RTCIceCandidate[]} */
  #late = [];
  #isClosed = false;
  #limits = "";
  /** A TURN server said no to our password. */
  #isRelayRefused = false;
  /** @type {MediaStreamTrack|null} */
  #sound = null;
  /** @type {RTCRtpTransceiver|null} */
  #soundLine = null;

  /** @param {RTCIceServer[]} iceServers */
  constructor(iceServers) {
    super();
    this.peer = new RTCPeerConnection({ iceServers });
    this.control = new Control(this.peer.createDataChannel("control", { ordered: true }));
    this.peer.addEventListener("icecandidateerror", ({ errorCode }) => (this.#isRelayRefused ||= errorCode === REFUSED));
    this.control.addEventListener("error", (event) => {
      const { code, message } = /** @type {CustomEvent} */ (event).detail;
      const complaint = (this.complaint = new Failure(code, { message, status: 500 }));
      // A refused message is followed by life; the reason of an end by the end.
      setTimeout(() => this.complaint === complaint && (this.complaint = null), COMPLAINT_MS);
    });
    this.control.addEventListener("close", () => this.#lose());
    // What the server has ended need not be ended there.
    this.control.addEventListener("bye", () => (this.#resource = null));
  }

  /** Resolves once media can flow.
   * @param {MediaStreamTrack} track
   * @param {{actor: string, client: string, codec: string}} choices - name of the actor, or "" for the server's default;
   *   what names this tab, whose sessions replace each other; auto, vp8 or h264
   * @param {AbortSignal} signal
   * @throws {Failure} */
  async connect(track, { actor, client, codec }, signal) {
    this.#prepare(track, codec);
    const endpoint = new URL("whip", document.baseURI);
    if (actor) endpoint.searchParams.set("actor", actor);
    endpoint.searchParams.set("client", client);
    await this.peer.setLocalDescription();
    await this.#gathered(signal);
    const offer = /** @type {RTCSessionDescription} */ (this.peer.localDescription);
    this.peer.addEventListener("icecandidate", (event) => this.#trickle(event.candidate));
    const resource = await WhipResource.publish(endpoint, offer.sdp, signal);
    // Closed while the answer was under way: the session on the server must not stay behind.
    if (this.#isClosed) return void resource.delete();
    this.#resource = resource;
    this.#sendLate();
    await this.peer.setRemoteDescription({ type: "answer", sdp: withStartBitrate(resource.answer) });
    await this.#tune();
    await this.#connected(signal);
  }

  /** Send another camera on the same line, without a new negotiation.
   * @param {MediaStreamTrack} track */
  async setTrack(track) {
    await this.peer.getSenders()[0]?.replaceTrack(track);
    this.#limits = ""; // They depend on the camera's size.
  }

  /** Send this sound from now on, or none.
   * @param {MediaStreamTrack|null} track */
  async setSound(track) {
    this.#sound = track;
    await this.#soundLine?.sender.replaceTrack(track).catch(() => undefined);
  }

  /** @returns {Promise<number>} frames that the camera gave and the browser sent */
  async framesSent() {
    const report = [...(await this.peer.getStats()).values()];
    return report.find(({ type, kind }) => type === "outbound-rtp" && kind === "video")?.framesSent ?? 0;
  }

  /** End the session here and on the server; also while the page goes away. */
  close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const sender of this.peer.getSenders()) void sender.replaceTrack(null).catch(() => undefined);
    // Asked first: at the end of the connection the server would end the session by itself, and know none to delete.
    const late = new Promise((resolve) => setTimeout(resolve, DELETE_MS));
    void Promise.race([this.#resource?.delete(), late]).then(() => {
      this.control.close();
      this.peer.close();
    });
  }

  /** Send no more than this, and hold frames back for as long; nothing happens while it stays the same.
   * @param {{frame_rate: number, source_px: number, jitter_ms: number}} limits */
  async limit(limits) {
    const key = JSON.stringify(limits);
    const [sender] = this.peer.getSenders();
    if (key === this.#limits || !sender?.track) return;
    this.#limits = key;
    this.#hold(limits.jitter_ms);
    const { width, height } = sizeOf(sender.track);
    const parameters = sender.getParameters();
    const scale = Math.max(1, Math.max(width, height) / limits.source_px);
    for (const encoding of parameters.encodings) {
      encoding.maxFramerate = limits.frame_rate;
      encoding.scaleResolutionDownBy = scale;
      encoding.maxBitrate = bitrateFor((width * height) / scale ** 2);
    }
    await sender.setParameters(parameters).catch(() => (this.#limits = ""));
  }

  /** @param {number} ms */
  #hold(ms) {
    const receiver = /** @type {any} */ (this.peer.getReceivers()[0]);
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = ms;
    else if ("playoutDelayHint" in receiver) receiver.playoutDelayHint = ms / 1000;
  }

  /** @param {MediaStreamTrack} track @param {string} codec - to prefer, or auto */
  #prepare(track, codec) {
    const { width, height } = sizeOf(track);
    const sendEncodings = [{ maxBitrate: bitrateFor(width * height) }];
    const transceiver = this.peer.addTransceiver(track, { direction: "sendrecv", sendEncodings });
    // A line for sound is there from the start: a microphone that is chosen later needs no new negotiation.
    this.#soundLine = this.peer.addTransceiver(this.#sound ?? "audio", { direction: "sendrecv" });
    const stream = new MediaStream();
    this.peer.addEventListener("track", (event) => {
      stream.addTrack(event.track);
      this.dispatchEvent(new CustomEvent("stream", { detail: stream }));
    });
    const codecs = RTCRtpReceiver.getCapabilities?.("video")?.codecs ?? [];
    const order = codec === "h264" ? [...CODEC_ORDER].reverse() : CODEC_ORDER;
    const rank = (/** @type {{mimeType: string}} */ one) => (order.indexOf(one.mimeType.toLowerCase()) + 3) % 3;
    // rank: the wished one (VP8) 0, the other (H.264) 1, all others (with retransmission and error correction) 2.
    transceiver.setCodecPreferences?.([...codecs].sort((a, b) => rank(a) - rank(b)));
    // Hold no frame back for smoothness: freshness is what a puppeteer feels.
    this.#hold(0);
  }

  /** Keep the frame rate when bandwidth or CPU falls short; a browser without the wish ignores it. */
  async #tune() {
    const [sender] = this.peer.getSenders();
    const parameters = /** @type {any} */ (sender.getParameters());
    parameters.degradationPreference = "maintain-framerate";
    await sender.setParameters(parameters).catch(() => undefined);
  }

  /** @param {AbortSignal} signal */
  #gathered(signal) {
    return new Promise((resolve, reject) => {
      const done = () => this.peer.iceGatheringState === "complete" && resolve(undefined);
      this.peer.addEventListener("icegatheringstatechange", done, { signal });
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      setTimeout(resolve, GATHER_MS);
      done();
    });
  }

  /** @param {AbortSignal} signal */
  #connected(signal) {
    return new Promise((resolve, reject) => {
      const failed = () => reject(new Failure(this.#isRelayRefused ? "relay_refused" : "connection_failed"));
      const timer = setTimeout(failed, CONNECT_TIMEOUT_MS);
      const check = () => {
        const state = this.peer.connectionState;
        if (state === "connected") resolve(undefined);
        else if (state === "failed") failed();
        else return;
        clearTimeout(timer);
        this.peer.removeEventListener("connectionstatechange", check);
        this.peer.addEventListener("connectionstatechange", () => {
          if (this.peer.connectionState === "failed") this.#lose();
        });
      };
      this.peer.addEventListener("connectionstatechange", check);
      signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
      check();
    });
  }

  #lose() {
    if (!this.#isClosed) this.dispatchEvent(new Event("lost"));
  }

  /** Collect candidates that come together into one `PATCH`; null is the end of candidates.
   * @param {RTCIceCandidate|null} candidate */
  #trickle(candidate) {
    if (candidate?.candidate) this.#late.push(candidate);
    setTimeout(() => this.#sendLate(), 20);
  }

  #sendLate() {
    if (!this.#resource || this.#isClosed || this.#late.length === 0) return;
    const sdp = this.peer.localDescription?.sdp ?? "";
    const line = (/** @type {string} */ name) => sdp.match(new RegExp(`^a=${name}:.*$`, "m"))?.[0].trim() ?? "";
    const fragment = [line("ice-ufrag"), line("ice-pwd")];
    for (const { sdpMid, sdpMLineIndex, candidate } of this.#late) {
      fragment.push(sdp.match(/^m=.*$/gm)?.[sdpMLineIndex ?? 0].trim() ?? "", `a=mid:${sdpMid}`, `a=${candidate}`);
    }
    this.#late = [];
    void this.#resource.trickle(fragment.join("\r\n") + "\r\n");
  }
}

/** The camera's own size; what is usual where the browser does not say.
 * @param {MediaStreamTrack} track */
function sizeOf(track) {
  const { width = 640, height = 480 } = track.getSettings();
  return { width, height };
}

/** @param {number} pixels - of each picture sent */
function bitrateFor(pixels) {
  return Math.min(Math.max(BITRATE_PER_PIXEL * pixels, MIN_BITRATE), MAX_BITRATE);
}

/** Tell Chromium, which reads it from the answer, where to begin; other browsers pass over the parameter.
 * @param {string} sdp */
function withStartBitrate(sdp) {
  const start = `x-google-start-bitrate=${START_KBPS}`;
  return sdp
    .replace(/^(a=fmtp:\d+ .*profile-level-id=[^\r\n]*)/gm, `$1;${start}`)
    .replace(/^(a=rtpmap:(\d+) VP8\/90000)(\r?\n)/gm, `$1$3a=fmtp:$2 ${start}$3`);
}
