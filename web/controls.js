// @ts-check

/**
 * @typedef {number|boolean|string} Value
 * @typedef {{key: string, value: Value, default: Value, minimum: number|null, maximum: number|null, unit: string, text: string, choices?: string[], is_whole?: boolean}} Setting
 * @typedef {{name: string, text: string, values: Record<string, Value>}} Preset
 * @typedef {{setting: Setting, value: Value, input: HTMLInputElement|HTMLSelectElement, output: HTMLElement, reset: HTMLButtonElement}} Row
 */

/** Short names; a setting the page has never heard of is named after its key. @type {Record<string, string>} */
const LABELS = {
  "engine.name": "Engine",
  "engine.precision": "Precision",
  "engine.threads": "Engine threads",
  "window.stride": "Window stride",
  "media.codec": "Codec",
  "media.bitrate_kbps": "Bitrate",
  "media.output_px": "Output picture",
  "media.source_px": "Camera picture sent",
  "media.frame_rate": "Frame rate",
  "media.jitter_ms": "Jitter target",
  "governor.is_on": "Governor",
  "governor.target_ms": "Target delay",
  source: "Moved by",
  tracker: "Face tracking",
  "smoothing.min_cutoff_hz": "Smoothing at rest",
  "smoothing.beta": "Response to speed",
  "smoothing.prediction_ms": "Prediction of head motion",
  "transfer.rotation_gain": "Head rotation",
  "transfer.translation_gain": "Head position",
  "transfer.mouth_gain": "Mouth",
  "transfer.brows_gain": "Brows",
  "transfer.eyes_gain": "Eyes and lids",
  "transfer.gaze_gain": "Gaze",
  "transfer.is_mirrored": "Mirror the motion",
  "disclosure.reason": "Why there is no label",
  "disclosure.is_shown": "Label",
  "disclosure.place": "Place of the label",
  "disclosure.words": "Words of the label",
};

/** Groups of settings about delay and quality; they have a list of their own. */
const QUALITY = ["engine", "window", "media", "governor"];

/**
 * Sliders, switches, choices and texts made from the server's own list of settings. What a person changes is remembered and sent again
 * to every new session. Event: `set` (detail: {key, value}).
 */
export class Controls extends EventTarget {
  #root;
  #store;
  /** @type {Map<string, Row>} */
  #rows = new Map();
  /** @type {{preset: Preset, button: HTMLButtonElement}[]} */
  #presets = [];
  /** @type {Record<string, Value>} what a person has chosen, by key */
  #chosen;

  /**
   * @param {HTMLElement} root - holds `#sliders` and the templates `#slider`, `#switch`, `#choice` and `#text`
   * @param {import("./store.js").Store} store
   */
  constructor(root, store) {
    super();
    this.#root = root;
    this.#store = store;
    this.#chosen = { ...store.get("settings", {}) };
  }

  get isLoaded() {
    return this.#rows.size > 0;
  }

  /** @param {Setting[]} settings */
  load(settings) {
    const list = /** @type {HTMLElement} */ (this.#root.querySelector("#sliders"));
    const quality = /** @type {HTMLElement} */ (this.#root.querySelector("#quality"));
    list.replaceChildren();
    quality.replaceChildren();
    this.#rows.clear();
    for (const setting of settings) {
      const isNumber = typeof setting.value === "number" && setting.minimum !== null && setting.maximum !== null;
      const place = QUALITY.includes(setting.key.split(".")[0]) ? quality : list;
      if (isNumber) place.append(this.#build(setting, "#slider"));
      else if (typeof setting.value === "boolean") place.append(this.#build(setting, "#switch"));
      else if (setting.choices?.length) place.append(this.#build(setting, "#choice"));
      else if (typeof setting.value === "string") place.append(this.#build(setting, "#text"));
    }
  }

  /** Make a button for each preset, pressed while all that it stands for holds.
   * @param {Preset[]} presets */
  loadPresets(presets) {
    this.#presets = presets.map((preset) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = preset.name;
      button.title = preset.text;
      button.addEventListener("click", () => {
        for (const [key, value] of Object.entries(preset.values)) this.choose(key, value);
      });
      return { preset, button };
    });
    this.#root.querySelector("#presets")?.replaceChildren(...this.#presets.map(({ button }) => button));
    this.#pressPresets();
  }

  #pressPresets() {
    for (const { preset, button } of this.#presets) {
      const holds = Object.entries(preset.values).every(([key, value]) => this.#rows.get(key)?.value === value);
      button.setAttribute("aria-pressed", String(holds));
    }
  }

  /** Show what the session has, and send what a person has chosen otherwise.
   * @param {Record<string, Value>} settings
   * @param {boolean} isNew - the session has just begun */
  accept(settings, isNew) {
    for (const [key, value] of Object.entries(settings)) {
      const row = this.#rows.get(key);
      if (!row) continue;
      // A choice that the server did not take is none; a slider's may still be on its way.
      if (!isNew && typeof value === "string" && value !== this.#chosen[key]) this.#forget(key);
      const chosen = this.#chosen[key];
      if (isNew && chosen !== undefined && chosen !== value) this.#emit(key, chosen);
      else if (typeof value === "string" || document.activeElement !== row.input) this.#show(row, value);
    }
  }

  /** Set a setting as if by hand. @param {string} key @param {Value} value */
  choose(key, value) {
    const row = this.#rows.get(key);
    if (row) this.#choose(row, value);
  }

  /** @param {string} key @returns {Value|undefined} what is shown now */
  value(key) {
    return this.#rows.get(key)?.value;
  }

  resetAll() {
    // Backwards, because what stands first may hold only while what follows does: a reason, and what it is for.
    for (const row of [...this.#rows.values()].reverse()) this.#choose(row, row.setting.default);
  }

  /**
   * @param {Setting} setting
   * @param {string} template
   */
  #build(setting, template) {
    const source = /** @type {HTMLTemplateElement} */ (this.#root.querySelector(template));
    const element = /** @type {HTMLElement} */ (source.content.firstElementChild?.cloneNode(true));
    const find = (/** @type {string} */ selector) => /** @type {any} */ (element.querySelector(selector));
    const id = `setting-${setting.key.replace(/\W/g, "-")}`;
    const name = LABELS[setting.key] ?? setting.key.replace(/^.*\./, "").replaceAll("_", " ");
    const row = { setting, value: setting.value, input: find("input, select"), output: find("output"), reset: find("button") };
    element.dataset.key = setting.key;
    find("label").textContent = name;
    find("label").htmlFor = row.input.id = id;
    find("p").textContent = setting.text;
    find("p").id = `${id}-text`;
    row.input.setAttribute("aria-describedby", `${id}-text`);
    row.reset.setAttribute("aria-label", `Reset ${name} to ${this.#format(setting, setting.default)}`);
    row.reset.addEventListener("click", () => this.#choose(row, setting.default));
    if (template === "#slider") this.#range(row);
    for (const choice of setting.choices ?? []) row.input.append(new Option(choice));
    const { input } = row;
    // Words are sent when they are finished, not letter by letter.
    input.addEventListener(template === "#text" ? "change" : "input", () => {
      if (input.type === "range") this.#choose(row, Number(input.value));
      else this.#choose(row, input.type === "checkbox" ? input.checked : input.value);
    });
    this.#rows.set(setting.key, row);
    this.#show(row, this.#chosen[setting.key] ?? setting.value);
    return element;
  }

  /** @param {Row} row */
  #range({ setting, input: element }) {
    const input = /** @type {HTMLInputElement} */ (element);
    const low = Number(setting.minimum);
    const span = Number(setting.maximum) - low;
    input.min = String(low);
    input.max = String(setting.maximum);
    // A fine grid holds every default exactly; the arrow keys take steps that a hand would.
    const fine = Math.max(setting.is_whole ? 1 : 0, 10 ** Math.floor(Math.log10(span / 100) + 1e-9));
    input.step = String(fine);
    input.style.setProperty("--default", String((Number(setting.default) - low) / span));
    input.addEventListener("keydown", (event) => {
      const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (!way || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      const step = event.shiftKey ? fine : Math.max(fine, Math.round(span / 40 / fine) * fine);
      input.value = String(Number(input.value) + way * step);
      input.dispatchEvent(new Event("input"));
    });
  }

  /** @param {string} key */
  #forget(key) {
    delete this.#chosen[key];
    this.#store.set("settings", this.#chosen);
  }

  /**
   * @param {Row} row
   * @param {Value} value
   */
  #choose(row, value) {
    const { key } = row.setting;
    // The server's own value is no choice of this person: it may change with the server's configuration.
    if (value === row.setting.value) this.#forget(key);
    else {
      this.#chosen[key] = value;
      this.#store.set("settings", this.#chosen);
    }
    this.#show(row, value);
    this.#emit(key, value);
  }

  /**
   * @param {Row} row
   * @param {Value} value
   */
  #show(row, value) {
    row.value = value;
    const { setting, input } = row;
    if (typeof value === "boolean") /** @type {HTMLInputElement} */ (input).checked = value;
    else if (typeof value === "string") input.value = value;
    else {
      input.value = String(value);
      const low = Number(setting.minimum);
      input.style.setProperty("--value", String((Number(value) - low) / (Number(setting.maximum) - low)));
      input.setAttribute("aria-valuetext", this.#format(setting, value));
    }
    row.output.textContent = this.#format(setting, value);
    row.reset.disabled = value === setting.default;
    this.#pressPresets();
  }

  /**
   * @param {Setting} setting
   * @param {Value} value
   */
  #format(setting, value) {
    if (typeof value === "string") return value;
    if (typeof value === "boolean") return value ? "on" : "off";
    const span = Number(setting.maximum) - Number(setting.minimum);
    const digits = setting.is_whole ? 0 : Math.max(0, -Math.floor(Math.log10(span / 100) + 1e-9));
    const unit = setting.unit || (setting.key.endsWith("_gain") ? "×" : "");
    return `${value.toFixed(digits)} ${unit}`.trim();
  }

  /**
   * @param {string} key
   * @param {Value} value
   */
  #emit(key, value) {
    this.dispatchEvent(new CustomEvent("set", { detail: { key, value } }));
  }
}
