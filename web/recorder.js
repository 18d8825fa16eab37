// @ts-check

/** @typedef {{url: string, state: "recording"|"finishing"|"ready"|"failed", seconds: number, frames: number, lost: number, bytes: number, message: string}} Recording */

const KEY = "recording";

/** Starts and stops a recording on the server and brings the file to this disk. Event: `change` (`text`, `isOn`, `url`). */
export class Recorder extends EventTarget {
  /** Whether a recording runs. */
  isOn = false;
  /** What to say about it. */
  text = "";
  /** Address of the last complete file, or "". */
  url = "";
  /** @type {import("./control.js").Control|null} */
  #control = null;

  constructor() {
    super();
    void this.#recover();
  }

  /** @param {import("./control.js").Control} control */
  attach(control) {
    this.#control = control;
    control.addEventListener("recording", (event) => this.#show(/** @type {CustomEvent} */ (event).detail));
  }

  /** @param {string} format - mp4 or webm */
  start(format) {
    this.url = "";
    this.#control?.record(true, format);
  }

  stop() {
    this.#control?.record(false);
  }

  /** The session has ended; the server completes the file by itself. */
  detach() {
    this.#control = null;
    if (!this.isOn) return;
    this.isOn = false;
    void this.#recover();
  }

  /** @param {Recording} recording */
  #show({ url, state, seconds, frames, lost, bytes, message }) {
    this.isOn = state === "recording";
    remember(state === "failed" ? "" : url);
    const length = `${clock(seconds)}, ${frames} frames, ${size(bytes)}`;
    const gap = lost ? `, ${lost} frames lost: the server was too slow` : "";
    this.text = {
      recording: `Recording ${length}${gap}`,
      finishing: "Completing the file …",
      ready: `Saved to your downloads: ${length}${gap}. ${message}`.trim(),
      failed: message,
    }[state];
    if (state === "ready") this.#take(url);
    this.dispatchEvent(new Event("change"));
  }

  /** @param {string} url */
  #take(url) {
    this.url = url;
    remember("");
    const link = document.createElement("a");
    link.href = url;
    link.download = "";
    document.body.append(link);
    link.click();
    link.remove();
  }

  /** Offer a recording that the page lost sight of: it was reloaded, or its session ended. */
  async #recover() {
    const url = recall();
    if (!url) return;
    for (let left = 20; left > 0; left--) {
      const response = await fetch(url, { method: "HEAD", cache: "no-store" }).catch(() => null);
      if (response?.ok) {
        this.url = url;
        this.text = "Your last recording is complete.";
        this.dispatchEvent(new Event("change"));
        return;
      }
      if (response?.status !== 409) break;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    remember("");
  }
}

/** @param {string} url */
function remember(url) {
  try {
    if (url) sessionStorage.setItem(KEY, url);
    else sessionStorage.removeItem(KEY);
  } catch {
    // Storage forbidden: a reload loses sight of the recording.
  }
}

function recall() {
  try {
    return sessionStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
}

/** @param {number} seconds */
function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}

/** @param {number} bytes */
function size(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
