// @ts-check
import { Booth } from "./booth.js";
import { Seen } from "./seen.js";
import { ask, send } from "./transfer.js";

/**
 * The dialog that leads from a person who consents to a training: consent, video, verdict. Nothing reaches the server before the
 * last step, so that a page which is closed on the way leaves nothing behind. Events: `open`, `started`.
 */
export class Enrolment extends EventTarget {
  booth = new Booth();
  #dialog;
  #jobs;
  #seen;
  #camera;
  /** @type {Blob|null} */
  #statement = null;
  /** @type {Blob|null} */
  #video = null;
  /** @type {AbortController|null} */
  #sending = null;

  /**
   * @param {HTMLDialogElement} dialog
   * @param {import("./jobs.js").Jobs} jobs
   * @param {() => string} camera - gives the id of the chosen camera
   */
  constructor(dialog, jobs, camera) {
    super();
    this.#dialog = dialog;
    this.#jobs = jobs;
    this.#camera = camera;
    this.#seen = new Seen(this.#find(".seen .groups"));
    const on = (/** @type {string} */ selector, /** @type {() => void} */ act) => this.#find(selector).addEventListener("click", act);
    this.#find("form").addEventListener("submit", (/** @type {Event} */ event) => (event.preventDefault(), this.#consented()));
    for (const input of this.#find("form").elements) input.addEventListener("input", () => this.#phrase());
    this.#find("[name=statement]").addEventListener("input", ({ target }) => (target.dataset.isOwn = "1"));
    on("header button", () => dialog.close());
    on(".back", () => this.#go("consent"));
    on(".shoot", () => this.#record());
    on(".use", () => this.#use());
    on(".again", () => this.#go("video"));
    on(".finish", () => dialog.close());
    this.#find(".pick input").addEventListener("change", ({ target }) => target.files[0] && this.#take(target.files[0]));
    dialog.addEventListener("close", () => this.#leave());
    this.booth.addEventListener("change", () => this.#showBooth());
    this.booth.addEventListener("seen", (event) => this.#showSeen(/** @type {CustomEvent} */ (event).detail));
    this.booth.addEventListener("done", (event) => this.#recorded(/** @type {CustomEvent} */ (event).detail));
  }

  open() {
    this.dispatchEvent(new Event("open"));
    this.#seen.load(this.#jobs.aims);
    const day = (/** @type {number} */ years) => new Date(Date.now() + years * 31_557_600_000).toISOString().slice(0, 10);
    const until = this.#find("[name=until]");
    until.min = day(0);
    until.value ||= day(1);
    this.#go("consent");
    this.#dialog.showModal();
  }

  /** @returns {any} */
  #find(/** @type {string} */ selector) {
    return this.#dialog.querySelector(selector);
  }

  get #wishes() {
    return Object.fromEntries(new FormData(this.#find("form")));
  }

  get #isSpoken() {
    return this.#wishes.given === "spoken";
  }

  /** What is read into the camera; undefined where prompts run instead. */
  get #aloud() {
    return this.#dialog.dataset.step === "statement" ? this.#wishes.statement.toString() : undefined;
  }

  /** Write the statement out of what was filled in, until the person writes their own. */
  #phrase() {
    const { person, purpose, until } = this.#wishes;
    const words = this.#find("[name=statement]");
    if (!words.dataset.isOwn) {
      words.value = person && purpose ? `I, ${person}, agree that a target is trained from a video of me, and that it may be used for ${purpose}, until ${until}.` : "";
    }
    this.#find(".written-label").textContent = this.#isSpoken ? "Statement, to be read into the camera next" : "Statement";
  }

  #consented() {
    this.#phrase();
    this.#statement = null;
    this.#go(this.#isSpoken ? "statement" : "video");
  }

  /** @param {"consent"|"statement"|"video"|"verdict"} step */
  #go(step) {
    this.#dialog.dataset.step = step;
    const isBooth = step === "statement" || step === "video";
    for (const part of this.#dialog.querySelectorAll(".step")) /** @type {HTMLElement} */ (part).hidden = !part.classList.contains(isBooth ? "booth-step" : step);
    const number = { consent: 0, statement: 0, video: 1, verdict: 2 }[step];
    this.#dialog.querySelectorAll(".steps li").forEach((item, index) => item.toggleAttribute("aria-current", index === number));
    if (isBooth) void this.#openBooth(step);
    else this.booth.close();
  }

  /** @param {"statement"|"video"} step */
  async #openBooth(step) {
    const isVideo = step === "video";
    this.#find(".booth").dataset.kind = step;
    this.#find(".pick").hidden = !isVideo;
    this.#find(".use").hidden = true;
    this.#video = null;
    this.#seen.show({});
    this.#find(".booth-step .lead").textContent = isVideo
      ? "One person, well lit, the head a third to a half of the picture, nothing moving behind. The prompts take about a minute and a half; each goes on once it was seen. Or send a video of one or two minutes."
      : "Press Record and read the statement aloud. It is kept as a recording; the target carries its hash.";
    this.#say("");
    try {
      await this.booth.open(this.#camera(), !isVideo);
    } catch (/** @type {any} */ error) {
      this.#say(`${error.words?.title ?? error.message}. ${isVideo ? "You can send a video instead." : ""}`);
    }
  }

  #record() {
    if (this.booth.state === "recording") return this.booth.stop();
    if (this.booth.state !== "open") return;
    this.#find(".use").hidden = true;
    this.#say("");
    void this.booth.record(this.#aloud);
  }

  #showBooth() {
    const { state, words, share, seconds, stream } = this.booth;
    const own = this.#find("video.own");
    if (own.srcObject !== stream) own.srcObject = stream;
    const isRecording = state === "recording";
    this.#find(".prompt").textContent = words || (this.#aloud ?? "");
    this.#find(".booth-step .lead").hidden = words !== "" && this.#aloud === undefined;
    this.#find(".booth .bar").hidden = this.#find(".booth .time").hidden = !isRecording;
    this.#find(".booth .bar").value = share;
    this.#find(".booth .time").textContent = `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
    const record = this.#find(".shoot");
    record.disabled = state === "closed" || state === "waiting";
    record.textContent = isRecording ? "Stop" : this.#find(".use").hidden ? "Record" : "Record again";
    record.classList.toggle("primary", this.#find(".use").hidden);
  }

  /** @param {Record<string, number>|null} shares - null where the server cannot watch */
  #showSeen(shares) {
    if (shares) this.#seen.show(shares);
    else this.#say("The server watches another session: what was seen is not shown, and found out afterwards.");
  }

  /** @param {Blob} blob */
  #recorded(blob) {
    if (this.#dialog.dataset.step === "statement") this.#statement = blob;
    else this.#video = blob;
    const missing = Object.keys(this.#jobs.aims).filter((name) => (this.#seen.shares[name] ?? 0) < 0.34);
    const isKnown = this.#dialog.dataset.step === "video" && Object.keys(this.#seen.shares).length > 0;
    this.#find(".use").hidden = false;
    this.#say(isKnown && missing.length > 0 ? `Little was seen of: ${missing.join(", ").replaceAll("_", " ")}.` : "");
    this.#showBooth();
  }

  #use() {
    if (this.#dialog.dataset.step === "statement") this.#go("video");
    else if (this.#video) this.#take(this.#video);
  }

  /** @param {string} text */
  #say(text) {
    this.#find(".booth-step .hint").textContent = text;
  }

  /** Send everything: consent first, then the video, and hear what becomes of it.
   * @param {Blob} video */
  async #take(video) {
    this.#find(".pick input").value = "";
    this.#go("verdict");
    this.#sending = new AbortController();
    const { signal } = this.#sending;
    const bar = this.#find(".verdict progress");
    this.#judge("busy", "Sending the video", "");
    let job = null;
    let watching = 0;
    try {
      const { title, person, purpose, until, statement, minutes, resolution } = this.#wishes;
      const consent = { title, person, purpose, until, statement: this.#isSpoken ? "" : statement, is_spoken: this.#isSpoken };
      job = await ask("POST", "api/jobs", { ...consent, minutes: Number(minutes), resolution: Number(resolution) });
      if (this.#isSpoken && this.#statement) await send(`api/jobs/${job.id}/statement`, this.#statement, () => undefined, signal);
      const { found } = await send(`api/jobs/${job.id}/video`, video, (share) => {
        bar.value = share;
        if (share < 1 || watching) return;
        this.#judge("busy", "Looking at it", "Light, size, cuts, how many people, and what it shows.");
        watching = window.setInterval(async () => {
          const { progress } = await ask("GET", `api/jobs/${job.id}`).catch(() => ({}));
          if (progress?.total) bar.value = progress.done / progress.total;
        }, 1000);
      }, signal);
      this.#judge("good", "This will do", "The training has its place in the queue. You can close this, and the page as well.", found.advice);
      this.dispatchEvent(new Event("started"));
    } catch (/** @type {any} */ error) {
      if (job) await ask("DELETE", `api/jobs/${job.id}`).catch(() => undefined);
      this.#judge("bad", "This will not do", error.message);
    } finally {
      clearInterval(watching);
    }
  }

  /** @param {"busy"|"good"|"bad"} kind @param {string} title @param {string} text @param {string[]} [advice] */
  #judge(kind, title, text, advice = []) {
    const part = this.#find(".verdict");
    part.dataset.kind = kind;
    this.#find(".verdict h3").textContent = title;
    this.#find(".verdict .text").textContent = text;
    this.#find(".verdict progress").hidden = kind !== "busy";
    this.#find(".verdict progress").value = 0;
    this.#find(".verdict ul").replaceChildren(...advice.map((words) => Object.assign(document.createElement("li"), { textContent: words })));
    this.#find(".again").hidden = kind !== "bad";
    this.#find(".finish").hidden = kind === "busy";
  }

  #leave() {
    this.#sending?.abort();
    this.booth.close();
    this.#statement = this.#video = null;
  }
}
