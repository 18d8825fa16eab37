// @ts-check

/** @typedef {import("./edit_keys.js").Values} Values */

const UNITS = { yaw: "°", pitch: "°", roll: "°", gazeYaw: "°", gazePitch: "°", x: " cm", y: " cm", z: " cm" };
/** @type {[string, (name: string) => boolean][]} */
const GROUPS = [
  ["Head", (name) => ["yaw", "pitch", "roll", "x", "y", "z"].includes(name)],
  ["Gaze and blinks", (name) => ["gazeYaw", "gazePitch", "blink"].includes(name)],
  ["Brows", (name) => name.startsWith("brow")],
  ["Eyes", (name) => name.startsWith("eye")],
  ["Jaw and tongue", (name) => name.startsWith("jaw") || name === "tongueOut"],
  ["Mouth", (name) => name.startsWith("mouth")],
  ["Cheeks and nose", () => true],
];
const OPEN = 2;

/** A slider for each number. Event: `input`, when a person moves one. */
export class NumberSliders extends EventTarget {
  /** @type {Values} */
  #values = {};
  /** @type {Map<string, {row: HTMLElement, input: HTMLInputElement, output: HTMLOutputElement}>} */
  #rows = new Map();
  #limits;

  /** @param {HTMLElement} root @param {Record<string, number>} limits - largest value of each, either way */
  constructor(root, limits) {
    super();
    this.#limits = limits;
    const left = new Set(Object.keys(limits));
    GROUPS.forEach(([title, belongs], index) => {
      const details = document.createElement("details");
      const summary = document.createElement("summary");
      summary.textContent = title;
      details.open = index < OPEN;
      details.append(summary);
      for (const name of [...left].filter(belongs)) {
        left.delete(name);
        details.append(this.#build(name));
      }
      root.append(details);
    });
  }

  /** @returns {Values} those that are not 0 */
  get values() {
    return { ...this.#values };
  }

  /** Show other values, without an event. @param {Values} values */
  show(values) {
    this.#values = {};
    for (const [name, { row, input, output }] of this.#rows) {
      const value = this.#bounded(name, values[name] ?? 0);
      if (value) this.#values[name] = value;
      if (document.activeElement !== input || Number(input.value) !== value) input.value = String(value);
      input.style.setProperty("--value", String(value / this.#limits[name] / 2 + 0.5));
      output.textContent = `${value.toFixed(this.#limits[name] > 1 ? 1 : 2)}${UNITS[/** @type {keyof typeof UNITS} */ (name)] ?? ""}`;
      row.classList.toggle("changed", value !== 0);
    }
  }

  /** Change some as if by hand. @param {Values} values */
  change(values) {
    this.show({ ...this.#values, ...values });
    this.dispatchEvent(new Event("input"));
  }

  /** @param {string} name @param {number} value */
  #bounded(name, value) {
    const limit = this.#limits[name];
    return Math.min(Math.max(Math.round(value * 1000) / 1000, -limit), limit);
  }

  /** @param {string} name */
  #build(name) {
    const row = document.createElement("div");
    const label = document.createElement("label");
    const input = document.createElement("input");
    const output = document.createElement("output");
    row.className = "number";
    row.dataset.name = name;
    input.type = "range";
    input.id = label.htmlFor = `number-${name}`;
    label.textContent = name.replace(/([A-Z])/g, " $1").toLowerCase();
    label.title = name;
    const limit = this.#limits[name];
    Object.assign(input, { min: String(-limit), max: String(limit), step: limit > 1 ? "0.5" : "0.01", value: "0" });
    input.style.setProperty("--default", "0.5");
    input.style.setProperty("--value", "0.5");
    input.addEventListener("input", () => this.change({ [name]: Number(input.value) }));
    input.addEventListener("dblclick", () => this.change({ [name]: 0 }));
    row.append(label, input, output);
    this.#rows.set(name, { row, input, output });
    return row;
  }
}
