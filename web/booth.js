// @ts-check
import { Failure } from "./errors.js";
import { Session } from "./session.js";

/** What a person is asked to do: words, seconds at least and at most, and the aims that end it early once they are seen. */
/** @type {{words: string, least: number, most: number, aims: string[]}[]} */
export const PROMPTS = [
  { words: "Look into the camera and relax.", least: 4, most: 4, aims: [] },
  { words: "Turn your head slowly to the left, then to the right.", least: 6, most: 12, aims: ["left", "right"] },
  { words: "Nod slowly: look up, then down.", least: 6, most: 10, aims: ["up", "down"] },
  { words: "Tilt your head to one shoulder, then to the other.", least: 5, most: 9, aims: ["tilt_left", "tilt_right"] },
  { words: "Keep your head still. With your eyes alone: left, right, up, down.", least: 7, most: 12, aims: ["look_left", "look_right", "look_up", "look_down"] },
  { words: "Blink a few times, then close your eyes for a moment.", least: 5, most: 8, aims: ["blink"] },
  { words: "Smile broadly, with your teeth. Then purse your lips, as for a kiss.", least: 6, most: 10, aims: ["smile", "pucker"] },
  { words: "Raise your brows. Then frown.", least: 5, most: 9, aims: ["brows_up", "brows_down"] },
  { words: "Open your mouth wide, and close it.", least: 4, most: 7, aims: ["open_mouth"] },
  { words: "Read aloud: “Five wide boats pushed off at dawn. We heard the choir, the gulls and a far bell, then nothing but the huge, smooth sea.”", least: 10, most: 20, aims: ["speech"] },
  { words: "Say what you like, and move as you do when you talk to a friend.", least: 10, most: 12, aims: [] },
];

const PICTURE = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
const BITS_PER_S = 6_000_000;
const TYPES = ["video/mp4;codecs=avc1.42E01F", "video/webm;codecs=vp8", "video/webm"];
/** A server that has just started is compiling its network meanwhile. */
const READY_MS = 60_000;
const LONGEST_STATEMENT_S = 45;

/**
 * Records a person who follows prompts, or speaks a statement. While it records, the server watches the same camera and
 * says what it saw. Events: `change` (`state`, `words`, `share`, `seconds`), `seen` (detail: shares by aim), `done` (detail: Blob).
 */
export class Booth extends EventTarget {
  /** @type {"closed"|"open"|"waiting"|"recording"} */
  state = "closed";
  words = "";
  /** Of the time for the current prompt. */
  share = 0;
  seconds = 0;
  /** @type {MediaStream|null} */
  stream = null;
  /** Divides the length of every prompt: tests are in a hurry. */
  haste = 1;
  /** @type {Session|null} */
  #session = null;
  /** @type {MediaRecorder|null} */
  #recorder = null;
  /** @type {Record<string, number>} */
  #shares = {};
  #timer = 0;

  /** @param {string} camera - device id, or ""
   * @param {boolean} hasSound
   * @throws {Failure} */
  async open(camera, hasSound) {
    this.close();
    const video = camera ? { ...PICTURE, deviceId: { ideal: camera } } : PICTURE;
    if (!navigator.mediaDevices?.getUserMedia) throw new Failure("insecure_origin", { name: location.host });
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video, audio: hasSound });
    } catch (error) {
      throw Failure.ofCamera(error);
    }
    this.#become("open");
  }

  /** @param {string} [statement] - to be read aloud; without it the prompts run */
  async record(statement) {
    if (!this.stream) return;
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    this.#recorder = new MediaRecorder(this.stream, { mimeType, videoBitsPerSecond: BITS_PER_S });
    /** @type {Blob[]} */
    const pieces = [];
    this.#recorder.addEventListener("dataavailable", ({ data }) => pieces.push(data));
    this.#recorder.addEventListener("stop", () => {
      if (this.state === "closed") return;
      this.#become("open");
      this.dispatchEvent(new CustomEvent("done", { detail: new Blob(pieces, { type: mimeType }) }));
    });
    this.#become("waiting");
    if (statement === undefined) await this.#watch();
    if (!this.stream || this.state !== "waiting") return;
    this.#shares = {};
    this.#recorder.start(1000);
    const prompts = statement === undefined ? PROMPTS : [{ words: statement, least: LONGEST_STATEMENT_S, most: LONGEST_STATEMENT_S, aims: [] }];
    this.#run(prompts, statement === undefined ? this.haste : 1);
  }

  stop() {
    clearInterval(this.#timer);
    this.#leave();
    if (this.#recorder?.state === "recording") this.#recorder.stop();
  }

  close() {
    this.state = "closed";
    this.stop();
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    this.#become("closed");
  }

  /** @param {typeof PROMPTS} prompts @param {number} haste */
  #run(prompts, haste) {
    const startMs = performance.now();
    let index = 0;
    let beganMs = startMs;
    const step = () => {
      const now = performance.now();
      const { words, least, most, aims } = prompts[index];
      const spent = ((now - beganMs) / 1000) * haste;
      const isSeen = aims.length > 0 && aims.every((aim) => (this.#shares[aim] ?? 0) >= 1);
      this.words = words;
      this.seconds = (now - startMs) / 1000;
      this.share = Math.min(1, spent / (isSeen ? least : most));
      if (spent >= most || (isSeen && spent >= least)) {
        index++;
        beganMs = now;
        if (index === prompts.length) return this.stop();
      }
      this.#become("recording");
    };
    this.#timer = setInterval(step, 100);
    step();
  }

  /** Let the server watch; where it cannot, the prompts run by their longest times. */
  async #watch() {
    const track = this.stream?.getVideoTracks()[0].clone();
    if (!track) return;
    const session = (this.#session = new Session([]));
    const ready = new Promise((resolve, reject) => {
      session.control.addEventListener("stats", (event) => {
        const { coverage } = /** @type {CustomEvent} */ (event).detail;
        if (!coverage) return;
        resolve(undefined);
        this.#shares = coverage;
        this.dispatchEvent(new CustomEvent("seen", { detail: coverage }));
      });
      setTimeout(reject, READY_MS);
    });
    ready.catch(() => undefined);
    try {
      await session.connect(track, { actor: "@observer", client: "enrolment", codec: "auto" }, AbortSignal.timeout(15_000));
      const [sender] = session.peer.getSenders();
      const parameters = sender.getParameters();
      for (const encoding of parameters.encodings) Object.assign(encoding, { scaleResolutionDownBy: 2, maxFramerate: 15 });
      await sender.setParameters(parameters);
      await ready;
    } catch {
      session.close();
      this.dispatchEvent(new CustomEvent("seen", { detail: null }));
    }
  }

  #leave() {
    this.#session?.peer.getSenders().forEach(({ track }) => track?.kind === "video" && track.stop());
    this.#session?.close();
    this.#session = null;
  }

  /** @param {"closed"|"open"|"waiting"|"recording"} state */
  #become(state) {
    this.state = state;
    if (state !== "recording") this.words = state === "waiting" ? "Getting ready …" : "";
    this.dispatchEvent(new Event("change"));
  }
}
