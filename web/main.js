// @ts-check
import { Actors } from "./actors.js";
import { Calibration } from "./calibration.js";
import { Camera } from "./camera.js";
import { Controls } from "./controls.js";
import { Disclosure } from "./disclosure.js";
import { Enrolment } from "./enrol.js";
import { Failure } from "./errors.js";
import { Face } from "./face.js";
import { Frames } from "./frames.js";
import { Jobs } from "./jobs.js";
import { Keepsake } from "./keepsake.js";
import { Latency } from "./latency.js";
import { Lifecycle } from "./lifecycle.js";
import { Mesh } from "./mesh.js";
import { Meters } from "./meters.js";
import { Microphone } from "./microphone.js";
import { Notice } from "./notice.js";
import { Outputs } from "./outputs.js";
import { CameraPicker } from "./picker.js";
import { Shortcuts } from "./shortcuts.js";
import { Stats } from "./stats.js";
import { Store } from "./store.js";
import { View } from "./view.js";

const find = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const query = new URLSearchParams(location.search);

const store = new Store();
const camera = new Camera();
const cameras = new CameraPicker(find("cameras"), camera);
const microphone = new Microphone(find("microphones"));
const frames = new Frames(find("output"));
const actors = new Actors(find("target"));
const choices = {
  camera: store.get("camera", ""),
  actor: query.get("actor") ?? store.get("actor", ""),
  codec: store.get("settings", /** @type {Record<string, any>} */ ({}))["media.codec"] ?? "auto",
  client: `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`,
};
try {
  // Kept over a reload, and by this tab alone.
  sessionStorage.setItem("client", (choices.client = sessionStorage.getItem("client") ?? choices.client));
} catch {
  // Storage forbidden: a reload waits until the server misses the old page.
}
const lifecycle = new Lifecycle(camera, frames, choices);
const view = new View(find, lifecycle);
const latency = new Latency(lifecycle, frames, find("camera"));
const stats = new Stats(lifecycle, frames, find("camera"), latency);
const controls = new Controls(find("motion"), store);
const disclosure = new Disclosure(find("unlabelled"), controls);
const meters = new Meters(find("performance"));
const notice = new Notice(find("notice"));
const face = new Face(find("face"), find("face-spoken"));
const calibration = new Calibration(find("calibration"));
const mesh = new Mesh(find("mesh"), find("camera"), find("mesh-switch"), store);
const keepsake = new Keepsake(store);
const shortcuts = new Shortcuts(document);
new Outputs(find, lifecycle, store);
let isCameraMuted = false;

Object.assign(window, { reenact: Object.freeze({ stats: () => stats.snapshot(), latency: () => latency.recent }) });

// --- state ---------------------------------------------------------------------------------------------------------

lifecycle.addEventListener("change", () => {
  const { state, failure, warning } = lifecycle;
  const isNew = document.body.dataset.state !== state; // until it is shown
  view.show(camera.stream);
  notice.show(failure ?? warning, lifecycle.retryAtMs);
  if (state !== "live") {
    calibration.cancel();
    // What was said while connecting is true of the session that is about to be live.
    if (isNew) find("note").textContent = "";
    face.show(null, 0, false);
    mesh.wipe();
  }
  if (state === "idle") {
    meters.clear();
    microphone.close();
  }
  showListening();
  if (camera.stream) void listCameras();
  showTarget();
});
lifecycle.addEventListener("retry", () => notice.show(lifecycle.failure, lifecycle.retryAtMs));
lifecycle.addEventListener("session", () => {
  const { session } = lifecycle;
  if (!session) return;
  isCameraMuted = false;
  if (microphone.track) void session.setSound(microphone.track);
  else void microphone.open();
  mesh.attach(session.control);
  keepsake.attach(session.control);
  session.addEventListener("stream", (event) => view.play(/** @type {CustomEvent} */ (event).detail));
  const on = (/** @type {string} */ type, /** @type {(message: any) => void} */ act) =>
    session.control.addEventListener(type, (event) => act(/** @type {CustomEvent} */ (event).detail));
  on("hello", (hello) => {
    controls.accept(hello.settings, true);
    calibration.hasRange = hello.tracker === "regressor";
    if (actors.list.length === 0 || !controls.isLoaded) void loadLists();
    actors.select(hello.actor);
    showTarget();
  });
  on("settings", ({ settings }) => controls.accept(settings, false));
  on("error", ({ code, message }) => {
    find("note").textContent = message;
    // A target that was refused while live: the one before goes on.
    if (["unknown_actor", "actor_refused"].includes(code)) actors.select(stats.snapshot().actor ?? actors.fallback);
    showTarget();
  });
  on("stats", (message) => {
    if (lifecycle.state !== "live") return;
    face.show(message.face, message.num_faces, isCameraMuted);
    calibration.report(message.is_calibrating, message.face);
    if (message.limits) void session.limit(message.limits);
  });
});

stats.addEventListener("update", () => {
  const snapshot = stats.snapshot();
  meters.show(snapshot);
  const { output, camera: source } = snapshot.resolution;
  find("target-facts").textContent = output ? `${output.replace("x", " × ")}, ${snapshot.fps_output} fps` : "";
  find("source-facts").textContent = source?.replace("x", " × ") ?? "";
});

// --- session controls ------------------------------------------------------------------------------------------------

function start() {
  const isUnknown = choices.actor && actors.list.length > 0 && !actors.list.some(({ name }) => name === choices.actor);
  if (isUnknown) lifecycle.fail(new Failure("unknown_actor", { name: choices.actor }));
  else void lifecycle.start();
}

find("start").addEventListener("click", () => (lifecycle.isRunning ? lifecycle.stop() : start()));
find("calibrate").addEventListener("click", () => calibration.start());
calibration.addEventListener("collect", () => lifecycle.session?.control.calibrate());
calibration.addEventListener("done", (event) => (find("note").textContent = /** @type {CustomEvent} */ (event).detail));
keepsake.addEventListener("restored", () => {
  find("note").textContent = "Your last calibration is in use. Sitting differently today? Calibrate again.";
});
find("reset-tracking").addEventListener("click", () => {
  keepsake.forget();
  lifecycle.session?.control.reset();
  find("note").textContent = "Tracking starts afresh: it learns your face again.";
});
find("fullscreen").addEventListener("click", () => {
  const figure = find("target-figure");
  if (document.fullscreenElement) void document.exitFullscreen();
  else if (figure.requestFullscreen) figure.requestFullscreen().catch(() => (find("note").textContent = "The browser refused full screen."));
  else find("output").webkitEnterFullscreen?.();
});

notice.addEventListener("action", (event) => {
  const ways = {
    retry: start,
    stop: () => lifecycle.stop(),
    reload: () => location.reload(),
    "choose-camera": () => cameras.focus(),
    "choose-target": () => actors.focus(),
    "default-target": () => {
      chooseActor(actors.fallback);
      start();
    },
  };
  ways[/** @type {keyof typeof ways} */ (/** @type {CustomEvent} */ (event).detail)]?.();
  // The pressed button may be gone with its notice; the keyboard goes on from the start button.
  const { activeElement } = document;
  const isLost = activeElement === document.body || (find("notice").hidden && find("notice").contains(activeElement));
  if (isLost) find("start").focus();
});

// --- cameras ---------------------------------------------------------------------------------------------------------

async function listCameras() {
  await cameras.show(choices.camera);
  if (camera.isSubstitute) find("note").textContent = "The camera used last time is not connected: this is another one.";
}

cameras.addEventListener("choose", (event) => {
  choices.camera = /** @type {CustomEvent} */ (event).detail;
  store.set("camera", choices.camera || undefined);
  void lifecycle.changeCamera();
});
camera.addEventListener("devices", async () => {
  await listCameras();
  const list = await camera.list();
  const code = lifecycle.state === "failed" ? lifecycle.failure?.code : "";
  const isBack = code === "camera_none" ? list.length > 0 : code === "camera_unplugged" && list.some(({ id }) => id === camera.lastId);
  if (isBack) start();
});
camera.addEventListener("muted", () => (isCameraMuted = true));
camera.addEventListener("unmuted", () => (isCameraMuted = false));
// Not every browser knows this permission by name.
navigator.permissions?.query({ name: /** @type {PermissionName} */ ("camera") }).then((permission) => {
  permission.addEventListener("change", () => {
    if (permission.state === "granted" && lifecycle.failure?.code === "camera_denied") start();
  });
}, () => undefined);

// --- sound -----------------------------------------------------------------------------------------------------------

function showListening() {
  const button = find("listen");
  const output = find("output");
  button.disabled = lifecycle.state !== "live" || !microphone.track;
  if (button.disabled) output.muted = true; // Nobody is surprised by their own voice when the next session starts.
  button.setAttribute("aria-pressed", String(!output.muted));
}
microphone.addEventListener("track", () => {
  // Chosen before the start: it was opened for the permission alone.
  if (microphone.track && !lifecycle.isRunning) return microphone.close();
  void lifecycle.session?.setSound(microphone.track);
  showListening();
});
microphone.addEventListener("refused", (event) => (find("note").textContent = /** @type {CustomEvent} */ (event).detail));
find("listen").addEventListener("click", () => {
  find("output").muted = !find("output").muted;
  showListening();
});

const mirror = find("mirror");
function showMirror(/** @type {boolean} */ isMirrored) {
  mirror.setAttribute("aria-pressed", String(isMirrored));
  document.body.classList.toggle("mirrored", isMirrored);
}
mirror.addEventListener("click", () => {
  const isMirrored = mirror.getAttribute("aria-pressed") !== "true";
  store.set("mirrored", isMirrored);
  showMirror(isMirrored);
});
showMirror(store.get("mirrored", true));

// --- target and settings -----------------------------------------------------------------------------------------------

function chooseActor(/** @type {string} */ name) {
  choices.actor = name;
  store.set("actor", name || undefined);
  actors.select(name);
  showTarget();
}

actors.addEventListener("choose", () => {
  const name = actors.chosen;
  chooseActor(name);
  if (lifecycle.state === "live") lifecycle.session?.control.actor(name);
  else if (lifecycle.state !== "idle" && ["unknown_actor", "actor_refused", "consent_ended"].includes(lifecycle.failure?.code ?? "")) start();
  else if (lifecycle.state === "connecting") start();
});

function showTarget() {
  view.showTarget(actors.current, actors.chosen);
}
find("poster").addEventListener("error", () => (find("poster").hidden = true));

controls.addEventListener("set", (event) => {
  const { key, value } = /** @type {CustomEvent} */ (event).detail;
  if (!disclosure.holds(key, value)) lifecycle.session?.control.set(key, value);
  if (key !== "media.codec" || value === choices.codec) return;
  choices.codec = value;
  // Codecs are agreed on when a connection is made.
  if (lifecycle.state === "live") start();
});
find("reset-all").addEventListener("click", () => controls.resetAll());

async function loadLists() {
  const get = async (/** @type {string} */ path) => (await fetch(new URL(path, document.baseURI), { cache: "no-store" })).json();
  try {
    const [known, declared] = await Promise.all([get("api/actors"), get("api/settings")]);
    actors.load(known.actors, known.default);
    controls.load(declared.settings);
    controls.loadPresets(declared.presets ?? []);
    actors.select(choices.actor || actors.fallback);
    showTarget();
  } catch {
    // Without its lists the page can still start; they are read again with the first session.
  }
}

// --- new targets -------------------------------------------------------------------------------------------------------

const jobs = new Jobs(find("jobs"));
const enrolment = new Enrolment(find("enrol"), jobs, () => choices.camera);
jobs.addEventListener("load", () => (find("new-target").hidden = !jobs.isAllowed));
jobs.addEventListener("finished", async (event) => {
  const { name, title } = /** @type {CustomEvent} */ (event).detail;
  await loadLists();
  find("note").textContent = `“${title}” is ready: choose it and go live.`;
  if (!lifecycle.isRunning) chooseActor(name);
});
enrolment.addEventListener("open", () => lifecycle.stop());
enrolment.addEventListener("started", () => jobs.look());
find("new-target").addEventListener("click", () => enrolment.open());
void jobs.look();

// --- keyboard, leaving, arriving -----------------------------------------------------------------------------------------

shortcuts.isOn = find("shortcuts-on").checked = store.get("shortcuts", true);
find("shortcuts-on").addEventListener("change", () => {
  shortcuts.isOn = find("shortcuts-on").checked;
  store.set("shortcuts", shortcuts.isOn);
});
find("help").addEventListener("click", () => find("shortcuts").showModal());
window.addEventListener("pagehide", () => lifecycle.stop());

await Promise.all([loadLists(), listCameras()]);
if (!window.isSecureContext || !navigator.mediaDevices) start();
else if (query.get("autostart") === "1") start();
else if (query.has("actor") && actors.list.length > 0 && !actors.current) start();
