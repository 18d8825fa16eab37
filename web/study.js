// @ts-check

const RATINGS = ["Strongly disagree", "Disagree", "Neither", "Agree", "Strongly agree"];
const SIDES = ["The left one", "The right one"];
const find = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const base = `/api/studies/${encodeURIComponent(location.pathname.split("/").pop() ?? "")}`;

/** Kept over a reload: a person goes on where they were, and answers nothing twice. */
function remembered() {
  const made = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  try {
    const kept = JSON.parse(sessionStorage.getItem(base) ?? "null") ?? { person: made, done: 0 };
    return kept;
  } catch {
    return { person: made, done: 0 };
  }
}

const me = remembered();
/** @type {string[][]} */
let trials = [];

function keep() {
  try {
    sessionStorage.setItem(base, JSON.stringify(me));
  } catch {
    // Storage forbidden: a reload begins anew.
  }
}

async function load() {
  const response = await fetch(`${base}?person=${me.person}`, { cache: "no-store" });
  const read = await response.json();
  if (!response.ok) throw new Error(read.error?.message ?? "The study cannot be read.");
  trials = read.trials;
  find("question").textContent = read.question;
  const names = read.kind === "pair" ? SIDES : RATINGS;
  const first = read.kind === "pair" ? 0 : 1;
  const buttons = names.map((name, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.addEventListener("click", () => void answer(index + first));
    return button;
  });
  find("choices").replaceChildren(...buttons);
}

function allow(/** @type {boolean} */ isAllowed) {
  for (const button of find("choices").children) button.disabled = !isAllowed;
}

function show() {
  find("progress").textContent = `${Math.min(me.done + 1, trials.length)} of ${trials.length}`;
  if (me.done >= trials.length) {
    document.body.dataset.state = "done";
    find("trial").hidden = true;
    find("progress").textContent = "";
    find("note").textContent = "That was the last one. Thank you.";
    return;
  }
  document.body.dataset.state = "trial";
  allow(false);
  let waiting = trials[me.done].length;
  const clips = trials[me.done].map((key) => {
    const clip = document.createElement("video");
    Object.assign(clip, { src: `${base}/clips/${key}`, controls: true, playsInline: true, muted: true, autoplay: true });
    const seen = () => --waiting === 0 && allow(true);
    clip.addEventListener("ended", seen, { once: true });
    clip.addEventListener("error", () => ((find("note").textContent = "A clip cannot be played; it is left out."), skip()), { once: true });
    return clip;
  });
  find("clips").replaceChildren(...clips);
}

function skip() {
  me.done++;
  keep();
  show();
}

async function answer(/** @type {number} */ value) {
  allow(false);
  const body = JSON.stringify({ person: me.person, trial: trials[me.done].join("+"), value });
  const response = await fetch(`${base}/answers`, { method: "POST", body, headers: { "Content-Type": "application/json" } }).catch(() => null);
  // Answered before, by a reload at the wrong moment: it counts.
  if (response?.ok || response?.status === 409) {
    find("note").textContent = "";
    return skip();
  }
  find("note").textContent = (await response?.json().catch(() => null))?.error?.message ?? "The server does not answer; try again.";
  allow(true);
}

find("begin").addEventListener("click", () => {
  keep();
  find("intro").hidden = true;
  find("trial").hidden = false;
  show();
});

try {
  await load();
  find("progress").textContent = `${trials.length} ${trials.length === 1 ? "question" : "questions"}`;
} catch (/** @type {any} */ error) {
  find("intro").hidden = true;
  find("note").textContent = error.message;
}
