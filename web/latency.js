// @ts-check

/** Glass to glass, in the order of the way; as in `streamer/latency.py`. */
export const PARTS = ["camera", "uplink", "decode", "queue", "track", "render", "generate", "encode", "downlink", "display"];

/**
 * @typedef {{p50: number|null, p95: number|null}} Spread - ms
 * @typedef {{total: number, parts: Record<string, number|null>, capturedMs: number, atMs: number}} Sample - of a frame:
 *   glass to glass and its parts, ms; when it was caught and shown, on the clock of `performance.now()`
 * @typedef {{receivedMs: number|null, displayedMs: number}} Showing
 */

/** What the figures are of. */
const WINDOW_MS = 5000;
/** A frame that is not on the screen by then will not be measured. */
const PATIENCE_MS = 2000;
const KEPT = 240;
const RTP_PER_MS = 90;
/** A longer delay than this is taken for clocks that disagree. */
const MAX_TOTAL_MS = 10_000;

/** How long after the refresh that it was handed over for a picture is swapped in: nine of ten are, by Chromium's trace. */
const SWAP_MS = 10;

/**
 * When a picture is on the screen, by what `requestVideoFrameCallback` says of it. Chromium expects it by its last plan
 * for the screen, an old one where few pictures come: at 10 a second up to 110 ms after it was handed over, where the
 * swap came after 9 (2 to 30).
 * @param {number} now - the refresh at which the callback runs, the next after the picture was handed over
 * @param {{presentationTime: number, expectedDisplayTime: number}} metadata
 */
export function whenDisplayed(now, { presentationTime, expectedDisplayTime }) {
  return Math.min(Math.max(expectedDisplayTime, presentationTime), Math.max(now, presentationTime) + SWAP_MS);
}

/**
 * Joins what this page sees of a frame, when its camera caught it and when the answer is on the screen, to what the
 * server says of the same frame: glass to glass, of every frame, in its parts. Both ends are times of this browser's own
 * clock; only where in between the network begins and ends depends on how well the server's clock is known.
 */
export class Latency {
  #lifecycle;
  #camera;
  /** RTP timestamp of the answer to when it was received and shown. @type {Map<number, Showing>} */
  #shown = new Map();
  /** Rows of the server whose frame is still on its way here. @type {{row: (number|null)[], atMs: number}[]} */
  #pending = [];
  /** Times at which the camera caught its last pictures, as the browser says. @type {number[]} */
  #captured = [];
  /** By how much the server's account of these was off. @type {number[]} */
  #biases = [];
  /** @type {Sample[]} */
  #samples = [];

  /**
   * @param {import("./lifecycle.js").Lifecycle} lifecycle
   * @param {import("./frames.js").Frames} frames - of the output
   * @param {HTMLVideoElement} camera
   */
  constructor(lifecycle, frames, camera) {
    this.#lifecycle = lifecycle;
    this.#camera = camera;
    lifecycle.addEventListener("session", () => this.#attach());
    frames.addEventListener("shown", (event) => this.#see(/** @type {CustomEvent} */ (event).detail));
    this.#follow();
  }

  /** @returns {Spread} glass to glass */
  get total() {
    return spread(this.#recent().map(({ total }) => total));
  }

  /** @returns {Record<string, Spread>} */
  get parts() {
    const recent = this.#recent();
    return Object.fromEntries(PARTS.map((part) => [part, spread(recent.map(({ parts }) => parts[part]))]));
  }

  /** @returns {number} frames that the figures are of */
  get count() {
    return this.#recent().length;
  }

  /** @returns {Sample[]} every frame of the last seconds, in the order in which they were shown */
  get recent() {
    return structuredClone(this.#recent());
  }

  #attach() {
    this.#shown.clear();
    this.#pending = [];
    this.#samples = [];
    this.#biases = [];
    const { session } = this.#lifecycle;
    session?.control.addEventListener("stats", (event) => {
      if (session === this.#lifecycle.session) this.#join(session.control, /** @type {CustomEvent} */ (event).detail);
    });
  }

  /** Note when the camera caught each picture. */
  #follow() {
    this.#camera.requestVideoFrameCallback?.((_, { captureTime }) => {
      if (captureTime !== undefined) this.#captured.push(captureTime);
      if (this.#captured.length > KEPT) this.#captured.shift();
      this.#follow();
    });
  }

  /** @param {{now: number, metadata: VideoFrameCallbackMetadata}} shown - one picture, as `requestVideoFrameCallback` says it */
  #see({ now, metadata }) {
    const { rtpTimestamp, receiveTime } = metadata;
    if (rtpTimestamp === undefined) return;
    this.#shown.set(rtpTimestamp, { receivedMs: receiveTime ?? null, displayedMs: whenDisplayed(now, metadata) });
    for (const oldest of this.#shown.keys()) {
      if (this.#shown.size <= KEPT) break;
      this.#shown.delete(oldest);
    }
  }

  /**
   * @param {import("./control.js").Control} control
   * @param {import("./control.js").ServerStats} stats
   */
  #join(control, { frames, sender_clock: clock }) {
    const now = performance.now();
    for (const row of frames ?? []) this.#pending.push({ row, atMs: now });
    const { clockOffsetMs } = control;
    if (!clock || clockOffsetMs === null) return void (this.#pending = this.#pending.slice(-KEPT));
    const seen = [];
    this.#pending = this.#pending.filter(({ row, atMs }) => {
      const showing = this.#shown.get(Number(row[0]));
      if (!showing) return now - atMs < PATIENCE_MS;
      const sample = this.#measure(row, showing, clock, clockOffsetMs, control.roundTripMs ?? 0);
      if (sample) seen.push(sample);
      return false;
    });
    if (seen.length === 0) return;
    this.#samples.push(...seen);
    const since = now - WINDOW_MS;
    while (this.#samples.length && this.#samples[0].atMs < since) this.#samples.shift();
    control.seen(seen.map(({ total, parts }) => [total, parts.camera, parts.uplink, parts.downlink, parts.display].map(rounded)));
  }

  /**
   * @param {(number|null)[]} row
   * @param {Showing} showing
   * @param {{unix_ms: number, rtp: number}} clock
   * @param {number} offsetMs
   * @param {number} roundTripMs
   * @returns {Sample|null} null where the clocks contradict each other
   */
  #measure(row, { receivedMs, displayedMs }, clock, offsetMs, roundTripMs) {
    const [, rtp, completeMs, waitedMs, decode, queue, track, render, generate, encode] = row.map(Number);
    const capturedMs = this.#whenCaptured(rtp, clock);
    const total = displayedMs - capturedMs;
    const arrivedMs = completeMs - offsetMs;
    const inServer = decode + queue + track + render + generate + encode;
    const display = receivedMs === null ? 0 : Math.max(0, displayedMs - receivedMs);
    const onTheWay = total - inServer - display;
    if (!(total > 0 && total < MAX_TOTAL_MS && onTheWay >= 0)) return null;
    const there = Math.min(Math.max(0, arrivedMs - capturedMs), onTheWay);
    // The quickest packet took no time, says the server; it took half a round trip.
    const uplink = row[3] === null ? there : Math.min(there, waitedMs + Math.min(roundTripMs / 2, there));
    const camera = row[3] === null ? null : there - uplink;
    const parts = { camera, uplink, decode, queue, track, render, generate, encode, downlink: onTheWay - there, display };
    return { total, parts, capturedMs, atMs: displayedMs };
  }

  /** When the camera caught the picture that went out under an RTP timestamp: by the sender report that the server got,
   * and set right by what the browser says of the camera's own pictures, of which it must be one.
   * @param {number} rtp
   * @param {{unix_ms: number, rtp: number}} clock */
  #whenCaptured(rtp, clock) {
    const since = ((rtp - clock.rtp) | 0) / RTP_PER_MS;
    const reported = clock.unix_ms + since - performance.timeOrigin;
    if (this.#captured.length > 0) {
      const nearer = (/** @type {number} */ best, /** @type {number} */ at) =>
        Math.abs(at - reported) < Math.abs(best - reported) ? at : best;
      this.#biases.push(reported - this.#captured.reduce(nearer));
    }
    if (this.#biases.length > KEPT / 4) this.#biases.shift();
    return reported - (middle(this.#biases) ?? 0);
  }

  #recent() {
    const since = performance.now() - WINDOW_MS;
    return this.#samples.filter(({ atMs }) => atMs >= since);
  }
}

/** @param {(number|null)[]} values @returns {Spread} */
function spread(values) {
  const known = /** @type {number[]} */ (values.filter((value) => value !== null)).sort((a, b) => a - b);
  const at = (/** @type {number} */ share) => known[Math.min(known.length - 1, Math.floor(share * known.length))] ?? null;
  return { p50: at(0.5), p95: at(0.95) };
}

/** @param {number[]} values @returns {number|null} */
function middle(values) {
  return spread(values).p50;
}

/** @param {number|null} value */
function rounded(value) {
  return value === null ? null : Math.round(value * 100) / 100;
}
