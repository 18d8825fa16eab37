// @ts-check

/** @typedef {import("./controls.js").Controls} Controls */

const SWITCH = "disclosure.is_shown";
const REASON = "disclosure.reason";
/** The server refuses shorter ones. */
const MIN_LETTERS = 5;

/** Asks once why the label is to be left out; until there is a reason, the label stays. */
export class Disclosure {
  #dialog;
  #controls;

  /**
   * @param {HTMLDialogElement} dialog
   * @param {Controls} controls
   */
  constructor(dialog, controls) {
    this.#dialog = dialog;
    this.#controls = controls;
    const field = /** @type {HTMLInputElement} */ (dialog.querySelector("input"));
    dialog.querySelector("button[type=button]")?.addEventListener("click", () => dialog.close());
    dialog.querySelector("form")?.addEventListener("submit", (event) => {
      if (field.value.trim().length >= MIN_LETTERS) return;
      event.preventDefault();
      field.setCustomValidity("A few words are needed.");
      field.reportValidity();
    });
    field.addEventListener("input", () => field.setCustomValidity(""));
    dialog.addEventListener("close", () => {
      if (dialog.returnValue === "off") controls.choose(REASON, field.value.trim());
      if (dialog.returnValue === "off") controls.choose(SWITCH, false);
      else controls.choose(SWITCH, true);
    });
  }

  /**
   * @param {string} key
   * @param {unknown} value
   * @returns {boolean} true where a choice has to wait for its reason
   */
  holds(key, value) {
    if (key !== SWITCH || value !== false) return false;
    if (String(this.#controls.value(REASON) ?? "").trim().length >= MIN_LETTERS) return false;
    this.#dialog.returnValue = "";
    this.#dialog.showModal();
    return true;
  }
}
