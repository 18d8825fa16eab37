// @ts-check

/** The list of cameras in a `<select>`. Event: `choose` (detail: device id, or "" for the browser's own choice). */
export class CameraPicker extends EventTarget {
  #select;
  #camera;

  /**
   * @param {HTMLSelectElement} select
   * @param {import("./camera.js").Camera} camera
   */
  constructor(select, camera) {
    super();
    this.#select = select;
    this.#camera = camera;
    select.addEventListener("change", () => this.dispatchEvent(new CustomEvent("choose", { detail: select.value })));
  }

  /** List what is there now; before permission, browsers withhold ids, and one entry stands for all.
   * @param {string} wanted - id of the remembered camera, or "" */
  async show(wanted) {
    const cameras = (await this.#camera.list()).filter(({ id }) => id);
    const chosen = this.#camera.id || wanted;
    const options = cameras.map(({ id, label }) => new Option(label, id, false, id === chosen));
    if (!cameras.some(({ id }) => id === chosen)) options.unshift(new Option("Default camera", "", true, true));
    // Rebuilding an open list would close it under the person's hand.
    if (describe(this.#select.options) !== describe(options)) this.#select.replaceChildren(...options);
  }

  focus() {
    this.#select.focus();
  }
}

/** @param {Iterable<HTMLOptionElement>} options */
function describe(options) {
  return [...options].map(({ value, text, selected }) => `${value} ${text} ${selected}`).join("\n");
}
