// @ts-check

/** @typedef {Record<string, number>} Values - numbers by name; a missing one is 0
 * @typedef {{time_s: number, values: Values}} Key */

/** Keys closer than this are the same, seconds. */
const SAME_S = 0.02;
const MAX_KEYS = 1000;

/** Keyframes in order of time. Between two the way is eased; before the first and after the last it is theirs. */
export class Keys extends EventTarget {
  /** @type {Key[]} */
  list = [];

  /** @param {number} time_s @param {Values} values */
  set(time_s, values) {
    this.remove(time_s, false);
    if (this.list.length < MAX_KEYS) this.list.push({ time_s: Math.round(time_s * 1000) / 1000, values: { ...values } });
    this.list.sort((a, b) => a.time_s - b.time_s);
    this.dispatchEvent(new Event("change"));
  }

  /** @param {number} time_s @param {boolean} [isTold] */
  remove(time_s, isTold = true) {
    this.list = this.list.filter((key) => Math.abs(key.time_s - time_s) > SAME_S);
    if (isTold) this.dispatchEvent(new Event("change"));
  }

  /** @param {number} time_s @returns {Values|null} what holds then; null without any key */
  at(time_s) {
    if (this.list.length === 0) return null;
    const after = this.list.findIndex((key) => key.time_s > time_s);
    if (after <= 0) return { ...this.list[after === 0 ? 0 : this.list.length - 1].values };
    const [from, to] = [this.list[after - 1], this.list[after]];
    const place = (time_s - from.time_s) / (to.time_s - from.time_s);
    const share = place * place * (3 - 2 * place);
    /** @type {Values} */
    const mixed = {};
    for (const name of new Set([...Object.keys(from.values), ...Object.keys(to.values)])) {
      mixed[name] = (1 - share) * (from.values[name] ?? 0) + share * (to.values[name] ?? 0);
    }
    return mixed;
  }

  /** @returns {string} what `reenact render --edits` reads */
  toJson() {
    return JSON.stringify({ version: 1, keys: this.list }, null, 1);
  }

  /** @param {string} text @param {Record<string, number>} limits - known names @throws {Error} */
  fromJson(text, limits) {
    const read = JSON.parse(text);
    if (read?.version !== 1 || !Array.isArray(read.keys) || read.keys.length > MAX_KEYS) throw new Error("These are no keys.");
    for (const { time_s, values } of read.keys) {
      const isGood = Number.isFinite(time_s) && time_s >= 0 && values && typeof values === "object";
      if (!isGood || !Object.entries(values).every(([name, value]) => name in limits && Number.isFinite(value))) throw new Error("A key is damaged.");
    }
    this.list = read.keys.map((/** @type {Key} */ { time_s, values }) => ({ time_s, values: { ...values } }));
    this.list.sort((a, b) => a.time_s - b.time_s);
    this.dispatchEvent(new Event("change"));
  }
}
