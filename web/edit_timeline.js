// @ts-check

/** @typedef {import("./edit_keys.js").Keys} Keys */

/** The time line: where one is, the keys on it, and playing. Events: `seek` (the time changed), `ended` (once through). */
export class Timeline extends EventTarget {
  #find;
  #keys;
  #isPlaying = false;
  #isLooped = true;
  #startedMs = 0;

  /** @param {(id: string) => any} find @param {Keys} keys */
  constructor(find, keys) {
    super();
    this.#find = find;
    this.#keys = keys;
    find("time").addEventListener("input", () => this.seek(Number(find("time").value)));
    find("length").addEventListener("change", () => this.#resize());
    find("play").addEventListener("click", () => (this.#isPlaying ? this.pause() : this.play()));
    keys.addEventListener("change", () => this.#draw());
  }

  get time_s() {
    return Number(this.#find("time").value);
  }

  get length_s() {
    return Math.min(Math.max(Number(this.#find("length").value) || 5, 0.5), 600);
  }

  set length_s(seconds) {
    this.#find("length").value = String(Math.round(seconds * 100) / 100);
    this.#resize();
  }

  get isPlaying() {
    return this.#isPlaying;
  }

  /** @param {number} time_s */
  seek(time_s) {
    this.#find("time").value = String(time_s);
    this.#find("time").style.setProperty("--value", String(time_s / this.length_s));
    this.#startedMs = performance.now() - 1000 * time_s;
    this.#find("clock").textContent = `${this.time_s.toFixed(2)} s`;
    for (const button of this.#find("keys").children) {
      button.setAttribute("aria-current", String(Math.abs(Number(button.dataset.time) - this.time_s) < 0.02));
    }
    this.dispatchEvent(new Event("seek"));
  }

  /** @param {boolean} [isLooped] - else it ends after the last moment */
  play(isLooped = true) {
    this.#isLooped = isLooped;
    this.#isPlaying = true;
    this.#show();
    this.seek(isLooped && this.time_s < this.length_s - 0.01 ? this.time_s : 0);
    const step = () => {
      if (!this.#isPlaying) return;
      const time_s = (performance.now() - this.#startedMs) / 1000;
      if (time_s < this.length_s) this.seek(time_s);
      else if (this.#isLooped) this.seek(0);
      else {
        this.pause();
        this.dispatchEvent(new Event("ended"));
      }
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  pause() {
    this.#isPlaying = false;
    this.#show();
  }

  #show() {
    this.#find("play").textContent = this.#isPlaying ? "Pause" : "Play";
    this.#find("play").setAttribute("aria-pressed", String(this.#isPlaying));
  }

  #resize() {
    this.#find("time").max = String(this.length_s);
    this.#draw();
  }

  #draw() {
    const buttons = this.#keys.list.map(({ time_s }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.time = String(time_s);
      button.title = `Key at ${time_s.toFixed(2)} s`;
      button.setAttribute("aria-label", button.title);
      button.style.left = `${Math.min(100, (100 * time_s) / this.length_s)}%`;
      button.addEventListener("click", () => this.seek(time_s));
      return button;
    });
    this.#find("keys").replaceChildren(...buttons);
  }
}
