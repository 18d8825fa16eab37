// @ts-check

/** obs-websocket closes with this when the password is wrong (protocol 5, WebSocketCloseCode). */
const AUTHENTICATION_FAILED = 4009;
const RPC_VERSION = 1;
const CONNECT_TIMEOUT_MS = 4000;
const CALL_TIMEOUT_MS = 5000;

/** A sentence for a person about what OBS refused. */
export class ObsFailure extends Error {
  /** @param {string} message @param {number} [code] - of obs-websocket's RequestStatus */
  constructor(message, code = 0) {
    super(message);
    this.code = code;
  }
}

/** Make a WebSocket address of what a person types: `host`, `host:port` or a whole address.
 * @param {string} text */
export function obsAddress(text) {
  const trimmed = text.trim() || "localhost";
  try {
    const url = new URL(/^wss?:\/\//.test(trimmed) ? trimmed : `ws://${trimmed}`);
    if (!url.port && url.protocol === "ws:") url.port = "4455";
    return url.href;
  } catch {
    throw new ObsFailure(`“${trimmed}” is no address. It looks like localhost:4455.`);
  }
}

/** base64(sha256(text)), the one step of obs-websocket's authentication.
 * @param {string} text */
async function digest(text) {
  if (!crypto.subtle) throw new ObsFailure("The browser computes no password over plain http. Open this page by localhost or https.");
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return btoa(String.fromCharCode(...hash));
}

/** A connection to OBS by obs-websocket 5: requests and their answers, no events. */
export class Obs {
  #socket;
  #count = 0;
  /** @type {Map<string, {resolve: (data: any) => void, reject: (error: Error) => void, type: string, timer: number}>} */
  #pending = new Map();

  /** @param {WebSocket} socket - identified */
  constructor(socket) {
    this.#socket = socket;
    socket.addEventListener("message", (event) => this.#receive(JSON.parse(event.data)));
    socket.addEventListener("close", () => {
      for (const { reject } of this.#pending.values()) reject(new ObsFailure("OBS has closed the connection."));
      this.#pending.clear();
    });
  }

  /** @param {string} address - as a person types it
   * @param {string} password
   * @returns {Promise<Obs>}
   * @throws {ObsFailure} */
  static connect(address, password) {
    const url = obsAddress(address);
    return new Promise((resolve, reject) => {
      const fail = (/** @type {string} */ text) => (clearTimeout(timer), socket?.close(), reject(new ObsFailure(text)));
      const absent = `No OBS answers at ${url}. In OBS, switch on Tools, WebSocket Server Settings, Enable WebSocket server.`;
      const timer = setTimeout(() => fail(absent), CONNECT_TIMEOUT_MS);
      /** @type {WebSocket|undefined} */
      let socket;
      try {
        socket = new WebSocket(url, "obswebsocket.json");
      } catch {
        // From an https page, browsers let plain WebSockets through to this machine alone.
        return fail(`The browser refuses to connect to ${url} from this page. Use localhost, or an OBS behind wss.`);
      }
      const greet = async (/** @type {MessageEvent} */ event) => {
        const { op, d } = JSON.parse(event.data);
        if (op === 2) {
          clearTimeout(timer);
          socket.removeEventListener("message", greet);
          resolve(new Obs(socket));
        } else if (op === 0) {
          /** @type {Record<string, unknown>} */
          const identify = { rpcVersion: RPC_VERSION, eventSubscriptions: 0 };
          try {
            if (d.authentication) {
              const secret = await digest(password + d.authentication.salt);
              identify.authentication = await digest(secret + d.authentication.challenge);
            }
          } catch (/** @type {any} */ error) {
            return fail(error.message);
          }
          socket.send(JSON.stringify({ op: 1, d: identify }));
        }
      };
      socket.addEventListener("message", (event) => void greet(event));
      socket.addEventListener("close", ({ code, reason }) => {
        if (code === AUTHENTICATION_FAILED) fail("OBS refused the password. It is shown under Tools, WebSocket Server Settings, Show Connect Info.");
        else fail(reason ? `OBS ended the connection: ${reason}` : absent);
      });
    });
  }

  /** @param {string} type - a request of obs-websocket 5
   * @param {Record<string, unknown>} [data]
   * @returns {Promise<any>} its response data
   * @throws {ObsFailure} with OBS's own comment */
  call(type, data = {}) {
    const id = String(++this.#count);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new ObsFailure(`OBS did not answer ${type}.`));
      }, CALL_TIMEOUT_MS);
      this.#pending.set(id, { resolve, reject, type, timer });
      this.#socket.send(JSON.stringify({ op: 6, d: { requestType: type, requestId: id, requestData: data } }));
    });
  }

  close() {
    this.#socket.close();
  }

  /** @param {{op: number, d: any}} message */
  #receive({ op, d }) {
    const waiting = op === 7 ? this.#pending.get(d.requestId) : undefined;
    if (!waiting) return;
    this.#pending.delete(d.requestId);
    clearTimeout(waiting.timer);
    const { result, code, comment } = d.requestStatus;
    if (result) waiting.resolve(d.responseData ?? {});
    else waiting.reject(new ObsFailure(`${waiting.type}: ${comment ?? `error ${code}`}`, code));
  }
}
