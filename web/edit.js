// @ts-check
import { FaceDrag } from "./edit_drag.js";
import { Keys } from "./edit_keys.js";
import { NumberSliders } from "./edit_sliders.js";
import { EditSource } from "./edit_source.js";
import { Timeline } from "./edit_timeline.js";
import { Failure } from "./errors.js";
import { fetchIceServers } from "./ice.js";
import { PREPARING } from "./lifecycle.js";
import { Session } from "./session.js";

const HELD = { head: "Head", position: "Position", gaze: "Gaze", brows: "Brows", mouth: "Mouth" };
const STATUS = { idle: "Ready", connecting: "Connecting", live: "Live", failed: "Stopped" };
const find = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const get = async (/** @type {string} */ path) => {
  const response = await fetch(path, { cache: "no-store" });
  if (!response.ok) throw new Failure("server_error", { message: (await response.json()).error?.message, status: response.status });
  return response.json();
};

const [{ limits }, { actors, default: fallback }] = await Promise.all([get("/api/numbers"), get("/api/actors")]).catch((error) => {
  fail(Failure.of(error));
  return /** @type {Promise<never>} */ (new Promise(() => {})); // Nothing of the page begins.
});
const keys = new Keys();
const timeline = new Timeline(find, keys);
const sliders = new NumberSliders(find("sliders"), limits);
const drag = new FaceDrag(find("picture"), find("output"), sliders);
const source = new EditSource();
/** @type {Session|null} */
let session = null;
let run = new AbortController();
let shown = 0;

/** Chosen values, for tests and for people at the console. */
Object.assign(window, {
  reenact: Object.freeze({ values: () => sliders.values, keys: () => structuredClone(keys.list), frames: () => shown }),
});

function enter(/** @type {keyof typeof STATUS} */ state, /** @type {string} */ words = "") {
  document.body.dataset.state = state;
  find("status").textContent = STATUS[state];
  find("start").textContent = state === "idle" || state === "failed" ? "Start" : "Stop";
  find("record").disabled = state !== "live";
  find("note").textContent = words;
}

function fail(/** @type {Failure} */ failure) {
  enter("failed", `${failure.words.title}. ${failure.words.text}`);
}

// --- session -----------------------------------------------------------------------------------------------------------

async function start() {
  stop();
  const { signal } = run;
  enter("connecting");
  try {
    const kind = find("source").value;
    const track = await source.open(kind, find("clip").files[0]);
    if (source.clip && Number.isFinite(source.clip.duration)) timeline.length_s = source.clip.duration;
    const made = (session = new Session(await fetchIceServers()));
    made.addEventListener("stream", (event) => (find("output").srcObject = /** @type {CustomEvent} */ (event).detail));
    made.addEventListener("lost", () => session === made && end(made.complaint ?? new Failure("connection_lost")));
    const hear = (/** @type {string} */ type, /** @type {(detail: any) => void} */ act) =>
      made.control.addEventListener(type, (event) => act(/** @type {CustomEvent} */ (event).detail));
    hear("hello", () => {
      made.control.set("source", kind === "numbers" ? "numbers" : "camera");
      made.control.edit(sliders.values);
      enter("live");
    });
    hear("error", ({ message }) => (find("note").textContent = message));
    hear("stats", ({ is_preparing }) => {
      const isNews = is_preparing && document.body.dataset.state === "connecting" && find("note").textContent !== PREPARING;
      if (isNews) enter("connecting", PREPARING);
    });
    hear("bye", () => session === made && end(new Failure("session_idle")));
    hear("recording", showRecording);
    signal.throwIfAborted();
    const client = `edit-${Date.now().toString(36)}`;
    await made.connect(track, { actor: find("actor").value, client, codec: "auto" }, signal);
  } catch (error) {
    if (!signal.aborted) end(Failure.of(error));
  }
}

function stop() {
  run.abort();
  run = new AbortController();
  timeline.pause();
  session?.close();
  session = null;
  source.close();
  find("output").srcObject = null;
  enter("idle");
}

function end(/** @type {Failure} */ failure) {
  stop();
  fail(failure);
}

find("start").addEventListener("click", () => (session ? stop() : void start()));
find("source").addEventListener("change", () => (find("clip-field").hidden = find("source").value !== "clip"));
window.addEventListener("pagehide", stop);
const count = () => (shown++, find("output").requestVideoFrameCallback?.(count));
find("output").requestVideoFrameCallback?.(count);

// --- target ------------------------------------------------------------------------------------------------------------

for (const { name, title } of actors) find("actor").append(new Option(title, name));
function choose() {
  const actor = actors.find((/** @type {{name: string}} */ { name }) => name === find("actor").value);
  if (actor?.handles) drag.handles = actor.handles;
  find("output").poster = actor?.preview ?? "";
}
find("actor").value = new URLSearchParams(location.search).get("actor") ?? fallback;
if (!find("actor").value) find("actor").selectedIndex = 0;
find("actor").addEventListener("change", () => (choose(), session?.control.actor(find("actor").value)));
choose();

// --- changes and time ----------------------------------------------------------------------------------------------------

sliders.addEventListener("input", () => session?.control.edit(sliders.values));
drag.addEventListener("drag", (event) => (find("hold").textContent = HELD[/** @type {keyof typeof HELD} */ (/** @type {CustomEvent} */ (event).detail)]));
find("reset").addEventListener("click", () => (sliders.show({}), session?.control.edit({})));
timeline.addEventListener("seek", () => {
  const values = keys.at(timeline.time_s);
  if (values) {
    sliders.show(values);
    session?.control.edit(sliders.values);
  }
  // A clip and the time line are one: far apart, the clip is brought back.
  const { clip } = source;
  if (clip && Math.abs(clip.currentTime - timeline.time_s) > (timeline.isPlaying ? 0.25 : 0.02)) clip.currentTime = timeline.time_s;
});
find("key").addEventListener("click", () => (keys.set(timeline.time_s, sliders.values), timeline.seek(timeline.time_s)));
find("unkey").addEventListener("click", () => keys.remove(timeline.time_s));

// --- files ---------------------------------------------------------------------------------------------------------------

find("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([keys.toJson()], { type: "application/json" }));
  link.download = "edits.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  find("note").textContent = "reenact render --edits edits.json makes the video at full quality.";
});
find("load").addEventListener("change", async () => {
  const [file] = find("load").files;
  try {
    keys.fromJson(await file.text(), limits);
    timeline.length_s = Math.max(timeline.length_s, ...keys.list.map(({ time_s }) => time_s));
    timeline.seek(0);
  } catch {
    find("note").textContent = `${file.name} holds no keys.`;
  }
  find("load").value = "";
});

find("record").addEventListener("click", () => {
  find("result").hidden = true;
  session?.control.record(true, "mp4");
  timeline.play(false);
});
timeline.addEventListener("ended", () => session?.control.record(false));

function showRecording(/** @type {import("./recorder.js").Recording} */ { state, url, message, frames }) {
  find("note").textContent = state === "failed" ? message : state === "ready" ? `Recorded ${frames} frames.` : "Recording";
  find("result").hidden = state !== "ready";
  if (state === "ready") find("result").href = url;
}

// Nothing answers a hand before all of the above hears it.
find("edit").inert = false;
