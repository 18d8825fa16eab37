// @ts-check

const TIMEOUT_MS = 3_000;

/** Ask the server whether it is there at all.
 * @returns {Promise<boolean>} false also when it takes too long to say */
export async function isServerUp() {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), TIMEOUT_MS);
  const url = new URL("healthz", document.baseURI);
  const answer = await fetch(url, { signal: abort.signal, cache: "no-store" }).catch(() => null);
  clearTimeout(timer);
  return answer?.ok ?? false;
}
