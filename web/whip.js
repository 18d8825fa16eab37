// @ts-check
import { Failure } from "./errors.js";

/** Long enough for a server that compiles its network at the first session. */
const ANSWER_TIMEOUT_MS = 45_000;

/** One session resource on the server, by WHIP (RFC 9725): made by `POST`, fed by `PATCH`, ended by `DELETE`. */
export class WhipResource {
  #url;
  #etag;

  /**
   * @param {string} url - absolute
   * @param {string} etag
   * @param {string} answer - SDP
   */
  constructor(url, etag, answer) {
    this.#url = url;
    this.#etag = etag;
    this.answer = answer;
  }

  /**
   * @param {URL} endpoint
   * @param {string} offer - SDP
   * @param {AbortSignal} signal
   * @returns {Promise<WhipResource>}
   * @throws {Failure} with the server's code and sentence
   */
  static async publish(endpoint, offer, signal) {
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), ANSWER_TIMEOUT_MS);
    const stop = () => timeout.abort();
    signal.addEventListener("abort", stop, { once: true });
    try {
      const headers = { "Content-Type": "application/sdp" };
      const response = await fetch(endpoint, { method: "POST", headers, body: offer, signal: timeout.signal });
      if (!response.ok) throw await WhipResource.#refusal(response, endpoint);
      const location = response.headers.get("Location") ?? "";
      const url = new URL(location, response.url).href;
      return new WhipResource(url, response.headers.get("ETag") ?? "", await response.text());
    } catch (error) {
      signal.throwIfAborted();
      // `fetch` gives a bare TypeError for every way of not reaching a server.
      throw error instanceof Failure ? error : new Failure("server_gone");
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    }
  }

  /** Send candidates found after the offer (RFC 8840).
   * @param {string} fragment */
  async trickle(fragment) {
    /** @type {Record<string, string>} */
    const headers = { "Content-Type": "application/trickle-ice-sdpfrag" };
    if (this.#etag) headers["If-Match"] = this.#etag;
    // A candidate that does not arrive is one path less; losing them all shows as a failed connection.
    await fetch(this.#url, { method: "PATCH", headers, body: fragment }).catch(() => undefined);
  }

  /** End the session on the server; `keepalive` lets the request outlive the page. */
  async delete() {
    await fetch(this.#url, { method: "DELETE", keepalive: true }).catch(() => undefined);
  }

  /**
   * @param {Response} response
   * @param {URL} endpoint
   */
  static async #refusal(response, endpoint) {
    const body = await response.json().catch(() => null);
    const { code = "server_error", message = `HTTP ${response.status} ${response.statusText}` } = body?.error ?? {};
    const retryAfterS = Number(response.headers.get("Retry-After")) || undefined;
    const name = endpoint.searchParams.get("actor") ?? "";
    return new Failure(code, { message, name, retryAfterS, status: response.status });
  }
}
