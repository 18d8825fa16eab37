// @ts-check
import { ask } from "./transfer.js";

const STEP_MS = 2000;
const CALM_MS = 15_000;
const LABELS = /** @type {Record<string, string>} */ ({ checking: "Looking at the video", tracking: "Finding the face in every frame", pictures: "Cutting pictures", conditioning: "Drawing the face model", training: "Training" });

/**
 * The trainings of this server, below the list of targets. Hidden from who may not start one.
 * Events: `finished` (detail: name of the new target), `load` (what the server allows is known).
 */
export class Jobs extends EventTarget {
  isAllowed = false;
  /** @type {any} */
  aims = {};
  #list;
  #timer = 0;
  /** @type {Map<string, string>} */
  #states = new Map();

  /** @param {HTMLElement} list */
  constructor(list) {
    super();
    this.#list = list;
  }

  /** Look now, and again while something goes on. */
  async look() {
    clearTimeout(this.#timer);
    const answer = await ask("GET", "api/jobs").catch(() => null);
    if (answer?.is_allowed) {
      this.isAllowed = true;
      this.aims = answer.aims;
      const shown = answer.jobs.filter((/** @type {any} */ job) => job.state !== "waiting");
      const whole = await Promise.all(shown.map((/** @type {any} */ job) => (job.state === "training" ? ask("GET", `api/jobs/${job.id}`).catch(() => job) : job)));
      this.#show(whole);
      for (const job of answer.jobs) {
        const before = this.#states.get(job.id);
        if (job.state === "finished" && before && before !== "finished") this.dispatchEvent(new CustomEvent("finished", { detail: job }));
        this.#states.set(job.id, job.state);
      }
      this.dispatchEvent(new Event("load"));
      const isBusy = answer.jobs.some((/** @type {any} */ { state }) => ["checking", "queued", "training"].includes(state));
      this.#timer = setTimeout(() => this.look(), isBusy ? STEP_MS : CALM_MS);
    }
  }

  /** @param {any[]} jobs */
  #show(jobs) {
    const old = new Map([...this.#list.children].map((card) => [/** @type {HTMLElement} */ (card).dataset.id, /** @type {HTMLElement} */ (card)]));
    const cards = jobs.map((job) => old.get(job.id) ?? this.#card(job.id));
    // Replaced only when others come or go: what has the keyboard keeps it. A canvas has no size before it stands in the page.
    if (cards.length !== old.size || cards.some((card, index) => card !== this.#list.children[index])) this.#list.replaceChildren(...cards);
    cards.forEach((card, index) => fill(card, jobs[index]));
  }

  /** @param {string} id */
  #card(id) {
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById("job"));
    const card = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
    card.dataset.id = id;
    const act = async (/** @type {string} */ method, /** @type {string} */ path) => {
      await ask(method, path).catch((error) => (find(card, ".says").textContent = error.message));
      await this.look();
    };
    find(card, ".retry").addEventListener("click", () => act("POST", `api/jobs/${id}/retry`));
    let isSure = false;
    find(card, ".remove").addEventListener("click", ({ currentTarget }) => {
      const isOver = ["finished", "refused"].includes(card.dataset.state ?? "");
      if (isSure || isOver) return void act("DELETE", `api/jobs/${id}`);
      // Hours of work: the second press does it.
      isSure = true;
      /** @type {HTMLElement} */ (currentTarget).textContent = "Really?";
    });
    return card;
  }
}

/** @param {HTMLElement} card @param {any} job */
function fill(card, job) {
  card.dataset.state = job.state;
  find(card, "b").textContent = job.title;
  find(card, ".says").textContent = says(job);
  find(card, ".retry").hidden = job.state !== "failed";
  const bar = find(card, "progress");
  bar.hidden = !["checking", "training"].includes(job.state);
  bar.value = job.progress?.total ? job.progress.done / job.progress.total : 0;
  const image = find(card, "img");
  const details = find(card, "details");
  details.hidden = !job.grid;
  if (job.grid && !image.src.endsWith(job.grid)) image.src = job.grid;
  draw(find(card, ".curve"), find(card, ".figures-now"), job.curve ?? []);
  return card;
}

/** @param {any} job */
function says({ state, progress, reason, cure, is_paused: isPaused, name }) {
  if (state === "queued") return "Waits for its turn, and for the live session to end.";
  if (state === "finished") return `Ready, as “${name}”.`;
  if (state === "failed" || state === "refused") return `${reason} ${cure}`;
  if (isPaused) return "Stands still while a session is live.";
  if (progress?.label === "training" && progress.done >= progress.total) return "Judging it on frames that it never saw …";
  const what = LABELS[progress?.label] ?? "Begins";
  const left = progress?.left_s;
  return left === null || left === undefined ? `${what} …` : `${what}: ${duration(left)} left`;
}

/** @param {number} seconds */
function duration(seconds) {
  return seconds < 90 ? `${Math.max(1, Math.round(seconds / 5) * 5)} s` : `${Math.round(seconds / 60)} min`;
}

/** The photometric loss, on a logarithmic axis, and the newest held-out score.
 * @param {HTMLCanvasElement} canvas @param {HTMLElement} figures @param {any[]} curve */
function draw(canvas, figures, curve) {
  const points = curve.filter(({ loss }) => loss?.photometric > 0);
  canvas.hidden = figures.hidden = points.length < 2;
  if (canvas.hidden) return;
  const { clientWidth: width, clientHeight: height } = canvas;
  const context = canvas.getContext("2d");
  if (!context || !width) return;
  const ratio = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const values = points.map(({ loss }) => Math.log(loss.photometric));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const last = points[points.length - 1];
  const x = (/** @type {any} */ point) => ((point.step - points[0].step) / Math.max(last.step - points[0].step, 1)) * (width - 2) + 1;
  const y = (/** @type {number} */ value) => 4 + (1 - (value - low) / Math.max(high - low, 1e-6)) * (height - 10);
  context.strokeStyle = style.getPropertyValue("--line");
  context.strokeRect(0.5, 0.5, width - 1, height - 1);
  context.strokeStyle = style.getPropertyValue("--accent");
  context.lineWidth = 1.5;
  context.beginPath();
  points.forEach((point, index) => context.lineTo(x(point), y(values[index])));
  context.stroke();
  const scored = curve.filter(({ held_out: scores }) => scores).pop()?.held_out ?? {};
  const scores = Object.entries(scored).map(([name, value]) => `${name.toUpperCase()} ${/** @type {number} */ (value).toFixed(2)}`);
  figures.textContent = [`Step ${last.step}`, `loss ${last.loss.photometric.toFixed(4)}`, ...scores].join(" · ");
}

/** @param {HTMLElement} card @param {string} selector
 * @returns {any} */
function find(card, selector) {
  return card.querySelector(selector);
}
