// @ts-check

const STATUS = { idle: "Ready", connecting: "Connecting", live: "Live", failed: "Stopped" };

/** Shows the state of the page: `document.body.dataset.state` for the style sheets, words and the start button for people. */
export class View {
  #find;
  #lifecycle;

  /**
   * @param {(id: string) => any} find
   * @param {import("./lifecycle.js").Lifecycle} lifecycle
   */
  constructor(find, lifecycle) {
    this.#find = find;
    this.#lifecycle = lifecycle;
  }

  /** @param {MediaStream|null} camera - shown as the preview */
  show(camera) {
    const { state, failure, retryAtMs } = this.#lifecycle;
    document.body.dataset.state = state;
    document.body.classList.toggle("has-camera", camera !== null);
    document.body.classList.toggle("has-failure", failure !== null);
    this.#status(state === "connecting" && failure ? "Reconnecting" : retryAtMs ? "Waiting" : STATUS[state]);
    this.#button(this.#lifecycle.isRunning ? "Stop" : "Start");
    for (const id of ["calibrate", "reset-tracking"]) this.#find(id).disabled = state !== "live";
    const preview = this.#find("camera");
    if (preview.srcObject !== camera) preview.srcObject = camera;
    if (state === "idle" || state === "failed") this.#find("output").srcObject = null;
  }

  /** @param {import("./actors.js").Actor|undefined} actor @param {string} name - of the target, when nothing more is known */
  showTarget(actor, name) {
    const title = actor?.title ?? name;
    const { state, phase, failure } = this.#lifecycle;
    this.#find("target-name").textContent = title;
    const invitation = `Press Start to drive ${title || "the target"} with your face`;
    this.#find("phase").textContent = state === "idle" ? invitation : failure ? "" : phase;
    const poster = this.#find("poster");
    const url = actor?.preview ? new URL(actor.preview, document.baseURI).href : "";
    if (url && poster.src !== url) poster.src = url;
    poster.hidden = !url;
  }

  /** @param {MediaStream} stream */
  play(stream) {
    const output = this.#find("output");
    if (output.srcObject !== stream) output.srcObject = stream;
    const again = () => void output.play().catch(() => undefined);
    // Muted video may play without a click; where even that is refused, the first click starts it.
    output.play().catch(() => document.addEventListener("pointerdown", again, { once: true }));
  }

  /** @param {string} text */
  #status(text) {
    const status = this.#find("status");
    // Written only when it changes: a live region reads out every write.
    if (status.textContent !== text) status.textContent = text;
    document.title = this.#lifecycle.state === "idle" ? "Reenact" : `${text} · Reenact`;
  }

  /** @param {string} label */
  #button(label) {
    const button = this.#find("start");
    button.classList.toggle("primary", label === "Start");
    button.querySelector("span").textContent = label;
    button.querySelector("use").setAttribute("href", `#i-${label.toLowerCase()}`);
  }
}
