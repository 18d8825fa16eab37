// @ts-check
import { Failure } from "./errors.js";

/** 640x480 at 30: a face fills enough of it to be tracked to the pixel, and it costs little to encode and to decode. */
const PICTURE = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };

/**
 * The webcam. Events: `devices` (the list changed), `ended` (unplugged or revoked while open),
 * `muted` and `unmuted` (a shutter or privacy switch).
 */
export class Camera extends EventTarget {
  /** @type {MediaStream|null} */
  stream = null;
  /** True when the remembered camera was absent and another one was opened. */
  isSubstitute = false;
  /** Id of the camera opened last; an unplugged one is known again by it. */
  lastId = "";
  #opening = 0;

  constructor() {
    super();
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.dispatchEvent(new Event("devices")));
  }

  /** @returns {string} id of the open camera, or "" */
  get id() {
    return this.stream?.getVideoTracks()[0]?.getSettings().deviceId ?? "";
  }

  /** @returns {Promise<{id: string, label: string}[]>} the cameras; before permission, labels and ids are withheld */
  async list() {
    const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
    return devices
      .filter((device) => device.kind === "videoinput")
      .map((device, index) => ({ id: device.deviceId, label: device.label || `Camera ${index + 1}` }));
  }

  /** Open a camera, closing the one before; phones refuse to open two.
   * @param {string} id - device id, or "" for the browser's choice
   * @returns {Promise<MediaStreamTrack>}
   * @throws {Failure} with the reason; `AbortError` when closed meanwhile */
  async open(id) {
    this.close();
    if (!window.isSecureContext || !navigator.mediaDevices?.getUserMedia) {
      const port = location.port || "80";
      throw new Failure("insecure_origin", { name: `ssh -L ${port}:localhost:${port} ${location.hostname}` });
    }
    const opening = ++this.#opening;
    const stream = await this.#request(id);
    const [track] = stream.getVideoTracks();
    if (opening !== this.#opening) {
      track.stop();
      throw new DOMException("The camera was closed while it opened.", "AbortError");
    }
    track.contentHint = "motion";
    track.addEventListener("ended", () => this.#report(stream, "ended"));
    track.addEventListener("mute", () => this.#report(stream, "muted"));
    track.addEventListener("unmute", () => this.#report(stream, "unmuted"));
    this.stream = stream;
    this.lastId = this.id;
    return track;
  }

  close() {
    this.#opening++;
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
  }

  /** @param {string} id */
  async #request(id) {
    this.isSubstitute = false;
    try {
      try {
        return await navigator.mediaDevices.getUserMedia({ video: id ? { ...PICTURE, deviceId: { exact: id } } : PICTURE });
      } catch (/** @type {any} */ error) {
        // The remembered camera is not there: any other is better than none.
        if (!id || error.name !== "OverconstrainedError" || error.constraint !== "deviceId") throw error;
        const stream = await navigator.mediaDevices.getUserMedia({ video: PICTURE });
        this.isSubstitute = true;
        return stream;
      }
    } catch (error) {
      throw Failure.ofCamera(error);
    }
  }

  /**
   * @param {MediaStream} stream
   * @param {string} type
   */
  #report(stream, type) {
    if (stream === this.stream) this.dispatchEvent(new Event(type));
  }
}
