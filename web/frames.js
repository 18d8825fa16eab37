// @ts-check

/**
 * Counts the frames that a `<video>` really shows. Events: `first`, at the first frame after `restart`; `shown` (detail:
 * what requestVideoFrameCallback knows of it), at every frame of a browser that has the callback.
 */
export class Frames extends EventTarget {
  shown = 0;
  /** `performance.now()` when the last frame was presented. */
  lastMs = 0;
  #video;
  /** Times of presentation within the last second, ms. @type {number[]} */
  #recent = [];
  #generation = 0;

  /** @param {HTMLVideoElement} video */
  constructor(video) {
    super();
    this.#video = video;
  }

  /** Forget what was shown and wait for the next first frame. */
  restart() {
    this.stop();
    const generation = this.#generation;
    if (typeof this.#video.requestVideoFrameCallback === "function") this.#follow(generation);
    else this.#poll(generation, this.#video.getVideoPlaybackQuality().totalVideoFrames);
  }

  stop() {
    this.#generation++;
    this.shown = 0;
    this.#recent = [];
    this.lastMs = performance.now();
  }

  /** @returns {number} frames presented in the last second */
  get fps() {
    const since = performance.now() - 1000;
    while (this.#recent.length && this.#recent[0] < since) this.#recent.shift();
    return this.#recent.length;
  }

  /** @param {number} generation */
  #follow(generation) {
    this.#video.requestVideoFrameCallback((now, metadata) => {
      if (generation !== this.#generation) return;
      this.#count(now);
      this.dispatchEvent(new CustomEvent("shown", { detail: { now, metadata } }));
      this.#follow(generation);
    });
  }

  /** For browsers without the callback.
   * @param {number} generation
   * @param {number} before */
  #poll(generation, before) {
    setTimeout(() => {
      if (generation !== this.#generation) return;
      const { totalVideoFrames } = this.#video.getVideoPlaybackQuality();
      for (let i = before; i < totalVideoFrames; i++) this.#count(performance.now());
      this.#poll(generation, totalVideoFrames);
    }, 16);
  }

  /** @param {number} now */
  #count(now) {
    this.lastMs = now;
    this.#recent.push(now);
    if (this.#recent.length > 240) this.#recent.shift();
    if (++this.shown === 1) this.dispatchEvent(new Event("first"));
  }
}
