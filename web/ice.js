// @ts-check

/** Ask the server which STUN and TURN servers to use; their passwords run out, so it is asked at every start.
 * @returns {Promise<RTCIceServer[]>} none where the server does not answer: the session itself will say why */
export async function fetchIceServers() {
  const response = await fetch("/api/ice", { cache: "no-store" }).catch(() => null);
  return response?.ok ? ((await response.json()).ice_servers ?? []) : [];
}
