// @ts-check

/** @typedef {import("./edit_keys.js").Values} Values
 * @typedef {{eyes: [number, number], mouth: [number, number], size: number}} Handles - where the target's face lies, in shares of its
 *   picture, and how far its eyes and mouth are apart */

/** What a drag over the whole distance from eyes to mouth does. */
const HEAD_DEG = 25;
const GAZE_DEG = 25;
const MOVE_CM = 5;
const SHAPE = 1;
const WHEEL_CM = 0.02;

/** Drag on the picture: which part of the face is under the pointer decides what moves. Event: `drag` (detail: part). */
export class FaceDrag extends EventTarget {
  /** @type {Handles} */
  handles = { eyes: [0.5, 0.42], mouth: [0.5, 0.62], size: 0.2 };
  #video;
  #sliders;

  /** @param {HTMLElement} picture @param {HTMLVideoElement} video @param {import("./edit_sliders.js").NumberSliders} sliders */
  constructor(picture, video, sliders) {
    super();
    this.#video = video;
    this.#sliders = sliders;
    picture.addEventListener("pointerdown", (event) => this.#begin(picture, event));
    picture.addEventListener("pointermove", (event) => {
      if (event.buttons === 0) this.#tell(this.#part(event));
    });
    picture.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.#sliders.change({ z: (this.#sliders.values.z ?? 0) - event.deltaY * WHEEL_CM });
    }, { passive: false });
  }

  /** @param {HTMLElement} picture @param {PointerEvent} down */
  #begin(picture, down) {
    const part = this.#part(down);
    const before = this.#sliders.values;
    const box = this.#video.getBoundingClientRect();
    const span = this.handles.size * box.width;
    picture.setPointerCapture(down.pointerId);
    const move = (/** @type {PointerEvent} */ event) => {
      const [right, up] = [(event.clientX - down.clientX) / span, (down.clientY - event.clientY) / span];
      this.#sliders.change(changeOf(part, right, up, before));
      this.#tell(part);
    };
    const ended = new AbortController();
    const end = () => ended.abort();
    picture.addEventListener("pointermove", move, { signal: ended.signal });
    picture.addEventListener("pointerup", end, { signal: ended.signal });
    picture.addEventListener("pointercancel", end, { signal: ended.signal });
  }

  /** @param {PointerEvent} event @returns {string} the part of the face under the pointer */
  #part(event) {
    if (event.shiftKey) return "position";
    const box = this.#video.getBoundingClientRect();
    const [u, v] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    const { eyes, mouth, size } = this.handles;
    const [aside, aboveEyes] = [Math.abs(u - eyes[0]) / size, (eyes[1] - v) / size];
    if (aside < 0.75 && Math.abs(aboveEyes) < 0.22) return "gaze";
    if (aside < 0.75 && aboveEyes > 0 && aboveEyes < 0.55) return "brows";
    if (Math.abs(u - mouth[0]) < 0.5 * size && Math.abs(v - mouth[1]) < 0.35 * size) return "mouth";
    return "head";
  }

  /** @param {string} part */
  #tell(part) {
    this.dispatchEvent(new CustomEvent("drag", { detail: part }));
  }
}

/** @param {string} part @param {number} right @param {number} up - in distances of eyes and mouth @param {Values} before @returns {Values} */
export function changeOf(part, right, up, before) {
  const add = (/** @type {Values} */ by) => Object.fromEntries(Object.entries(by).map(([name, value]) => [name, (before[name] ?? 0) + value]));
  switch (part) {
    case "position":
      return add({ x: MOVE_CM * right, y: MOVE_CM * up });
    case "gaze":
      return add({ gazeYaw: GAZE_DEG * right, gazePitch: GAZE_DEG * up });
    case "brows":
      return add({ browInnerUp: SHAPE * up, browOuterUpLeft: SHAPE * up, browOuterUpRight: SHAPE * up, browDownLeft: -SHAPE * up, browDownRight: -SHAPE * up });
    case "mouth":
      return add({ jawOpen: -SHAPE * up, mouthSmileLeft: SHAPE * right, mouthSmileRight: SHAPE * right });
    default:
      return add({ yaw: HEAD_DEG * right, pitch: HEAD_DEG * up });
  }
}
