// @ts-check

/**
 * Single-key shortcuts, as written on the page: each `[data-key]` element is clicked by its key. A person can switch
 * them off (speech input types letters).
 */
export class Shortcuts {
  /** @type {boolean} */
  isOn = true;

  /** @param {Document} page */
  constructor(page) {
    page.addEventListener("keydown", (event) => {
      const target = /** @type {HTMLElement} */ (event.target);
      const isTyping = target.matches("select, textarea, input:not([type=range], [type=radio], [type=checkbox])");
      if (!this.isOn || isTyping || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
      if (page.querySelector("dialog[open]")) return;
      const key = CSS.escape(event.key.toLowerCase());
      const control = /** @type {HTMLButtonElement|null} */ (page.querySelector(`[data-key="${key}"]`));
      if (!control || control.disabled) return;
      event.preventDefault();
      control.click();
    });
  }
}
