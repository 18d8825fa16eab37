// @ts-check

/** @type {Record<string, string>} whose calibration a tracker takes that has none of its own: `both` follows landmarks */
const OWNERS = { both: "landmarks" };

/**
 * Keeps what a calibration found in this browser, which is the only place where it outlives its session, and gives it to
 * every new one. Each tracker of the server reads a face in its own way: there is one keepsake for each.
 * Event: `restored`.
 */
export class Keepsake extends EventTarget {
  #store;
  /** What was given back last, so that it is given once to each tracker that begins. */
  #given = "";

  /** @param {import("./store.js").Store} store */
  constructor(store) {
    super();
    this.#store = store;
  }

  /** Follow a session that has just begun.
   * @param {import("./control.js").Control} control */
  attach(control) {
    this.#given = "";
    const on = (/** @type {string} */ type, /** @type {(message: any) => void} */ act) =>
      control.addEventListener(type, (event) => act(/** @type {CustomEvent} */ (event).detail));
    on("hello", ({ actor, tracker }) => this.#give(control, OWNERS[tracker] ?? tracker, `${actor} ${tracker}`));
    on("calibration", ({ calibration }) => this.#keep(calibration.tracker, calibration));
    // What the server cannot use any more is of no use at all.
    on("error", ({ code }) => code === "bad_calibration" && this.forget());
  }

  /** Forget the person. */
  forget() {
    this.#store.set("calibration", undefined);
  }

  /** @param {string} tracker @param {object} calibration */
  #keep(tracker, calibration) {
    this.#store.set("calibration", { ...this.#store.get("calibration", {}), [tracker]: calibration });
  }

  /**
   * @param {import("./control.js").Control} control
   * @param {string} tracker
   * @param {string} reader - names the tracker that has begun: another target has one of its own
   */
  #give(control, tracker, reader) {
    const kept = /** @type {Record<string, object>} */ (this.#store.get("calibration", {}))[tracker];
    if (!kept || reader === this.#given) return;
    this.#given = reader;
    control.restore(kept);
    this.dispatchEvent(new Event("restored"));
  }
}
