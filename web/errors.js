// @ts-check

/**
 * @typedef {"retry"|"stop"|"choose-camera"|"choose-target"|"default-target"|"open-localhost"|"reload"} Action
 * @typedef {{title: string, text: string, actions: Action[]}} Words
 * @typedef {{message?: string, name?: string, retryAfterS?: number, status?: number}} Facts
 */

/** What each failure is called, what it means and the ways on. `{message}` is the server's own sentence, `{name}` the thing at fault.
 * @type {Record<string, Words>} */
const WORDS = {
  clip_missing: { title: "No clip", text: "Choose one first.", actions: [] },
  clip_refused: { title: "This clip cannot be the source", text: "{message}", actions: [] },
  camera_denied: {
    title: "The camera is blocked for this page",
    text: "Allow it with the camera icon in the address bar; the page then starts by itself.",
    actions: ["retry"],
  },
  camera_denied_by_system: {
    title: "The operating system keeps the camera from this browser",
    text: "Allow the browser under Privacy, Camera in the system settings, then try again.",
    actions: ["retry"],
  },
  camera_none: {
    title: "No camera was found",
    text: "Plug one in or switch it on; it is picked up as soon as it appears.",
    actions: ["retry"],
  },
  camera_busy: {
    title: "The camera is in use by another program",
    text: "Close the call or program that holds it, or choose another camera.",
    actions: ["retry", "choose-camera"],
  },
  camera_overconstrained: {
    title: "This camera cannot give the picture we ask for",
    text: "It offers no usable size or frame rate ({name}). Choose another camera.",
    actions: ["choose-camera", "retry"],
  },
  camera_unplugged: {
    title: "The camera was unplugged",
    text: "Plug it back in and the page goes on by itself, or choose another camera.",
    actions: ["choose-camera", "retry"],
  },
  camera_failed: {
    title: "The camera could not be opened",
    text: "The browser says: {message}",
    actions: ["retry", "choose-camera"],
  },
  camera_silent: {
    title: "The camera gives no picture",
    text: "It opened, but no frame came out of it. Open its shutter or privacy switch, or choose another camera.",
    actions: ["choose-camera", "retry"],
  },
  insecure_origin: {
    title: "Browsers give no camera to pages opened over plain http",
    text: "On the server's own machine, open the page by localhost. From another machine, serve it over https, or tunnel: {name}",
    actions: ["open-localhost"],
  },
  no_webrtc: {
    title: "This browser cannot send video",
    text: "WebRTC is missing or switched off. Open the page in a current Chrome, Edge, Firefox or Safari.",
    actions: ["reload"],
  },
  server_gone: {
    title: "The server does not answer",
    text: "It may be restarting. The page reconnects by itself as soon as it is back.",
    actions: ["retry", "stop"],
  },
  server_error: {
    title: "The server could not start a session",
    text: "It says: {message}",
    actions: ["retry"],
  },
  session_full: {
    title: "Every session is taken",
    text: "{message} The page tries again by itself.",
    actions: ["retry", "stop"],
  },
  token_needed: {
    title: "This server asks for its link",
    text: "{message}",
    actions: ["reload"],
  },
  token_wrong: {
    title: "Your link is no longer valid",
    text: "It was revoked, or the server has started anew. Ask for the new link, or open the one that the server printed.",
    actions: ["reload"],
  },
  forbidden: {
    title: "Your link does not allow this",
    text: "{message}",
    actions: ["reload"],
  },
  unknown_actor: {
    title: "There is no target called “{name}”",
    text: "Choose one of the targets this server has.",
    actions: ["default-target", "choose-target"],
  },
  actor_refused: {
    title: "This target cannot be used",
    text: "{message}",
    actions: ["choose-target", "retry"],
  },
  consent_ended: {
    title: "Consent to show this target has ended",
    text: "{message}",
    actions: ["choose-target"],
  },
  engine_failed: {
    title: "The engine failed",
    text: "{message}",
    actions: ["retry", "stop"],
  },
  engine_refused: {
    title: "No engine could be started",
    text: "{message}",
    actions: ["retry", "stop"],
  },
  no_common_codec: {
    title: "This browser and the server share no video codec",
    text: "The server takes VP8 and H.264. Open the page in another browser, or switch one of them on.",
    actions: ["retry"],
  },
  connection_failed: {
    title: "No video path to the server",
    text: "The page reaches the server, but video (UDP) does not. A firewall, a VPN or a proxy may stand between.",
    actions: ["retry"],
  },
  relay_refused: {
    title: "The relay refused the password",
    text: "No direct path leads to the server, and its TURN relay does not accept the user name or password that the server gave. Whoever runs the server has to correct media.turn_secret.",
    actions: ["retry"],
  },
  connection_lost: {
    title: "The video connection was lost",
    text: "The server still answers. The page reconnects by itself.",
    actions: ["retry", "stop"],
  },
  no_picture: {
    title: "Connected, but no picture came",
    text: "The server took the camera and sent nothing back. Its log may say why.",
    actions: ["retry"],
  },
  video_stalled: {
    title: "The picture has stopped",
    text: "The connection stands, but no new frame arrives. The page reconnects if that lasts.",
    actions: ["retry", "stop"],
  },
  replaced: {
    title: "Another page took over this session",
    text: "Start again here to take it back.",
    actions: ["retry"],
  },
  session_idle: {
    title: "The server ended the session: no video arrived",
    text: "The camera may have been covered by sleep or a privacy switch. Start again when it is ready.",
    actions: ["retry", "choose-camera"],
  },
  bad_sdp: {
    title: "The server did not understand this browser's offer",
    text: "{message}",
    actions: ["retry", "reload"],
  },
  unexpected: {
    title: "Something went wrong in the page",
    text: "{message}",
    actions: ["retry", "reload"],
  },
};

/** Failure codes of `getUserMedia`, by the name of the DOMException. @type {Record<string, string>} */
const CAMERA_CODES = {
  NotAllowedError: "camera_denied",
  SecurityError: "camera_denied",
  NotFoundError: "camera_none",
  DevicesNotFoundError: "camera_none",
  NotReadableError: "camera_busy",
  TrackStartError: "camera_busy",
  OverconstrainedError: "camera_overconstrained",
};

/** One failure that a person should read about: a code, its facts, and the words for it. */
export class Failure extends Error {
  /**
   * @param {string} code - one of the codes above, or of the server's protocol
   * @param {Facts} [facts]
   */
  constructor(code, facts = {}) {
    super(facts.message || code);
    this.name = "Failure";
    this.code = code in WORDS ? code : facts.status ? "server_error" : "unexpected";
    this.facts = facts;
  }

  /** @returns {Words} the title, sentence and ways on, facts filled in */
  get words() {
    const words = WORDS[this.code];
    const fill = (/** @type {string} */ text) =>
      text
        .replace("{message}", () => this.facts.message || "no reason given.")
        .replace("{name}", () => this.facts.name || "unknown")
        .trim();
    return { title: fill(words.title), text: fill(words.text), actions: words.actions };
  }

  /** Turn what `getUserMedia` threw into a failure.
   * @param {any} error
   * @returns {Failure} */
  static ofCamera(error) {
    const isSystem = error.name === "NotAllowedError" && /system/i.test(error.message);
    const code = isSystem ? "camera_denied_by_system" : (CAMERA_CODES[error.name] ?? "camera_failed");
    return new Failure(code, { message: error.message || error.name, name: error.constraint || "any size" });
  }

  /** Keep a failure as it is; make one of anything else.
   * @param {any} error
   * @returns {Failure} */
  static of(error) {
    return error instanceof Failure ? error : new Failure("unexpected", { message: String(error?.message ?? error) });
  }
}
