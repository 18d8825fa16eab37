// @ts-check

/** Choices remembered between visits, as one JSON object; kept in memory alone where the browser forbids storage. */
export class Store {
  /** @type {Record<string, any>} */
  #values = {};
  #key;

  /** @param {string} [key] - name of the entry in `localStorage` */
  constructor(key = "reenact") {
    this.#key = key;
    try {
      const values = JSON.parse(localStorage.getItem(key) ?? "{}");
      if (values && typeof values === "object" && !Array.isArray(values)) this.#values = values;
    } catch {
      // Storage forbidden or its content damaged: start with nothing remembered.
    }
  }

  /**
   * @template T
   * @param {string} name
   * @param {T} fallback - returned when nothing, or something of another type, is remembered
   * @returns {T}
   */
  get(name, fallback) {
    const value = this.#values[name];
    return typeof value === typeof fallback && value !== null ? value : fallback;
  }

  /**
   * @param {string} name
   * @param {any} value - JSON; `undefined` forgets
   */
  set(name, value) {
    if (value === undefined) delete this.#values[name];
    else this.#values[name] = value;
    try {
      localStorage.setItem(this.#key, JSON.stringify(this.#values));
    } catch {
      // Forbidden or full: the choice lasts as long as the page.
    }
  }
}
