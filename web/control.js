// @ts-check

/**
 * @typedef {{type: "hello", session: string, actor: string, engine: string, engine_reason: string, tracker: string,
 *   tracker_reason: string, resolution: number, settings: Record<string, number|boolean|string>}} Hello
 * @typedef {{type: "stats", fps_in: number, fps_out: number, stages_ms: Record<string, number>, age_ms: {p50: number, p95: number},
 *   dropped: Record<string, number>, face: "tracked"|"holding"|"easing"|"absent", num_faces: number,
 *   confidence: number, is_calibrating: boolean, is_preparing: boolean, frames?: (number|null)[][], sender_clock?: {unix_ms: number, rtp: number}|null,
 *   governor?: {is_on: boolean, step: number, text: string}, limits?: {frame_rate: number, source_px: number, jitter_ms: number}}} ServerStats
 */

const PING_INTERVAL_MS = 1000;
/** Half a minute: clocks of two machines drift apart by less than a millisecond in it. */
const KEPT_PONGS = 30;

/**
 * The data channel to the session: JSON messages both ways. Each message of the server becomes a `CustomEvent` of its
 * type (`hello`, `settings`, `stats`, `calibration`, `recording`, `error`, `bye`) with the message as `detail`; the one binary message,
 * the tracked mesh, becomes `mesh` with its bytes. Event: `close`.
 */
export class Control extends EventTarget {
  /** @type {number|null} round trip of the last ping, through the browser and the server's event loop */
  roundTripMs = null;
  /** `performance.now()` of the last message. */
  lastHeardMs = 0;
  /** @type {number|null} what the server's clock shows more than `performance.now()`, by the quickest of the last pings */
  clockOffsetMs = null;
  /** @type {{roundTripMs: number, offsetMs: number}[]} */
  #pongs = [];
  #channel;
  #timer = 0;
  /** Settings wait for the channel and leave at most every 40 ms: a dragged slider sends the newest value only.
   * @type {Map<string, object>} */
  #waiting = new Map();
  #flushTimer = 0;

  /** @param {RTCDataChannel} channel */
  constructor(channel) {
    super();
    this.#channel = channel;
    channel.binaryType = "arraybuffer";
    channel.addEventListener("open", () => {
      this.lastHeardMs = performance.now();
      this.#flush();
      this.#ping();
      this.#timer = setInterval(() => this.#ping(), PING_INTERVAL_MS);
    });
    channel.addEventListener("close", () => {
      this.close();
      this.dispatchEvent(new Event("close"));
    });
    channel.addEventListener("message", (event) => this.#receive(event.data));
  }

  get isOpen() {
    return this.#channel.readyState === "open";
  }

  /**
   * @param {string} key
   * @param {number|boolean|string} value
   */
  set(key, value) {
    this.#enqueue(key, { type: "set", key, value });
  }

  calibrate() {
    this.#enqueue("calibrate", { type: "calibrate" });
  }

  reset() {
    this.#enqueue("reset", { type: "reset" });
  }

  /** @param {string} name */
  actor(name) {
    this.#enqueue("actor", { type: "actor", name });
  }

  /** @param {Record<string, number>} values - added to what the target shows, by name */
  edit(values) {
    this.#enqueue("edit", { type: "edit", values });
  }

  /** @param {Record<string, number>} values - what moves the target where its `source` is `numbers` */
  puppet(values) {
    this.#enqueue("puppet", { type: "puppet", values });
  }

  /** @param {boolean} isOn - whether the tracked mesh is wanted */
  mesh(isOn) {
    this.#enqueue("mesh", { type: "mesh", is_on: isOn });
  }

  /** @param {boolean} isOn
   * @param {string} [format] - mp4 or webm, to start */
  record(isOn, format) {
    this.#enqueue("record", { type: "record", is_on: isOn, ...(isOn && { format }) });
  }

  /** Tell what was measured of frames that were shown.
   * @param {(number|null)[][]} frames - glass to glass, camera, uplink, downlink, display; ms */
  seen(frames) {
    if (this.isOpen) this.#channel.send(JSON.stringify({ type: "seen", frames }));
  }

  /** @param {object} calibration - as an earlier session gave it */
  restore(calibration) {
    this.#enqueue("restore", { type: "restore", calibration });
  }

  close() {
    clearInterval(this.#timer);
    clearTimeout(this.#flushTimer);
    this.#channel.close();
  }

  /**
   * @param {string} slot - a newer message in the same slot replaces one that still waits
   * @param {object} message
   */
  #enqueue(slot, message) {
    this.#waiting.set(slot, message);
    if (!this.#flushTimer) this.#flushTimer = setTimeout(() => this.#flush(), 40);
  }

  #flush() {
    this.#flushTimer = 0;
    if (!this.isOpen) return;
    for (const message of this.#waiting.values()) this.#channel.send(JSON.stringify(message));
    this.#waiting.clear();
  }

  #ping() {
    if (this.isOpen) this.#channel.send(JSON.stringify({ type: "ping", t: performance.now() }));
  }

  /** The quicker a message comes back, the less is unknown of when the server looked at its clock.
   * @param {{t: number, server_ms: number}} pong */
  #compare({ t, server_ms }) {
    this.roundTripMs = performance.now() - t;
    this.#pongs.push({ roundTripMs: this.roundTripMs, offsetMs: server_ms - (t + this.roundTripMs / 2) });
    if (this.#pongs.length > KEPT_PONGS) this.#pongs.shift();
    this.clockOffsetMs = this.#pongs.reduce((best, one) => (one.roundTripMs < best.roundTripMs ? one : best)).offsetMs;
  }

  /** @param {string|ArrayBuffer} data */
  #receive(data) {
    this.lastHeardMs = performance.now();
    if (typeof data !== "string") return void this.dispatchEvent(new CustomEvent("mesh", { detail: data }));
    const message = JSON.parse(data);
    if (message.type === "pong") this.#compare(message);
    else this.dispatchEvent(new CustomEvent(message.type, { detail: message }));
  }
}
