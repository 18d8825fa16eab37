// @ts-check
import { Camera } from "./camera.js";
import { Failure } from "./errors.js";

const TICK_MS = 33;
const BLANK_PX = 64;

/** What a session is fed with: the camera, a clip, or an empty picture where numbers move the target. */
export class EditSource {
  /** @type {HTMLVideoElement|null} the clip that plays */
  clip = null;
  #camera = new Camera();
  #timer = 0;
  #url = "";

  /** @param {string} kind - numbers, camera, clip @param {File|undefined} file @returns {Promise<MediaStreamTrack>} @throws {Failure} */
  async open(kind, file) {
    this.close();
    if (kind === "camera") return this.#camera.open("");
    return kind === "clip" ? this.#openClip(file) : this.#openBlank();
  }

  close() {
    clearInterval(this.#timer);
    this.#camera.close();
    this.clip?.pause();
    this.clip = null;
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = "";
  }

  /** Its frames only carry the time: the server looks at none of them. */
  #openBlank() {
    const canvas = Object.assign(document.createElement("canvas"), { width: BLANK_PX, height: BLANK_PX });
    const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    let tick = 0;
    this.#timer = setInterval(() => {
      pen.fillStyle = tick++ % 2 ? "#000" : "#111";
      pen.fillRect(0, 0, BLANK_PX, BLANK_PX);
    }, TICK_MS);
    return canvas.captureStream(30).getVideoTracks()[0];
  }

  /** @param {File|undefined} file */
  async #openClip(file) {
    if (!file) throw new Failure("clip_missing", { message: "Choose a clip first.", status: 400 });
    const clip = document.createElement("video");
    clip.src = this.#url = URL.createObjectURL(file);
    Object.assign(clip, { muted: true, loop: true, playsInline: true });
    try {
      await clip.play();
    } catch {
      throw new Failure("clip_refused", { message: `The browser cannot play ${file.name}.`, status: 400 });
    }
    this.clip = clip;
    const stream = /** @type {any} */ (clip).captureStream?.() ?? /** @type {any} */ (clip).mozCaptureStream?.();
    const [track] = stream?.getVideoTracks() ?? [];
    if (!track) throw new Failure("clip_refused", { message: "This browser cannot send a clip; Chrome and Firefox can.", status: 400 });
    return track;
  }
}
