// @ts-check
import { Obs } from "./obs.js";
import { showInObs } from "./obs_scene.js";
import { Recorder } from "./recorder.js";

/** Where the output goes beside this page: a file, OBS, other people's screens. */
export class Outputs {
  #find;
  #store;
  #lifecycle;
  #recorder = new Recorder();
  #sessionName = "live";
  /** @type {string|null} a viewer's token; "" where none is needed, null until it was asked for */
  #token = null;

  /**
   * @param {(id: string) => any} find
   * @param {import("./lifecycle.js").Lifecycle} lifecycle
   * @param {import("./store.js").Store} store
   */
  constructor(find, lifecycle, store) {
    this.#find = find;
    this.#store = store;
    this.#lifecycle = lifecycle;
    lifecycle.addEventListener("session", () => {
      const { session } = lifecycle;
      if (!session) return;
      this.#recorder.attach(session.control);
      session.control.addEventListener("hello", (event) => void this.#name(/** @type {CustomEvent} */ (event).detail.session));
    });
    lifecycle.addEventListener("change", () => this.#showState());
    this.#recorder.addEventListener("change", () => this.#showRecording());
    this.#wireRecording();
    this.#wireObs();
    this.#wireLinks();
    this.#showState();
    this.#wirePhone();
  }

  get #isLive() {
    return this.#lifecycle.state === "live";
  }

  #showState() {
    if (this.#lifecycle.state !== "live" && !this.#lifecycle.session) this.#recorder.detach();
    this.#find("record").disabled = !this.#isLive;
    this.#showRecording();
  }

  // A file

  #wireRecording() {
    const button = this.#find("record");
    const format = this.#find("record-format");
    format.value = this.#store.get("recordFormat", "mp4");
    format.addEventListener("change", () => this.#store.set("recordFormat", format.value));
    button.addEventListener("click", () => (this.#recorder.isOn ? this.#recorder.stop() : this.#recorder.start(format.value)));
  }

  #showRecording() {
    const { isOn, text, url } = this.#recorder;
    const button = this.#find("record");
    button.setAttribute("aria-pressed", String(isOn));
    button.querySelector("span").textContent = isOn ? "Stop recording" : "Record";
    this.#find("record-format").disabled = isOn;
    this.#find("record-text").textContent = text;
    const link = this.#find("record-link");
    link.hidden = !url || isOn;
    if (url) link.href = url;
  }

  // OBS

  #wireObs() {
    const address = this.#find("obs-address");
    const way = this.#find("obs-way");
    const isCamera = this.#find("obs-camera");
    address.value = this.#store.get("obsAddress", "localhost:4455");
    way.value = this.#store.get("obsWay", "auto");
    isCamera.checked = this.#store.get("obsCamera", false);
    this.#find("obs").addEventListener("submit", async (/** @type {Event} */ event) => {
      event.preventDefault();
      this.#store.set("obsAddress", address.value);
      this.#store.set("obsWay", way.value);
      this.#store.set("obsCamera", isCamera.checked);
      await this.#sendToObs(address.value, this.#find("obs-password").value, way.value, isCamera.checked);
    });
  }

  /**
   * @param {string} address
   * @param {string} password - used now and kept nowhere
   * @param {import("./obs_scene.js").Way} way
   * @param {boolean} isCamera
   */
  async #sendToObs(address, password, way, isCamera) {
    const button = this.#find("obs-connect");
    const say = (/** @type {string} */ text, /** @type {string} */ state) => {
      this.#find("obs-text").textContent = text;
      this.#find("obs-text").dataset.state = state;
    };
    button.disabled = true;
    say("Connecting to OBS …", "busy");
    try {
      await this.#needToken();
      const obs = await Obs.connect(address, password);
      try {
        const { view, stream } = this.#addresses();
        const wish = { view, stream, way, isCamera };
        const { kind, note } = await showInObs(obs, wish);
        const source = kind === "browser_source" ? "a browser source" : "a media source";
        const waiting = this.#isLive ? "" : " It shows the output as soon as you start.";
        say(`In OBS, as ${source} in the scene “Reenact”.${waiting} ${note}`.trim(), note ? "partly" : "done");
      } finally {
        obs.close();
      }
    } catch (/** @type {any} */ error) {
      say(error.message, "failed");
    } finally {
      button.disabled = false;
    }
  }

  // Other screens

  /** Where more than one session fits, an address must name its own.
   * @param {string} session */
  async #name(session) {
    const response = await fetch(new URL("api/sessions", document.baseURI), { cache: "no-store" }).catch(() => null);
    const limits = response?.ok ? await response.json() : {};
    this.#sessionName = limits.max_sessions === 1 ? "live" : session;
    this.#showLinks();
  }

  #addresses() {
    const path = (/** @type {string} */ text) => new URL(text, location.origin).href;
    const name = this.#sessionName;
    const query = this.#token ? `?token=${this.#token}` : "";
    return { view: path(`/view/${name}${query}`), stream: path(`/stream/${name}.ts${query}`), whep: path(`/whep/${name}`), whip: path("/whip") };
  }

  #showLinks() {
    for (const [name, address] of Object.entries(this.#addresses())) this.#find(`address-${name}`).textContent = address;
    this.#find("open-view").href = this.#addresses().view;
  }

  #wireLinks() {
    this.#showLinks();
    this.#find("watch").addEventListener("toggle", () => void this.#needToken());
    for (const button of this.#find("addresses").querySelectorAll("button")) {
      button.addEventListener("click", async () => {
        await navigator.clipboard?.writeText(this.#find(button.dataset.copies).textContent).catch(() => undefined);
        button.textContent = "Copied";
        setTimeout(() => (button.textContent = "Copy"), 1500);
      });
    }
  }

  #wirePhone() {
    const details = this.#find("phone");
    details.addEventListener("toggle", async () => {
      if (!details.open) return;
      const link = await makeLink("source");
      const image = this.#find("phone-code");
      image.hidden = !link?.qr;
      if (link?.qr) image.src = URL.createObjectURL(new Blob([link.qr], { type: "image/svg+xml" }));
      this.#find("phone-address").textContent = link?.url ?? "";
      this.#find("phone-text").textContent = link?.hint ?? "The server does not answer.";
    });
  }

  /** Make the token that OBS and players need, where this server asks for one. */
  async #needToken() {
    if (this.#token !== null) return;
    this.#token = (await makeLink("viewer"))?.token ?? "";
    this.#showLinks();
  }
}

/** Links made in this tab, by right: each token is made once.
 * @type {Map<string, Promise<{token: string, url: string, qr: string, hint: string}|null>>} */
const links = new Map();

/** @param {"viewer"|"source"} right */
function makeLink(right) {
  const known = links.get(right);
  if (known) return known;
  const headers = { "Content-Type": "application/json" };
  const made = fetch(new URL("api/links", document.baseURI), { method: "POST", headers, body: JSON.stringify({ right }) })
    .then((response) => (response.ok ? response.json() : null))
    .catch(() => null);
  links.set(right, made);
  void made.then((link) => link ?? links.delete(right));
  return made;
}
