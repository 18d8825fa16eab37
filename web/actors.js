// @ts-check
import { consentLine, showConsent } from "./consent.js";

/** @typedef {{name: string, title: string, resolution: number, frame_rate: number, license: string, consent: import("./consent.js").Consent, preview: string|null}} Actor */

/** The target picker: a radio group of cards with previews. Event: `choose` (a person picked `chosen`). */
export class Actors extends EventTarget {
  /** Name of the chosen target; "" until one is known. */
  chosen = "";
  /** Name of the server's own choice. */
  fallback = "";
  /** @type {Actor[]} */
  list = [];
  #root;

  /** @param {HTMLElement} root - holds `#cards`, the template `#card` and `#consent` */
  constructor(root) {
    super();
    this.#root = root;
  }

  /** @returns {Actor|undefined} */
  get current() {
    return this.list.find((actor) => actor.name === this.chosen);
  }

  /**
   * @param {Actor[]} actors
   * @param {string} fallback - name of the server's default
   */
  load(actors, fallback) {
    this.list = actors;
    this.fallback = actors.some(({ name }) => name === fallback) ? fallback : (actors[0]?.name ?? "");
    const cards = /** @type {HTMLElement} */ (this.#root.querySelector("#cards"));
    cards.replaceChildren(...actors.map((actor) => this.#card(actor)));
    /** @type {HTMLElement} */ (this.#root.querySelector("#no-actors")).hidden = actors.length > 0;
  }

  /** Show a choice without reporting it; an unknown name leaves no card checked.
   * @param {string} name */
  select(name) {
    this.chosen = name;
    for (const input of this.#inputs()) input.checked = input.value === name;
    this.#showConsent();
  }

  focus() {
    (this.#inputs().find((input) => input.checked) ?? this.#inputs()[0])?.focus();
  }

  #showConsent() {
    showConsent(/** @type {HTMLElement} */ (this.#root.querySelector("#consent")), this.current?.consent);
  }

  #inputs() {
    return /** @type {HTMLInputElement[]} */ ([...this.#root.querySelectorAll("#cards input")]);
  }

  /** @param {Actor} actor */
  #card(actor) {
    const template = /** @type {HTMLTemplateElement} */ (this.#root.querySelector("#card"));
    const card = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
    const find = (/** @type {string} */ selector) => /** @type {any} */ (card.querySelector(selector));
    const input = find("input");
    input.value = actor.name;
    input.checked = actor.name === this.chosen;
    input.addEventListener("change", () => {
      this.chosen = actor.name;
      this.#showConsent();
      this.dispatchEvent(new Event("choose"));
    });
    const image = find("img");
    image.addEventListener("error", () => (image.hidden = true));
    if (actor.preview) image.src = new URL(actor.preview, document.baseURI).href;
    else image.hidden = true;
    find(".title").textContent = actor.title || actor.name;
    find(".facts").textContent = `${actor.resolution} × ${actor.resolution}, ${Math.round(actor.frame_rate)} fps · ${actor.license}`;
    find(".consent").textContent = consentLine(actor.consent);
    return card;
  }
}
