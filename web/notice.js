// @ts-check

/** @type {Record<import("./errors.js").Action, string>} */
const LABELS = {
  retry: "Try again",
  stop: "Stop trying",
  "choose-camera": "Choose another camera",
  "choose-target": "Choose another target",
  "default-target": "Use the default target",
  "open-localhost": "Open by localhost",
  reload: "Reload the page",
};

/** Shows one failure on the page: title, sentence, countdown and ways on. Event: `action` (detail: the action's name). */
export class Notice extends EventTarget {
  #root;
  #actions;
  #countdown;
  /** @type {import("./errors.js").Failure|null} */
  #shown = null;
  #retryAtMs = 0;

  /** @param {HTMLElement} root - an alert with `h2`, `p`, `.countdown` and `.actions` */
  constructor(root) {
    super();
    this.#root = root;
    this.#actions = /** @type {HTMLElement} */ (root.querySelector(".actions"));
    this.#countdown = /** @type {HTMLElement} */ (root.querySelector(".countdown"));
    setInterval(() => this.#tick(), 250);
  }

  /**
   * @param {import("./errors.js").Failure|null} failure - null hides
   * @param {number} retryAtMs - `performance.now()` of the next try by itself, or 0
   */
  show(failure, retryAtMs) {
    this.#retryAtMs = failure ? retryAtMs : 0;
    this.#tick();
    // The same failure again, from a retry, must not be read out or take the focus again.
    const isSame = failure?.code === this.#shown?.code && failure?.message === this.#shown?.message;
    this.#shown = failure;
    this.#root.hidden = !failure;
    if (!failure || isSame) return;
    const { title, text, actions } = failure.words;
    this.#root.dataset.code = failure.code;
    /** @type {HTMLElement} */ (this.#root.querySelector("h2")).textContent = title;
    /** @type {HTMLElement} */ (this.#root.querySelector("p")).textContent = text;
    this.#actions.replaceChildren(...actions.map((action) => this.#button(action)));
  }

  /** @param {import("./errors.js").Action} action */
  #button(action) {
    if (action === "open-localhost") {
      const link = document.createElement("a");
      const url = new URL(location.href);
      url.hostname = "localhost";
      link.href = url.href;
      link.className = "button";
      link.textContent = LABELS[action];
      return link;
    }
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.action = action;
    button.textContent = LABELS[action];
    button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("action", { detail: action })));
    return button;
  }

  #tick() {
    const seconds = Math.ceil((this.#retryAtMs - performance.now()) / 1000);
    const text = this.#retryAtMs === 0 ? "" : seconds > 0 ? `Next try in ${seconds} s` : "Trying now";
    if (this.#countdown.textContent !== text) this.#countdown.textContent = text;
  }
}
