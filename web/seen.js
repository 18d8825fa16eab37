// @ts-check

const GROUPS = { pose: "Pose", expression: "Expression", gaze: "Gaze" };

/** The coverage meter: how much of each aim of a recording was seen, by group. */
export class Seen {
  #root;
  /** @type {Map<string, HTMLElement>} */
  #chips = new Map();
  /** @type {Map<string, {total: HTMLElement, names: string[]}>} */
  #groups = new Map();
  /** @type {Record<string, number>} */
  shares = {};

  /** @param {HTMLElement} root */
  constructor(root) {
    this.#root = root;
  }

  /** @param {Record<string, {group: string}>} aims - as `GET /api/jobs` gives them */
  load(aims) {
    this.#root.replaceChildren();
    for (const [key, title] of Object.entries(GROUPS)) {
      const names = Object.keys(aims).filter((name) => aims[name].group === key);
      const group = add(this.#root, "div", "group");
      const head = add(group, "p");
      head.append(title);
      this.#groups.set(key, { total: add(head, "span"), names });
      const list = add(group, "ul");
      for (const name of names) {
        const chip = add(list, "li");
        chip.textContent = name.replace("_", " ");
        this.#chips.set(name, chip);
      }
    }
    this.show({});
  }

  /** @param {Record<string, number>} shares - 0 to 1 */
  show(shares) {
    this.shares = shares;
    for (const [name, chip] of this.#chips) {
      chip.style.setProperty("--share", String(shares[name] ?? 0));
      chip.classList.toggle("is-seen", (shares[name] ?? 0) >= 1);
    }
    for (const { total, names } of this.#groups.values()) {
      const mean = names.reduce((sum, name) => sum + (shares[name] ?? 0), 0) / Math.max(names.length, 1);
      total.textContent = `${Math.round(100 * mean)} %`;
    }
  }
}

/** @param {HTMLElement} parent @param {string} tag @param {string} [name] */
function add(parent, tag, name = "") {
  const element = document.createElement(tag);
  if (name) element.className = name;
  parent.append(element);
  return element;
}
