"""Datagrams from strangers: media ports are open to whoever finds them, and aioice passes everything on, into a queue
without end. What does not come from the peer, from an address that it named or proved over ICE, ends here.
"""

from __future__ import annotations

from aioice.ice import Connection, StunProtocol
from aiortc import RTCPeerConnection

from streamer.aiortc_adapter import ice_connections
from streamer.clock import NS_PER_MS, Clock
from streamer.limits import Bucket

STUN = {"rate": 200.0, "burst": 400.0}
"""Connectivity checks of all strangers together: each is answered."""
LEARN_NS = 20 * NS_PER_MS
"""How often an unknown address makes us look whether it has become known."""
MAX_WAITING = 4096
"""Datagrams that wait to be decrypted; at 30 fps and 2 Mb/s about ten come with each frame."""


class Door:
    """Stands before the sockets of one ICE connection."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        """Watch over `connection`; `watch` puts it before a socket."""
        self._connection = connection
        self._clock = clock
        self._known: set[tuple[str, int]] = set()
        self._learned_ns = clock.monotonic_ns() - LEARN_NS
        self._checks = Bucket(clock, **STUN)
        self.num_refused = 0
        """Datagrams that went no further."""

    def admits(self, data: bytes, address: tuple[str, int]) -> bool:
        """Say whether a datagram may go on."""
        is_known = address in self._known or self._learn(address)
        # The first two bits of STUN are 0, and its other first bits too for what ICE uses (RFC 7983).
        is_stun = len(data) > 0 and data[0] < 4
        is_welcome = is_known or (is_stun and self._checks.take())
        if not is_welcome or (not is_stun and self._connection._queue.qsize() >= MAX_WAITING):
            self.num_refused += 1
            return False
        return True

    def _learn(self, address: tuple[str, int]) -> bool:
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._learned_ns < LEARN_NS:
            return False
        self._learned_ns = now_ns
        # Every pair comes from a candidate that the peer named, or from a check that bore its password.
        self._known = {pair.remote_addr for pair in self._connection._check_list}
        return address in self._known

    def watch(self, protocol: StunProtocol) -> None:
        """Let `protocol` hear only what is admitted."""
        passed_on = protocol.datagram_received

        def datagram_received(data: bytes | str, addr: tuple[object, ...]) -> None:
            if isinstance(data, bytes) and self.admits(data, (str(addr[0]), int(str(addr[1])))):
                passed_on(data, addr)

        protocol.datagram_received = datagram_received  # type: ignore[method-assign]


def refuse_strangers(peer: RTCPeerConnection, clock: Clock) -> list[Door]:
    """Put a door before every socket of a peer connection that has gathered its candidates."""
    doors = []
    for connection in ice_connections(peer):
        door = Door(connection, clock)
        for protocol in connection._protocols:
            door.watch(protocol)
        doors.append(door)
    return doors
