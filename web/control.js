// @ts-check

/**
 * @typedef {{type: "hello", session: string, actor: string, engine: string, engine_reason: string, tracker: string,
 *   tracker_reason: string, resolution: number, settings: Record<string, number|boolean|string>}} Hello
 * @typedef {{type: "stats", fps_in: number, fps_out: number, stages_ms: Record<string, number>, age_ms: {p50: number, p95: number},
 *   dropped: Record<string, number>, face: "tracked"|"holding"|"easing"|"absent", num_faces: number,
 *   confidence: number, is_calibrating: boolean}} ServerStats
 */

const PING_INTERVAL_MS = 1000;

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

  /** @param {boolean} isOn - whether the tracked mesh is wanted */
  mesh(isOn) {
    this.#enqueue("mesh", { type: "mesh", is_on: isOn });
  }

  /** @param {boolean} isOn
   * @param {string} [format] - mp4 or webm, to start */
  record(isOn, format) {
    this.#enqueue("record", { type: "record", is_on: isOn, ...(isOn && { format }) });
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

  /** @param {string|ArrayBuffer} data */
  #receive(data) {
    this.lastHeardMs = performance.now();
    if (typeof data !== "string") return void this.dispatchEvent(new CustomEvent("mesh", { detail: data }));
    const message = JSON.parse(data);
    if (message.type === "pong") this.roundTripMs = performance.now() - message.t;
    else this.dispatchEvent(new CustomEvent(message.type, { detail: message }));
  }
}
