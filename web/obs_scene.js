// @ts-check
import { ObsFailure } from "./obs.js";

/** Scene and source that this page makes, and finds again. */
export const SCENE = "Reenact";
export const SOURCE = "Reenact output";
/** RequestStatus of obs-websocket: the name is still taken, by a source that is being removed. */
const EXISTS = 601;
const NOT_FOUND = 600;
const REMOVE_TRIES = 20;
const REMOVE_PAUSE_MS = 100;

/** @typedef {"auto"|"browser"|"media"} Way */

/**
 * Settings of the two kinds of source.
 * @param {string} kind
 * @param {{view: string, stream: string}} output
 * @param {{baseWidth: number, baseHeight: number}} canvas
 */
function settingsOf(kind, { view, stream }, { baseWidth, baseHeight }) {
  if (kind === "browser_source") {
    return { url: view, width: baseWidth, height: baseHeight, shutdown: false, restart_when_active: false };
  }
  return {
    is_local_file: false,
    input: stream,
    input_format: "mpegts",
    // FFmpeg would else collect 20 pictures to guess the frame rate, and OBS would keep that delay for good.
    ffmpeg_options: "fpsprobesize=0",
    reconnect_delay_sec: 1,
    restart_on_activate: false,
    clear_on_media_end: false,
    hw_decode: false,
  };
}

/**
 * Show the output in OBS: one scene, one source in it, fitted to the canvas, on program. What an earlier call made is used again.
 * @param {import("./obs.js").Obs} obs
 * @param {{view: string, stream: string, way: Way, isCamera: boolean}} wish
 * @returns {Promise<{kind: string, note: string}>} the kind of source, and what did not work
 * @throws {ObsFailure}
 */
export async function showInObs(obs, wish) {
  const { inputKinds } = await obs.call("GetInputKindList");
  const kind = chooseKind(inputKinds, wish.way);
  const canvas = await obs.call("GetVideoSettings");
  const { scenes } = await obs.call("GetSceneList");
  if (!scenes.some((/** @type {any} */ scene) => scene.sceneName === SCENE)) await obs.call("CreateScene", { sceneName: SCENE });
  const sceneItemId = await placeSource(obs, kind, settingsOf(kind, wish, canvas));
  await obs.call("SetSceneItemTransform", {
    sceneName: SCENE,
    sceneItemId,
    sceneItemTransform: {
      positionX: 0,
      positionY: 0,
      alignment: 5, // left and top
      rotation: 0,
      boundsType: "OBS_BOUNDS_SCALE_INNER",
      boundsAlignment: 0, // centre
      boundsWidth: canvas.baseWidth,
      boundsHeight: canvas.baseHeight,
    },
  });
  await obs.call("SetSceneItemEnabled", { sceneName: SCENE, sceneItemId, sceneItemEnabled: true });
  await obs.call("SetCurrentProgramScene", { sceneName: SCENE });
  return { kind, note: wish.isCamera ? await startCamera(obs) : "" };
}

/** @param {string[]} kinds - that this OBS has
 * @param {Way} way */
function chooseKind(kinds, way) {
  const wanted = { auto: ["browser_source", "ffmpeg_source"], browser: ["browser_source"], media: ["ffmpeg_source"] }[way];
  const kind = wanted.find((name) => kinds.includes(name));
  if (!kind) throw new ObsFailure(`This OBS has no ${way === "browser" ? "browser" : "media"} source. Choose another way in.`);
  return kind;
}

/**
 * @param {import("./obs.js").Obs} obs
 * @param {string} kind
 * @param {Record<string, unknown>} inputSettings
 * @returns {Promise<number>} id of the scene item
 */
async function placeSource(obs, kind, inputSettings) {
  const { inputs } = await obs.call("GetInputList");
  const present = inputs.find((/** @type {any} */ input) => input.inputName === SOURCE);
  if (present && present.inputKind !== kind) await obs.call("RemoveInput", { inputName: SOURCE });
  if (present && present.inputKind === kind) {
    await obs.call("SetInputSettings", { inputName: SOURCE, inputSettings, overlay: true });
    try {
      return (await obs.call("GetSceneItemId", { sceneName: SCENE, sourceName: SOURCE })).sceneItemId;
    } catch (/** @type {any} */ error) {
      if (error.code !== NOT_FOUND) throw error;
      return (await obs.call("CreateSceneItem", { sceneName: SCENE, sourceName: SOURCE })).sceneItemId;
    }
  }
  for (let left = REMOVE_TRIES; ; left--) {
    try {
      return (await obs.call("CreateInput", { sceneName: SCENE, inputName: SOURCE, inputKind: kind, inputSettings })).sceneItemId;
    } catch (/** @type {any} */ error) {
      // A removed source keeps its name until OBS has let go of its last frame.
      if (error.code !== EXISTS || left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, REMOVE_PAUSE_MS));
    }
  }
}

/** @param {import("./obs.js").Obs} obs
 * @returns {Promise<string>} why it could not be started, or "" */
async function startCamera(obs) {
  try {
    const { outputActive } = await obs.call("GetVirtualCamStatus");
    if (!outputActive) await obs.call("StartVirtualCam");
    return "";
  } catch (/** @type {any} */ error) {
    return `The virtual camera could not be started: OBS says “${error.message}” On Linux it needs the v4l2loopback module.`;
  }
}
