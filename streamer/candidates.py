"""The addresses that the other side of a connection names, those behind names of the local network among them.

A page that may not use a camera gives such a name (mDNS) in place of its own address
(draft-ietf-mmusic-mdns-ice-candidates). Where multicast does not reach, in containers and beyond the local network, an
answer is waited for in vain for a second. Nobody waits here: the browser's own checks say as soon where it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable

from aioice.mdns import is_mdns_hostname
from aiortc import RTCIceCandidate, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

from streamer.errors import ServiceError
from streamer.offer import MAX_CANDIDATES, Trickle


class RemoteCandidates:
    """Gives a peer connection what the other side says of its addresses, first and late."""

    def __init__(self, peer: RTCPeerConnection) -> None:
        self._peer = peer
        self._num_late = 0
        self._asking: set[asyncio.Task[None]] = set()

    async def describe(self, sdp: str) -> None:
        """Set a valid offer as the remote description; raises what aiortc does."""
        sdp, named, is_end = _parted(sdp)
        await self._peer.setRemoteDescription(RTCSessionDescription(sdp=sdp, type="offer"))
        await self._give(named, is_end=is_end)

    async def add(self, trickle: Trickle) -> None:
        """Take late candidates in; raise `ServiceError` for an ICE restart, which is not supported."""
        description = self._peer.remoteDescription
        if any(f"a=ice-ufrag:{name}" not in description.sdp for name in trickle.usernames):
            raise ServiceError(422, "ice_restart", "An ICE restart is not supported: make a new session.")
        room = max(0, MAX_CANDIDATES - self._num_late)
        self._num_late += len(trickle.candidates)
        await self._give(trickle.candidates[:room], is_end=trickle.is_end)

    def close(self) -> None:
        """Ask no further."""
        for task in self._asking:
            task.cancel()

    async def _give(self, candidates: Iterable[RTCIceCandidate], *, is_end: bool) -> None:
        for candidate in candidates:
            if is_mdns_hostname(candidate.ip):
                self._later(self._peer.addIceCandidate(candidate))
            else:
                await self._peer.addIceCandidate(candidate)
        if is_end and self._asking:
            self._later(self._end(set(self._asking)))
        elif is_end:
            await self._peer.addIceCandidate(None)

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _end(self, before: set[asyncio.Task[None]]) -> None:
        """Say that no more come once they are all there: what comes after that is ignored."""
        await asyncio.wait(before)
        await self._peer.addIceCandidate(None)


def _parted(sdp: str) -> tuple[str, list[RTCIceCandidate], bool]:
    """Take the candidates with names out of an offer; if there are any, its last candidate is yet to come.

    Gives what is left, the candidates, and whether the offer said that they are all.
    """
    left: list[str] = []
    named: list[RTCIceCandidate] = []
    section = -1
    for line in sdp.splitlines():
        section += line.startswith("m=")
        if line.startswith("a=candidate:"):
            candidate = candidate_from_sdp(line.partition(":")[2])
            if is_mdns_hostname(candidate.ip):
                candidate.sdpMLineIndex = section
                named.append(candidate)
                continue
        left.append(line)
    if not named:
        return sdp, [], False
    end = "a=end-of-candidates"
    return "\r\n".join(line for line in left if line.strip() != end) + "\r\n", named, end in map(str.strip, left)
