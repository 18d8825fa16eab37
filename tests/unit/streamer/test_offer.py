from __future__ import annotations

import contextlib
import re

import pytest
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection

from streamer.errors import ServiceError
from streamer.offer import parse_offer, parse_trickle, parse_viewer_offer


class Camera(MediaStreamTrack):
    kind = "video"

    async def recv(self) -> None:  # type: ignore[override]
        raise NotImplementedError


async def offer(*sections: tuple[str, str], has_channel: bool = True) -> str:
    """Return an offer with media `sections` (kind, direction)."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for kind, direction in sections:
        peer.addTransceiver(kind, direction=direction)
    if has_channel:
        peer.createDataChannel("control")
    await peer.setLocalDescription(await peer.createOffer())
    text = str(peer.localDescription.sdp)
    await peer.close()
    return text


def refusal(text: str) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        parse_offer(text)
    return caught.value


async def test_one_line_both_ways() -> None:
    parsed = parse_offer(await offer(("video", "sendrecv")))
    assert (parsed.video_mids, parsed.source_mid, parsed.output_mid) == (("0",), "0", "0")


async def test_two_lines_and_audio_beside_them() -> None:
    parsed = parse_offer(await offer(("audio", "sendonly"), ("video", "recvonly"), ("video", "sendonly")))
    assert (parsed.video_mids, parsed.source_mid, parsed.output_mid) == (("1", "2"), "2", "1")


async def test_sound_comes_in_and_goes_out_where_it_was_offered() -> None:
    one_way = parse_offer(await offer(("audio", "sendonly"), ("video", "sendrecv"))).sound
    assert (one_way.mids, one_way.source_mid, one_way.output_mid) == (("0",), "0", None)
    both = parse_offer(await offer(("video", "sendrecv"), ("audio", "sendrecv"))).sound
    assert (both.source_mid, both.output_mid) == ("1", "1")
    apart = parse_offer(await offer(("audio", "recvonly"), ("video", "sendrecv"), ("audio", "sendonly"))).sound
    assert (apart.source_mid, apart.output_mid) == ("2", "0")
    text = await offer(("video", "recvonly"), ("audio", "sendrecv"))
    viewer = parse_viewer_offer(text).sound
    assert (viewer.source_mid, viewer.output_mid) == (None, "1")
    mute = parse_viewer_offer(text.replace("opus/48000", "speex/8000")).sound
    assert (mute.mids, mute.output_mid) == (("1",), None)


async def test_a_section_without_direction_goes_both_ways() -> None:
    text = await offer(("video", "sendrecv"), ("audio", "sendonly"))
    for direction in ("a=sendrecv\r\n", "a=sendonly\r\n"):
        assert direction in text
        text = text.replace(direction, "")
    parsed = parse_offer(text)
    assert (parsed.source_mid, parsed.output_mid) == ("0", "0")
    assert parsed.sdp.count("a=sendrecv") >= 2


async def test_a_source_that_wants_no_output() -> None:
    assert parse_offer(await offer(("video", "sendonly"))).output_mid is None


@pytest.mark.parametrize("text", ["", "  \r\n", "hello", "v=1", "\x00" * 50, '{"sdp": ""}'])
def test_what_is_no_sdp(text: str) -> None:
    error = refusal(text)
    assert (error.status, error.code) == (400, "bad_sdp")


async def test_audio_only() -> None:
    error = refusal(await offer(("audio", "sendrecv")))
    assert (error.status, error.code) == (400, "bad_sdp")
    assert error.message == "The offer has no video, only other media: a source must send its camera."


async def test_video_that_only_receives() -> None:
    error = refusal(await offer(("video", "recvonly")))
    assert error.message == "The offer has no video to send: a source must send its camera."


async def test_no_media() -> None:
    assert refusal("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n").message == "The offer has no media sections."
    assert "only other media" in refusal(await offer()).message


async def test_no_common_codec() -> None:
    text = await offer(("video", "sendrecv"))
    error = refusal(re.sub(r"(VP8|H264)/90000", "AV1/90000", text))
    assert (error.status, error.code) == (406, "no_common_codec")


@pytest.mark.parametrize(
    ("pattern", "replacement", "words"),
    [
        (r"a=ice-ufrag:.*\r\n", "", "no ICE user name"),
        (r"a=ice-pwd:.*\r\n", "", "no ICE user name"),
        (r"a=fingerprint:.*\r\n", "", "no DTLS fingerprint"),
        (r"a=rtcp-mux\r\n", "", "does not multiplex"),
        (r"a=mid:.*\r\n", "", "no distinct a=mid"),
        (r"a=mid:\d", "a=mid:0", "no distinct a=mid"),
        (r"a=rtpmap:(\d+) ", r"a=rtpmap:x\1 ", "cannot be parsed"),
        (r"m=video \d+", "m=video x", "cannot be parsed"),
        (r"a=candidate:.*\r\n", "a=candidate:1 1 udp\r\n", "cannot be parsed"),
        (r"(a=candidate:.*\r\n)", r"\1" * 60, "more than 100 network addresses"),
    ],
)
async def test_damage_has_its_sentence(pattern: str, replacement: str, words: str) -> None:
    text = await offer(("video", "sendrecv"))
    error = refusal(re.sub(pattern, replacement, text))
    assert (error.status, error.code) == (400, "bad_sdp")
    assert words in error.message


async def test_too_many_sections() -> None:
    assert "more than 8" in refusal(await offer(*[("video", "sendonly")] * 9)).message


async def test_cut_off_anywhere_it_is_refused_or_parsed_but_never_fails() -> None:
    text = await offer(("video", "sendrecv"))
    for length in range(0, len(text), 7):
        with contextlib.suppress(ServiceError):
            parse_offer(text[:length])


def test_trickle() -> None:
    parsed = parse_trickle(
        "a=ice-ufrag:abcd\r\na=ice-pwd:secret\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n"
        "a=candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host generation 0\r\na=end-of-candidates\r\n"
    )
    (candidate,) = parsed.candidates
    assert (candidate.ip, candidate.port, candidate.sdpMid) == ("192.0.2.1", 50_000, "0")
    assert parsed.is_end
    assert parsed.usernames == {"abcd"}


def test_trickle_without_mid_means_the_first_section() -> None:
    (candidate,) = parse_trickle("a=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\n").candidates
    assert (candidate.sdpMid, candidate.sdpMLineIndex) == (None, 0)


@pytest.mark.parametrize("text", ["a=candidate:x\r\n", "a=candidate:1 1 udp 1 192.0.2.1 5 typ host\r\n" * 101])
def test_bad_trickle(text: str) -> None:
    with pytest.raises(ServiceError) as caught:
        parse_trickle(text)
    assert caught.value.code == "bad_sdp"
