from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiortc import RTCIceCandidate, RTCSessionDescription

from streamer.candidates import RemoteCandidates
from streamer.offer import parse_trickle

NAME = "4a5c8f5e-2b53-4c4c-9a25-3a2a3c1f5d10.local"
OFFER = (
    "v=0\r\na=group:BUNDLE 0 1\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:abcd\r\n"
    "a=candidate:1 1 udp 2113937151 192.0.2.1 50000 typ host\r\n{first}"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{second}"
)
HIDDEN = f"a=candidate:2 1 udp 2113937151 {NAME} 50001 typ host\r\n"
END = "a=end-of-candidates\r\n"


class Peer:
    """Takes down what it is given; a name is found out once `answers` is set."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.given: list[tuple[str, int | None] | None] = []
        self.sdp = ""
        self.remoteDescription = RTCSessionDescription("a=ice-ufrag:abcd", "offer")

    async def setRemoteDescription(self, description: RTCSessionDescription) -> None:  # noqa: N802 - aiortc's names
        self.sdp = description.sdp

    async def addIceCandidate(self, candidate: RTCIceCandidate | None) -> None:  # noqa: N802
        if candidate is not None and candidate.ip == NAME:
            await self.answers.wait()
        self.given.append(None if candidate is None else (candidate.ip, candidate.sdpMLineIndex))


@pytest.fixture
async def peer() -> Peer:
    return Peer()


def candidates_for(peer: Any) -> RemoteCandidates:
    return RemoteCandidates(peer)


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_offer_without_names_goes_on_as_it_is(peer: Peer) -> None:
    offer = OFFER.format(first="", second=END)
    await candidates_for(peer).describe(offer)
    assert (peer.sdp, peer.given) == (offer, [])


async def test_names_are_asked_for_while_the_offer_is_answered(peer: Peer) -> None:
    await candidates_for(peer).describe(OFFER.format(first="", second=HIDDEN + END))
    await turn()
    assert peer.sdp == OFFER.format(first="", second="")
    assert peer.given == []
    peer.answers.set()
    await turn()
    # The end comes last: what follows it is ignored.
    assert peer.given == [(NAME, 1), None]


async def test_an_offer_that_goes_on_has_no_end(peer: Peer) -> None:
    await candidates_for(peer).describe(OFFER.format(first=HIDDEN, second=""))
    peer.answers.set()
    await turn()
    assert peer.given == [(NAME, 0)]


async def test_late_names_hold_nothing_up_and_the_end_waits_for_all(peer: Peer) -> None:
    candidates = candidates_for(peer)
    await candidates.describe(OFFER.format(first=HIDDEN, second=""))
    address = "a=candidate:1 1 udp 2130706431 192.0.2.9 50002 typ host\r\n"
    await candidates.add(parse_trickle(f"a=ice-ufrag:abcd\r\na=mid:0\r\n{HIDDEN}{address}{END}"))
    await turn()
    assert peer.given == [("192.0.2.9", None)]
    peer.answers.set()
    await turn()
    assert peer.given == [("192.0.2.9", None), (NAME, 0), (NAME, None), None]


async def test_closed_it_asks_no_further(peer: Peer) -> None:
    candidates = candidates_for(peer)
    await candidates.describe(OFFER.format(first=HIDDEN, second=END))
    await turn()
    candidates.close()
    peer.answers.set()
    await turn()
    assert peer.given == []
