// @ts-check

/** What the server said no to: its code and its sentence. */
export class Refusal extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** Ask for JSON.
 * @param {string} method @param {string} path @param {object} [body]
 * @returns {Promise<any>}
 * @throws {Refusal} */
export async function ask(method, path, body) {
  const headers = body ? { "Content-Type": "application/json" } : undefined;
  const init = { method, headers, body: body && JSON.stringify(body), cache: /** @type {RequestCache} */ ("no-store") };
  const response = await fetch(new URL(path, document.baseURI), init).catch(() => null);
  if (!response) throw new Refusal("server_gone", "The server does not answer.");
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(answer.error?.code ?? "server_error", answer.error?.message ?? `HTTP ${response.status}`);
  return answer;
}

/** Send a file; `fetch` tells nothing of how far it is.
 * @param {string} path @param {Blob} file
 * @param {(share: number) => void} onProgress - 0 to 1
 * @param {AbortSignal} signal
 * @returns {Promise<any>}
 * @throws {Refusal} */
export function send(path, file, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", new URL(path, document.baseURI));
    request.responseType = "json";
    request.upload.addEventListener("progress", ({ loaded, total }) => onProgress(total ? loaded / total : 0));
    request.upload.addEventListener("load", () => onProgress(1));
    request.addEventListener("load", () => {
      const { status, response } = request;
      if (status < 300) resolve(response);
      else reject(new Refusal(response?.error?.code ?? "server_error", response?.error?.message ?? `HTTP ${status}`));
    });
    request.addEventListener("error", () => reject(new Refusal("server_gone", "The connection to the server broke off.")));
    request.addEventListener("abort", () => reject(new Refusal("aborted", "Stopped.")));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.send(file);
  });
}
