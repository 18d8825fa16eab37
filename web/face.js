// @ts-check

/** What the server knows of the source's face, in words. `tip` is the way on. @type {Record<string, {text: string, tip: string}>} */
const WORDS = {
  numbers: { text: "Moved by numbers", tip: "" },
  tracked: { text: "Face tracked", tip: "" },
  holding: { text: "No face: holding the last pose", tip: "Turn towards the camera." },
  easing: { text: "No face: easing to the neutral pose", tip: "Turn towards the camera." },
  absent: { text: "No face in view", tip: "Sit in front of the camera, with light on your face." },
};
/** A blink of the tracker is not worth reading out. */
const SPOKEN_AFTER_MS = 600;

/** The face line over the output. */
export class Face {
  #root;
  #text;
  #tip;
  #spoken;
  #key = "";
  #timer = 0;

  /**
   * @param {HTMLElement} root - with `.text` and `.tip`
   * @param {HTMLElement} spoken - a polite live region
   */
  constructor(root, spoken) {
    this.#root = root;
    this.#text = /** @type {HTMLElement} */ (root.querySelector(".text"));
    this.#tip = /** @type {HTMLElement} */ (root.querySelector(".tip"));
    this.#spoken = spoken;
  }

  /**
   * @param {string|null} state - tracked, holding, easing, absent; null: not known
   * @param {number} faces - how many are in view
   * @param {boolean} isMuted - the camera gives no picture
   */
  show(state, faces, isMuted) {
    const key = state === null ? "" : isMuted ? "muted" : `${state} ${faces > 1 ? faces : ""}`;
    if (key === this.#key) return;
    this.#key = key;
    const words = isMuted
      ? { text: "The camera gives no picture", tip: "Open its shutter or its privacy switch." }
      : { ...WORDS[state ?? ""] };
    if (faces > 1 && state === "tracked" && !isMuted) {
      words.text = `${faces} faces in view: following one`;
      words.tip = "Let one person sit in front of the camera.";
    }
    this.#root.hidden = state === null || !words.text;
    this.#root.dataset.face = isMuted ? "absent" : (state ?? "");
    this.#text.textContent = words.text ?? "";
    this.#tip.textContent = words.tip ?? "";
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#spoken.textContent = this.#root.hidden ? "" : `${words.text}. ${words.tip}`;
    }, SPOKEN_AFTER_MS);
  }
}
