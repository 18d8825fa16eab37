// @ts-check
import { PARTS } from "./latency.js";
import { Plot } from "./plots.js";

/** @typedef {import("./stats.js").Snapshot} Snapshot */

const STAGES = ["decode", "queue", "track", "transfer", "render", "generate", "mark", "encode"];
const RATES = [
  { key: "fps_in", label: "Camera, at the server", color: "--rate-in" },
  { key: "fps_output", label: "Target, on this screen", color: "--rate-out" },
];
/** One frame at 30 fps, ms: stages above this line cost frames. */
const FRAME_MS = 1000 / 30;

const number = (/** @type {number|null|undefined} */ value, digits = 0) => (value == null ? "–" : value.toFixed(digits));
const pair = (/** @type {number|null} */ a, /** @type {number|null} */ b, digits = 0) => `${number(a, digits)} / ${number(b, digits)}`;

/** Every figure of the table: what it says, from the snapshot. @type {[string, (s: Snapshot) => string, string][]} */
const FIGURES = [
  ["Glass to glass p50 / p95", (s) => `${pair(s.glass_ms.p50, s.glass_ms.p95)} ms`, "From your camera's picture to the target on this screen, of every frame"],
  ["Age p50 / p95", (s) => `${pair(s.age_ms.p50, s.age_ms.p95, 1)} ms`, "In the server: from a camera frame's arrival to its answer leaving"],
  ["Network round trip", (s) => `${number(s.network_ms, 1)} ms`, "Measured by ICE on the path that video takes"],
  ["Control round trip", (s) => `${number(s.round_trip_ms, 1)} ms`, "Of a message over the data channel"],
  ["Jitter buffer / decode", (s) => `${pair(s.jitter_buffer_ms, s.decode_ms, 1)} ms`, "Mean wait of a frame in this browser"],
  ["Frame rate in / out", (s) => `${pair(s.fps_in, s.fps_out)} fps`, "Frames that the server tracks, and that it sends"],
  ["Frames dropped", (s) => String(Object.values(s.dropped).reduce((sum, n) => sum + n, 0)), "In the server: the newest frame wins, an older one that waits is dropped"],
  ["Frames decoded / shown", (s) => `${s.frames_decoded} / ${s.frames_shown}`, "By this browser, since the session began"],
  ["Packets lost", (s) => String(s.packets_lost), "On the way here"],
  ["Bitrate up / down", (s) => `${pair(s.bitrate_kbps.sent, s.bitrate_kbps.received)} kb/s`, "Video alone"],
  ["Codec up / down", (s) => `${s.codec.sent ?? "–"} / ${s.codec.received ?? "–"}`, ""],
  ["Picture up / down", (s) => `${s.resolution.sent ?? "–"} / ${s.resolution.output ?? "–"}`.replaceAll("x", "×"), "Pixels"],
  ["Tracking confidence", (s) => (s.confidence == null ? "–" : `${Math.round(s.confidence * 100)} %`), ""],
  ["Tracker", (s) => s.tracker ?? "–", "What reads your face"],
  ["Governor", (s) => (s.governor?.is_on ? (s.governor.step ? `${s.governor.step} down` : "full quality") : "off"), "Holds your target delay by lowering quality"],
  ["Engine", (s) => s.engine ?? "–", "What runs the network"],
];

/** The performance section: three headline figures, two plots and a table, all of one snapshot. */
export class Meters {
  #root;
  #rates;
  #stages;
  #latency;
  /** @type {Map<string, HTMLElement>} */
  #cells = new Map();

  /** @param {HTMLElement} root */
  constructor(root) {
    this.#root = root;
    this.#rates = new Plot(this.#canvas("#plot-rates"), { series: RATES, minTop: 40, unit: "fps" });
    const series = STAGES.map((key) => ({ key, label: key, color: `--stage-${key}` }));
    this.#stages = new Plot(this.#canvas("#plot-stages"), { series, isStacked: true, minTop: 10, unit: "ms", rule: FRAME_MS });
    const parts = PARTS.map((key) => ({ key: `latency-${key}`, label: key, color: `--part-${key}` }));
    this.#latency = new Plot(this.#canvas("#plot-latency"), { series: parts, isStacked: true, minTop: 50, unit: "ms" });
    this.#legend("#legend-latency", parts);
    this.#legend("#legend-rates", RATES);
    this.#legend("#legend-stages", series);
    for (const [label, , title] of FIGURES) this.#row(label, title);
  }

  /** @param {Snapshot} stats */
  show(stats) {
    this.#text("#headline-fps", number(stats.fps_output));
    this.#text("#headline-delay", number(stats.glass_ms.p50 ?? stats.delay_ms));
    this.#text("#headline-late", number(stats.glass_ms.p95));
    for (const part of PARTS) {
      const { p50, p95 } = stats.latency_ms[part];
      this.#set(`latency-${part}`, p50 == null ? "–" : `${number(p50, p50 < 10 ? 1 : 0)} / ${number(p95)}`);
    }
    // Waiting is no work: without the queue, this is what the processor does for a frame.
    const total = STAGES.reduce((sum, key) => sum + (key === "queue" ? 0 : (stats.stages_ms[key] ?? 0)), 0);
    this.#text("#headline-stages", total ? number(total, 1) : "–");
    for (const [label, say] of FIGURES) this.#set(label, say(stats));
    for (const { key } of RATES) this.#set(key, number(/** @type {any} */ (stats)[key]));
    for (const key of STAGES) this.#set(key, number(stats.stages_ms[key], 1));
    this.#text("#governor-text", stats.governor?.text ? `Governor: ${stats.governor.text}.` : "");
    this.#text("#engine-reason", stats.engine_reason ? `Engine: ${stats.engine_reason}` : "");
    this.#text("#tracker-reason", stats.tracker_reason ? `Tracker ${stats.tracker}: ${stats.tracker_reason}` : "");
    if (stats.session === null) return;
    this.#rates.push({ fps_in: stats.fps_in, fps_output: stats.fps_output });
    this.#stages.push(stats.stages_ms);
    this.#latency.push(Object.fromEntries(PARTS.map((part) => [`latency-${part}`, stats.latency_ms[part].p50])));
  }

  clear() {
    this.#rates.clear();
    this.#stages.clear();
    this.#latency.clear();
  }

  /** @param {string} selector */
  #canvas(selector) {
    return /** @type {HTMLCanvasElement} */ (this.#root.querySelector(selector));
  }

  /** @param {string} selector @param {string} text */
  #text(selector, text) {
    const element = /** @type {HTMLElement} */ (this.#root.querySelector(selector));
    if (element.textContent !== text) element.textContent = text;
  }

  /** @param {string} key @param {string} text */
  #set(key, text) {
    const cell = this.#cells.get(key);
    if (cell && cell.textContent !== text) cell.textContent = text;
  }

  /** @param {string} selector @param {import("./plots.js").Series[]} series */
  #legend(selector, series) {
    const list = /** @type {HTMLElement} */ (this.#root.querySelector(selector));
    for (const { key, label, color } of series) {
      const item = document.createElement("li");
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.setProperty("background", `var(${color})`);
      const value = document.createElement("b");
      item.append(swatch, label, value);
      list.append(item);
      this.#cells.set(key, value);
    }
  }

  /** @param {string} label @param {string} title */
  #row(label, title) {
    const term = document.createElement("dt");
    const value = document.createElement("dd");
    term.textContent = label;
    term.title = title;
    this.#root.querySelector("#figures")?.append(term, value);
    this.#cells.set(label, value);
  }
}
