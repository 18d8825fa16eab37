// @ts-check

/**
 * @typedef {object} Snapshot - every number the page shows; null where nothing is known yet
 * @property {string} state
 * @property {string|null} failure - code of the failure shown
 * @property {string|null} session
 * @property {string|null} actor
 * @property {string|null} engine
 * @property {string|null} engine_reason
 * @property {string|null} tracker - landmarks, regressor or both
 * @property {string|null} tracker_reason
 * @property {number|null} fps_in - frames a second that the server tracks
 * @property {number|null} fps_out - frames a second that the server sends
 * @property {number|null} fps_output - frames a second that #output shows, by requestVideoFrameCallback
 * @property {number|null} fps_decoded - frames a second that this browser decodes; more than it shows when drawing falls behind
 * @property {Record<string, number>} stages_ms - medians of the last second, in the server
 * @property {{p50: number|null, p95: number|null}} age_ms - from received to sent, in the server
 * @property {Record<string, number>} dropped - in the server, by place (ingest, egress, ...), since the session began
 * @property {string|null} face - tracked, holding, easing or absent
 * @property {number|null} num_faces
 * @property {number|null} confidence - 0 to 1
 * @property {boolean} is_calibrating
 * @property {number|null} round_trip_ms - of a message over the data channel
 * @property {number|null} network_ms - round trip of the network alone, by ICE
 * @property {number|null} delay_ms - age p50 + network round trip + jitter buffer + decoding here: camera frame sent to answer shown
 * @property {import("./latency.js").Spread} glass_ms - glass to glass: camera to screen, over the last seconds
 * @property {Record<string, import("./latency.js").Spread>} latency_ms - the same in its parts, in the order of the way
 * @property {number} latency_frames - frames that these two are of
 * @property {{is_on: boolean, step: number, text: string}|null} governor - what holds the delay: step 0 is full quality
 * @property {{frame_rate: number, source_px: number, jitter_ms: number}|null} limits - what is sent at most now
 * @property {{sent: number|null, received: number|null}} bitrate_kbps
 * @property {{camera: string|null, sent: string|null, output: string|null}} resolution - as 640x480
 * @property {{sent: string|null, received: string|null}} codec
 * @property {number|null} jitter_buffer_ms - mean wait of a frame in the browser's jitter buffer, last half second
 * @property {number} jitter_buffer_delay_s - inbound-rtp jitterBufferDelay
 * @property {number} jitter_buffer_emitted - inbound-rtp jitterBufferEmittedCount
 * @property {number|null} decode_ms - mean decoding time in the browser, last half second
 * @property {number} frames_sent
 * @property {number} frames_received
 * @property {number} frames_decoded
 * @property {number} frames_dropped - by the browser
 * @property {number} frames_shown - by requestVideoFrameCallback
 * @property {number} packets_lost
 */

const INTERVAL_MS = 500;

/** Gathers the numbers of a session from server, browser and screen. Event: `update`, twice a second while running. */
export class Stats extends EventTarget {
  #lifecycle;
  #frames;
  #video;
  #latency;
  /** @type {import("./control.js").Hello|null} */
  #hello = null;
  /** @type {import("./control.js").ServerStats|null} */
  #server = null;
  /** @type {Record<string, any>} newest of each getStats type that matters */
  #now = {};
  /** @type {Record<string, any>} */
  #before = {};

  /**
   * @param {import("./lifecycle.js").Lifecycle} lifecycle
   * @param {import("./frames.js").Frames} frames
   * @param {HTMLVideoElement} camera
   * @param {import("./latency.js").Latency} latency
   */
  constructor(lifecycle, frames, camera, latency) {
    super();
    this.#lifecycle = lifecycle;
    this.#frames = frames;
    this.#video = camera;
    this.#latency = latency;
    lifecycle.addEventListener("session", () => this.#attach());
    setInterval(() => void this.#poll(), INTERVAL_MS);
  }

  #attach() {
    this.#hello = this.#server = null;
    this.#now = this.#before = {};
    const control = this.#lifecycle.session?.control;
    control?.addEventListener("hello", (event) => (this.#hello = /** @type {CustomEvent} */ (event).detail));
    control?.addEventListener("stats", (event) => (this.#server = /** @type {CustomEvent} */ (event).detail));
  }

  async #poll() {
    const { session } = this.#lifecycle;
    if (session) {
      const report = await session.peer.getStats();
      if (session !== this.#lifecycle.session) return;
      this.#before = this.#now;
      this.#now = Stats.#sort(report);
    } else this.#now = this.#before = {};
    this.dispatchEvent(new Event("update"));
  }

  /** @param {RTCStatsReport} report */
  static #sort(report) {
    /** @type {Record<string, any>} */
    const found = {};
    report.forEach((entry) => {
      if (entry.type === "candidate-pair" && entry.nominated && entry.state === "succeeded") found.path = entry;
      else if (entry.kind === "video" && ["inbound-rtp", "outbound-rtp"].includes(entry.type)) found[entry.type] = entry;
    });
    for (const type of ["inbound-rtp", "outbound-rtp"]) {
      if (found[type]) found[`${type}-codec`] = report.get(found[type].codecId)?.mimeType?.replace("video/", "") ?? null;
    }
    return found;
  }

  /** @returns {Snapshot} */
  snapshot() {
    const { state, failure, warning, session } = this.#lifecycle;
    const isRunning = session !== null;
    const hello = isRunning ? this.#hello : null;
    const server = isRunning ? this.#server : null;
    const inbound = this.#now["inbound-rtp"] ?? {};
    const outbound = this.#now["outbound-rtp"] ?? {};
    const network_ms = scaled(this.#now.path?.currentRoundTripTime, 1000);
    const jitter_buffer_ms = this.#mean("jitterBufferDelay", "jitterBufferEmittedCount");
    const decode_ms = this.#mean("totalDecodeTime", "framesDecoded");
    const age_ms = server?.age_ms ?? { p50: null, p95: null };
    const parts = [age_ms.p50, network_ms, jitter_buffer_ms, decode_ms];
    return {
      state,
      failure: (failure ?? warning)?.code ?? null,
      session: hello?.session ?? null,
      actor: hello?.actor ?? null,
      engine: hello?.engine ?? null,
      engine_reason: hello?.engine_reason ?? null,
      tracker: hello?.tracker ?? null,
      tracker_reason: hello?.tracker_reason ?? null,
      fps_in: server?.fps_in ?? null,
      fps_out: server?.fps_out ?? null,
      fps_output: isRunning ? this.#frames.fps : null,
      fps_decoded: inbound.framesPerSecond ?? null,
      stages_ms: server?.stages_ms ?? {},
      age_ms,
      dropped: server?.dropped ?? { ingest: 0, egress: 0 },
      face: server?.face ?? null,
      num_faces: server?.num_faces ?? null,
      confidence: server?.confidence ?? null,
      is_calibrating: server?.is_calibrating ?? false,
      round_trip_ms: session?.control.roundTripMs ?? null,
      network_ms,
      delay_ms: parts.includes(null) ? null : parts.reduce((sum, part) => Number(sum) + Number(part), 0),
      glass_ms: this.#latency.total,
      latency_ms: this.#latency.parts,
      latency_frames: this.#latency.count,
      governor: server?.governor ?? null,
      limits: server?.limits ?? null,
      bitrate_kbps: { sent: this.#kbps("outbound-rtp", "bytesSent"), received: this.#kbps("inbound-rtp", "bytesReceived") },
      resolution: {
        camera: isRunning ? size(this.#video.videoWidth, this.#video.videoHeight) : null,
        sent: size(outbound.frameWidth, outbound.frameHeight),
        output: size(inbound.frameWidth, inbound.frameHeight),
      },
      codec: { sent: this.#now["outbound-rtp-codec"] ?? null, received: this.#now["inbound-rtp-codec"] ?? null },
      jitter_buffer_ms,
      jitter_buffer_delay_s: inbound.jitterBufferDelay ?? 0,
      jitter_buffer_emitted: inbound.jitterBufferEmittedCount ?? 0,
      decode_ms,
      frames_sent: outbound.framesSent ?? 0,
      frames_received: inbound.framesReceived ?? 0,
      frames_decoded: inbound.framesDecoded ?? 0,
      frames_dropped: inbound.framesDropped ?? 0,
      frames_shown: this.#frames.shown,
      packets_lost: inbound.packetsLost ?? 0,
    };
  }

  /** Mean of a running total over a running count since the poll before, s to ms.
   * @param {string} total
   * @param {string} count */
  #mean(total, count) {
    const now = this.#now["inbound-rtp"];
    const before = this.#before["inbound-rtp"];
    const number = now && before ? now[count] - before[count] : 0;
    return number > 0 ? ((now[total] - before[total]) / number) * 1000 : null;
  }

  /**
   * @param {string} type
   * @param {string} bytes
   */
  #kbps(type, bytes) {
    const now = this.#now[type];
    const before = this.#before[type];
    const ms = now && before ? now.timestamp - before.timestamp : 0;
    return ms > 0 ? ((now[bytes] - before[bytes]) * 8) / ms : null;
  }
}

/** @param {number|undefined} value @param {number} factor */
function scaled(value, factor) {
  return value === undefined ? null : value * factor;
}

/** @param {number|undefined} width @param {number|undefined} height */
function size(width, height) {
  return width && height ? `${width}x${height}` : null;
}
