// @ts-check

/** Letter, version and count, then pairs of 16-bit numbers: see streamer/control.py. */
const HEADER_BYTES = 4;
const LETTER = "M".charCodeAt(0);
const VERSION = 1;
const UNIT = 1 / 16384;
const COLOR = "rgb(108 232 205 / 65%)";

/**
 * Draws the face that the server tracks over the camera's own picture. The server is asked to send it only while the
 * switch is on; switched off, nothing is sent, asked or drawn.
 */
export class Mesh {
  #canvas;
  #video;
  #button;
  #store;
  #isOn;
  /** @type {import("./control.js").Control|null} */
  #control = null;
  /** @type {[number, number][]|null} pairs of points that an edge joins */
  #edges = null;

  /**
   * @param {HTMLCanvasElement} canvas - lies over the video
   * @param {HTMLVideoElement} video
   * @param {HTMLButtonElement} button
   * @param {import("./store.js").Store} store
   */
  constructor(canvas, video, button, store) {
    this.#canvas = canvas;
    this.#video = video;
    this.#button = button;
    this.#store = store;
    this.#isOn = store.get("mesh", false);
    button.addEventListener("click", () => this.#switch(!this.#isOn));
    this.#show();
  }

  /** Follow a session that has just begun.
   * @param {import("./control.js").Control} control */
  attach(control) {
    this.#control = control;
    control.addEventListener("mesh", (event) => {
      if (control === this.#control) this.#draw(/** @type {CustomEvent<ArrayBuffer>} */ (event).detail);
    });
    if (this.#isOn) this.#ask();
  }

  /** Show nothing until the next message. */
  wipe() {
    this.#canvas.getContext("2d")?.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
  }

  /** @param {boolean} isOn */
  #switch(isOn) {
    this.#isOn = isOn;
    this.#store.set("mesh", isOn);
    this.#show();
    this.#ask();
  }

  #show() {
    this.#button.setAttribute("aria-pressed", String(this.#isOn));
    this.#canvas.hidden = !this.#isOn;
    if (!this.#isOn) this.wipe();
  }

  #ask() {
    this.#control?.mesh(this.#isOn);
    if (this.#isOn && !this.#edges) void this.#loadEdges();
  }

  async #loadEdges() {
    try {
      const answer = await fetch(new URL("api/mesh", document.baseURI));
      this.#edges = (await answer.json()).edges;
    } catch {
      // Without edges the points alone are drawn; the next session asks again.
    }
  }

  /** @param {ArrayBuffer} message */
  #draw(message) {
    if (!this.#isOn || !this.#video.videoWidth || message.byteLength < HEADER_BYTES) return;
    const view = new DataView(message);
    if (view.getUint8(0) !== LETTER || view.getUint8(1) !== VERSION) return;
    const count = Math.min(view.getUint16(2, true), (message.byteLength - HEADER_BYTES) / 4);
    const context = this.#fit();
    if (!context) return;
    const { width, height } = this.#canvas;
    const u = (/** @type {number} */ point) => view.getInt16(HEADER_BYTES + 4 * point, true) * UNIT * width;
    const v = (/** @type {number} */ point) => view.getInt16(HEADER_BYTES + 4 * point + 2, true) * UNIT * height;
    context.beginPath();
    for (const [first, second] of this.#edges ?? []) {
      if (second >= count) continue;
      context.moveTo(u(first), v(first));
      context.lineTo(u(second), v(second));
    }
    if (!this.#edges) for (let point = 0; point < count; point++) context.rect(u(point), v(point), 1, 1);
    context.stroke();
  }

  /** Make the canvas as fine as the screen and of the video's shape, and wipe it. */
  #fit() {
    const width = Math.round(this.#canvas.clientWidth * devicePixelRatio);
    const height = Math.round((width * this.#video.videoHeight) / this.#video.videoWidth);
    const context = this.#canvas.getContext("2d");
    if (!context || !width) return null;
    if (this.#canvas.width !== width || this.#canvas.height !== height) {
      this.#canvas.width = width;
      this.#canvas.height = height;
    } else context.clearRect(0, 0, width, height);
    context.strokeStyle = COLOR;
    context.lineWidth = Math.max(0.5 * devicePixelRatio, width / 640);
    return context;
  }
}
