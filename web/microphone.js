// @ts-check

const OFF = "off";
const DEFAULT = "default";

/**
 * The microphone, off until somebody chooses one, and at every visit anew. Events: `track` (`track` changed: give it to
 * the session), `refused` (detail: a sentence).
 */
export class Microphone extends EventTarget {
  /** @type {MediaStreamTrack|null} */
  track = null;
  #select;
  #opening = 0;

  /** @param {HTMLSelectElement} select */
  constructor(select) {
    super();
    this.#select = select;
    select.addEventListener("change", () => void this.open());
    navigator.mediaDevices?.addEventListener?.("devicechange", () => void this.list());
    void this.list();
  }

  get isChosen() {
    return this.#select.value !== OFF;
  }

  /** List what is there; before permission, browsers withhold names, and one entry stands for all. */
  async list() {
    const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
    const named = devices.filter(({ kind, deviceId }) => kind === "audioinput" && deviceId && deviceId !== DEFAULT);
    const chosen = this.#select.value || OFF;
    const options = [new Option("No microphone", OFF), new Option("Default microphone", DEFAULT)];
    options.push(...named.map(({ deviceId, label }, index) => new Option(label || `Microphone ${index + 1}`, deviceId)));
    if (!options.some(({ value }) => value === chosen)) return this.#refuse("The microphone was unplugged.");
    const describe = (/** @type {Iterable<HTMLOptionElement>} */ list) => [...list].map(({ value, text }) => value + text).join("\n");
    // Rebuilding an open list would close it under the person's hand.
    if (describe(this.#select.options) === describe(options)) return;
    this.#select.replaceChildren(...options);
    this.#select.value = chosen;
  }

  /** Open what is chosen, or nothing. */
  async open() {
    this.close();
    if (!this.isChosen || !navigator.mediaDevices?.getUserMedia) return;
    const opening = ++this.#opening;
    try {
      const id = this.#select.value;
      const device = id === DEFAULT ? {} : { deviceId: { exact: id } };
      const stream = await navigator.mediaDevices.getUserMedia({ audio: { ...device, echoCancellation: true } });
      const [track] = stream.getAudioTracks();
      if (opening !== this.#opening) return track.stop();
      this.track = track;
      track.addEventListener("ended", () => track === this.track && this.#refuse("The microphone has ended."));
      this.dispatchEvent(new Event("track"));
      void this.list();
    } catch (/** @type {any} */ error) {
      if (opening !== this.#opening) return;
      const isDenied = error?.name === "NotAllowedError";
      this.#refuse(isDenied ? "The browser does not allow the microphone for this page." : "The microphone could not be opened.");
    }
  }

  /** Let go of the microphone; the choice stays. */
  close() {
    this.#opening++;
    if (!this.track) return;
    this.track.stop();
    this.track = null;
    this.dispatchEvent(new Event("track"));
  }

  /** @param {string} sentence */
  #refuse(sentence) {
    this.#select.value = OFF;
    this.close();
    void this.list();
    this.dispatchEvent(new CustomEvent("refused", { detail: sentence }));
  }
}
