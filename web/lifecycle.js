// @ts-check
import { Failure } from "./errors.js";
import { isServerUp } from "./health.js";
import { fetchIceServers } from "./ice.js";
import { Session } from "./session.js";

/** @typedef {"idle"|"connecting"|"live"|"failed"} State */

/** A picture comes within this, once the server has its target loaded: that takes as long as it takes. */
const FIRST_FRAME_MS = 30_000;
const WAITING = "Waiting for the first picture";
export const PREPARING = "Getting the target ready. The first time on a machine, that can take a minute.";
/** A camera that has given nothing by now gives nothing. */
const SILENT_MS = 4_000;
const STALL_SHOWN_MS = 3_000;
/** A picture that stands still longer than this, and not because another target is loaded: a new session is the better bet. */
const STALL_FAILED_MS = 15_000;
/** The server speaks every 250 ms; silence this long is worth a question. */
const QUIET_MS = 2_500;
const QUIET_FAILED_MS = 10_000;
const BACKOFF_S = [0.5, 1, 2, 3, 5];
/** Failures that pass by themselves: the page tries again without being asked. */
const PASSING = new Set(["server_gone", "session_full", "connection_lost", "video_stalled", "engine_failed", "engine_refused"]);
/** How often, for those that pass soon or not at all. @type {Record<string, number>} */
const TRIES = { engine_failed: 5, engine_refused: 5 };

/**
 * The one explicit state of the page, and what leads from one to the next. Events: `change` (state, phase, failure or
 * warning changed), `session` (a new `session`, not yet connected), `retry` (`retryAtMs` is set).
 */
export class Lifecycle extends EventTarget {
  /** @type {State} */
  state = "idle";
  /** What is being waited for while connecting. */
  phase = "";
  /** @type {Failure|null} shown until the page is live or idle again */
  failure = null;
  /** @type {Failure|null} something is wrong while live */
  warning = null;
  /** `performance.now()` of the next try by itself, or 0. */
  retryAtMs = 0;
  /** @type {Session|null} */
  session = null;
  #camera;
  #frames;
  #choices;
  #run = new AbortController();
  #attempts = 0;
  /** The server says that it loads a target. */
  #isPreparing = false;
  #isProbing = false;
  #isChanging = false;

  /**
   * @param {import("./camera.js").Camera} camera
   * @param {import("./frames.js").Frames} frames - of the output
   * @param {{camera: string, actor: string, client: string, codec: string}} choices - read at every start
   */
  constructor(camera, frames, choices) {
    super();
    this.#camera = camera;
    this.#frames = frames;
    this.#choices = choices;
    camera.addEventListener("ended", () => this.fail(new Failure("camera_unplugged")));
    setInterval(() => this.#watch(), 500);
  }

  get isRunning() {
    return this.state === "live" || this.state === "connecting" || this.retryAtMs > 0;
  }

  /** Start by hand; a failure shown until now is forgotten. */
  async start() {
    this.failure = null;
    this.#attempts = 0;
    await this.#start();
  }

  stop() {
    this.#end();
    this.#camera.close();
    this.failure = null;
    this.#enter("idle");
  }

  /** @param {Failure} failure */
  fail(failure) {
    this.#end();
    this.failure = failure;
    const retries = PASSING.has(failure.code) && this.#attempts < (TRIES[failure.code] ?? Infinity);
    if (!retries) this.#camera.close();
    if (retries) void this.#retry(failure, this.#run.signal);
    this.#enter("failed");
  }

  /** Use the camera of `choices` from now on. */
  async changeCamera() {
    if (this.state === "failed" && !this.retryAtMs) return this.start();
    if (!this.session || this.state !== "live") return this.state === "idle" ? undefined : this.#start();
    const { signal } = this.#run;
    this.#isChanging = true;
    try {
      const track = await this.#camera.open(this.#choices.camera);
      signal.throwIfAborted();
      if (!this.session) return void this.#start();
      await this.session.setTrack(track);
      this.#enter(this.state);
    } catch (error) {
      if (!signal.aborted) this.fail(Failure.of(error));
    } finally {
      this.#isChanging = false;
    }
  }

  async #start() {
    this.#end();
    const { signal } = this.#run;
    this.#enter("connecting", "Opening the camera");
    try {
      if (!("RTCPeerConnection" in window)) throw new Failure("no_webrtc");
      const [open] = this.#camera.stream?.getVideoTracks() ?? [];
      const track = open?.readyState === "live" ? open : await this.#camera.open(this.#choices.camera);
      signal.throwIfAborted();
      await this.#connect(track, signal);
    } catch (error) {
      if (!signal.aborted) this.fail(Failure.of(error));
    }
  }

  /**
   * @param {MediaStreamTrack} track
   * @param {AbortSignal} signal
   */
  async #connect(track, signal) {
    const iceServers = await fetchIceServers();
    signal.throwIfAborted();
    const session = (this.session = new Session(iceServers));
    session.addEventListener("lost", () => void this.#probe(true));
    session.control.addEventListener("bye", (event) => this.#onBye(/** @type {CustomEvent} */ (event).detail.reason));
    session.control.addEventListener("stats", (event) => this.#hear(session, /** @type {CustomEvent} */ (event).detail.is_preparing));
    this.dispatchEvent(new Event("session"));
    this.#frames.restart();
    const first = this.#firstFrame(signal);
    first.catch(() => undefined);
    this.#enter("connecting", "Asking the server for a session");
    await session.connect(track, this.#choices, signal);
    signal.throwIfAborted();
    this.#enter("connecting", this.#waiting);
    const timer = setTimeout(() => void this.#suspectCamera(session), SILENT_MS);
    await first.finally(() => clearTimeout(timer));
    this.failure = null;
    this.#enter("live");
  }

  /** @param {Session} session */
  async #suspectCamera(session) {
    const isSilent = !document.hidden && (await session.framesSent()) === 0;
    if (isSilent && session === this.session && this.state === "connecting") this.fail(new Failure("camera_silent"));
  }

  /** @param {AbortSignal} signal */
  #firstFrame(signal) {
    return new Promise((resolve, reject) => {
      this.#frames.addEventListener("first", resolve, { once: true, signal });
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
  }

  /** @param {Session} session @param {boolean} isPreparing */
  #hear(session, isPreparing) {
    if (session !== this.session || isPreparing === this.#isPreparing) return;
    this.#isPreparing = isPreparing;
    this.#enter(this.state, this.#waiting);
  }

  /** What is being waited for once there is a session. */
  get #waiting() {
    if (this.#isPreparing) return PREPARING;
    return this.state === "connecting" ? WAITING : "";
  }

  /** Close what runs or waits; the camera stays open.  */
  #end() {
    this.#run.abort();
    this.#run = new AbortController();
    this.session?.close();
    this.session = null;
    this.#frames.stop();
    this.#isPreparing = false;
    this.warning = null;
    this.retryAtMs = 0;
  }

  /**
   * @param {State} state
   * @param {string} [phase]
   */
  #enter(state, phase = "") {
    this.state = state;
    this.phase = phase;
    this.dispatchEvent(new Event("change"));
  }

  /** Try again until it works: when the server is gone, ask for its health first.
   * @param {Failure} failure
   * @param {AbortSignal} signal */
  async #retry(failure, signal) {
    for (;;) {
      const backoff = BACKOFF_S[Math.min(this.#attempts++, BACKOFF_S.length - 1)];
      const seconds = failure.facts.retryAfterS ?? backoff;
      this.retryAtMs = performance.now() + seconds * 1000;
      this.dispatchEvent(new Event("retry"));
      await new Promise((resolve) => {
        setTimeout(resolve, seconds * 1000);
        signal.addEventListener("abort", resolve, { once: true });
        window.addEventListener("online", resolve, { once: true, signal });
      });
      if (signal.aborted) return;
      if (failure.code !== "server_gone" || (await isServerUp())) break;
      if (signal.aborted) return;
    }
    if (!signal.aborted) await this.#start();
  }

  /** Find out why the session is silent.
   * @param {boolean} isLost - the peer connection itself has failed */
  async #probe(isLost) {
    if (this.#isProbing) return;
    this.#isProbing = true;
    const { signal } = this.#run;
    const complaint = this.session?.complaint ?? null;
    const isUp = await isServerUp();
    this.#isProbing = false;
    if (signal.aborted) return;
    if (!isUp) this.fail(new Failure("server_gone"));
    else if (isLost) this.fail(complaint ?? new Failure("connection_lost"));
  }

  /** @param {string} reason */
  #onBye(reason) {
    // No video came because the camera is being changed: the next one gets a session of its own.
    if (reason === "idle" && this.#isChanging) {
      this.session?.close();
      this.session = null;
      return;
    }
    const codes = { replaced: "replaced", idle: "session_idle", revoked: "token_wrong" };
    const code = codes[/** @type {keyof typeof codes} */ (reason)] ?? "server_gone";
    this.fail(new Failure(code));
  }

  #watch() {
    if (!this.session || (this.state !== "live" && this.state !== "connecting")) return;
    const now = performance.now();
    // A hidden page shows no frames, and a target that is being loaded makes none: that time does not count.
    if (document.hidden || this.#isPreparing) this.#frames.lastMs = now;
    const stallMs = now - this.#frames.lastMs;
    if (this.state === "connecting") return stallMs > FIRST_FRAME_MS ? this.fail(new Failure("no_picture")) : undefined;
    const { control } = this.session;
    const quietMs = control.lastHeardMs ? now - control.lastHeardMs : 0;
    if (quietMs > QUIET_MS) void this.#probe(quietMs > QUIET_FAILED_MS);
    if (stallMs > STALL_FAILED_MS) return this.fail(new Failure("video_stalled"));
    const warning = stallMs > STALL_SHOWN_MS ? (this.warning ?? new Failure("video_stalled")) : null;
    if (stallMs < 1000) this.#attempts = 0;
    if (warning === this.warning) return;
    this.warning = warning;
    this.#enter("live");
  }
}
