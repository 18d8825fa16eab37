// @ts-check

/** Time to sit straight before the server begins to look. */
const READY_MS = 2000;
/** The server collects for about a second of tracked face ... */
const COLLECT_MS = 1000;
/** ... and, where its tracker learns how far a face moves, for three more. */
const RANGE_MS = 3000;
const LATE_MS = 8000;
const TICK_MS = 100;

/**
 * Takes a person through calibration: sit still, then the server learns their neutral face, then with some trackers how far
 * it moves. Events: `collect` (ask the
 * server now), `done` (detail: a sentence).
 */
export class Calibration extends EventTarget {
  #root;
  #title;
  #bar;
  #timer = 0;
  #elapsedMs = 0;
  /** Time at which the server said that it collects. */
  #begunMs = 0;
  /** Whether the server's tracker learns how far a face moves, too. */
  hasRange = false;

  /** @param {HTMLElement} root - with `.title` and `progress` */
  constructor(root) {
    super();
    this.#root = root;
    this.#title = /** @type {HTMLElement} */ (root.querySelector(".title"));
    this.#bar = /** @type {HTMLProgressElement} */ (root.querySelector("progress"));
  }

  get isRunning() {
    return this.#timer !== 0;
  }

  start() {
    this.cancel();
    this.#elapsedMs = this.#begunMs = 0;
    this.#root.hidden = false;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#tick();
  }

  cancel() {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#root.hidden = true;
  }

  /** Follow what the server says.
   * @param {boolean} isCalibrating
   * @param {string} face */
  report(isCalibrating, face) {
    if (!this.isRunning || this.#elapsedMs <= READY_MS) return;
    if (isCalibrating) {
      this.#begunMs ||= this.#elapsedMs;
      if (face !== "tracked") this.#say("Waiting for your face");
      else if (this.hasRange && this.#elapsedMs - this.#begunMs > COLLECT_MS) this.#say("Now blink, smile, raise your brows, open your mouth wide");
      else this.#say("Learning your neutral face. Keep still");
    } else if (this.#begunMs) this.#finish("Calibrated: this is your neutral face now.");
  }

  #tick() {
    this.#elapsedMs += TICK_MS;
    const ms = this.#elapsedMs;
    if (ms <= READY_MS) this.#say("Look straight at the camera and relax your face");
    if (ms > READY_MS && ms <= READY_MS + TICK_MS) this.dispatchEvent(new Event("collect"));
    // The end is the server's to say: until then the bar stays short of full.
    this.#bar.value = Math.min(ms / (READY_MS + COLLECT_MS + (this.hasRange ? RANGE_MS : 0)), 0.95);
    if (ms > READY_MS + LATE_MS) this.#finish("Calibration did not finish: your face must stay in view. Try again.");
  }

  /** @param {string} text */
  #say(text) {
    if (this.#title.textContent !== text) this.#title.textContent = text;
  }

  /** @param {string} sentence */
  #finish(sentence) {
    this.cancel();
    this.dispatchEvent(new CustomEvent("done", { detail: sentence }));
  }
}
