"""What a WHIP client offers, checked before anything is made for it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiortc import RTCIceCandidate
from aiortc.codecs import CODECS, is_rtx
from aiortc.rtcpeerconnection import find_common_codecs
from aiortc.sdp import MediaDescription, SessionDescription, candidate_from_sdp

from streamer.aiortc_adapter import PLAYOUT_DELAY
from streamer.errors import ServiceError

MAX_SDP_BYTES = 64 * 1024
"""A browser's offer has about 6 kB; one with every codec and extension 20 kB."""
MAX_SECTIONS = 8
MAX_CANDIDATES = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundOffer:
    """What an offer says of sound. Opus is the one codec: sections without it stay silent."""

    mids: tuple[str, ...]
    """Every audio section, in order."""
    source_mid: str | None
    """The section on which the source's sound comes in; None if it sends none."""
    output_mid: str | None
    """The section on which it goes out again; None if it was not asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A valid offer, and what we will do with its media sections."""

    sdp: str
    video_mids: tuple[str, ...]
    """Every video section, in order."""
    source_mid: str
    """The section on which the source's video comes in."""
    output_mid: str | None
    """The section on which the target's video goes out; None if it was not asked for."""
    sound: SoundOffer
    playout_delay_id: int | None = None
    """Number of the RTP header extension for playout delay in the output section, if it was offered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewerOffer:
    """A valid offer of somebody who only watches."""

    sdp: str
    video_mids: tuple[str, ...]
    """Every video section, in order."""
    output_mid: str
    """The section on which the target's video goes out."""
    sound: SoundOffer
    playout_delay_id: int | None = None
    """As in `Offer`."""


def bad_sdp(message: str) -> ServiceError:
    """Make the error for an offer that cannot be used."""
    return ServiceError(400, "bad_sdp", message)


def parse_offer(text: str) -> Offer:
    """Check an SDP offer; raise `ServiceError` `bad_sdp` (400) or `no_common_codec` (406)."""
    text, videos, audios = _read(text, "a source must send its camera")
    source = next((media for media in videos if media.direction in ("sendonly", "sendrecv")), None)
    if source is None:
        raise bad_sdp("The offer has no video to send: a source must send its camera.")
    _check_codecs(source)
    if source.direction == "sendrecv":
        output: MediaDescription | None = source
    else:
        output = next((media for media in videos if media.direction == "recvonly"), None)
        if output is not None:
            _check_codecs(output)
    return Offer(
        sdp=text,
        video_mids=tuple(media.rtp.muxId for media in videos),
        source_mid=source.rtp.muxId,
        output_mid=output.rtp.muxId if output is not None else None,
        playout_delay_id=_extension_id(output, PLAYOUT_DELAY) if output is not None else None,
        sound=_sound(audios, is_source=True),
    )


def parse_viewer_offer(text: str) -> ViewerOffer:
    """Check a WHEP client's SDP offer; raise `ServiceError` `bad_sdp` (400) or `no_common_codec` (406)."""
    text, videos, audios = _read(text, "a viewer must ask for it")
    output = next((media for media in videos if media.direction in ("recvonly", "sendrecv")), None)
    if output is None:
        raise bad_sdp("The offer has no video to receive: a viewer must ask for it.")
    _check_codecs(output)
    return ViewerOffer(
        sdp=text,
        video_mids=tuple(media.rtp.muxId for media in videos),
        output_mid=output.rtp.muxId,
        playout_delay_id=_extension_id(output, PLAYOUT_DELAY),
        sound=_sound(audios, is_source=False),
    )


def _sound(audios: list[MediaDescription], *, is_source: bool) -> SoundOffer:
    speaking = [media for media in audios if any(codec.name.lower() == "opus" for codec in media.rtp.codecs)]
    source = next((media for media in speaking if media.direction in ("sendonly", "sendrecv")), None)
    if not is_source:
        source = None
    asked = [media for media in speaking if media.direction in ("recvonly", "sendrecv")]
    # Back on the section it came in on, if that goes both ways.
    output = source if source in asked else next(iter(asked), None)
    return SoundOffer(
        mids=tuple(media.rtp.muxId for media in audios),
        source_mid=source.rtp.muxId if source is not None else None,
        output_mid=output.rtp.muxId if output is not None else None,
    )


def _read(text: str, duty: str) -> tuple[str, list[MediaDescription], list[MediaDescription]]:
    """Return an offer, every direction spelled out, its video and its audio sections; raise `ServiceError`, with
    `duty`.
    """
    if not text.strip():
        raise bad_sdp("The offer is empty.")
    text = _spell_out_directions(text)
    description = _parse(text)
    videos = [media for media in description.media if media.kind == "video"]
    _check_media(description, videos, duty)
    return text, videos, [media for media in description.media if media.kind == "audio"]


def _extension_id(media: MediaDescription, uri: str) -> int | None:
    numbers = (extension.id for extension in media.rtp.headerExtensions if extension.uri == uri)
    return next((number for number in numbers if 1 <= number <= 255), None)


def _spell_out_directions(text: str) -> str:
    """Write its direction into every media section: the default (RFC 8866) and the session's own are not aiortc's."""
    head, *sections = re.split(r"^(?=m=)", text, flags=re.MULTILINE)
    direction = re.compile(r"^a=(sendrecv|sendonly|recvonly|inactive)\s*$", flags=re.MULTILINE)
    given = direction.search(head)
    default = given.group(1) if given else "sendrecv"
    return head + "".join(
        section if direction.search(section) else f"{section.rstrip()}\r\na={default}\r\n" for section in sections
    )


def _parse(text: str) -> SessionDescription:
    if not text.lstrip().startswith("v=0"):
        raise bad_sdp("The offer is not SDP: it does not start with v=0.")
    try:
        description = SessionDescription.parse(text)
    except Exception as error:  # aiortc's parser answers damage with whatever went wrong first.
        raise bad_sdp("The offer cannot be parsed as SDP.") from error
    if len(description.media) > MAX_SECTIONS:
        raise bad_sdp(f"The offer has {len(description.media)} media sections, more than {MAX_SECTIONS}.")
    if sum(len(media.ice_candidates) for media in description.media) > MAX_CANDIDATES:
        raise bad_sdp(f"The offer has more than {MAX_CANDIDATES} network addresses.")
    return description


def _check_media(description: SessionDescription, videos: list[MediaDescription], duty: str) -> None:
    if not description.media:
        raise bad_sdp("The offer has no media sections.")
    if not videos:
        raise bad_sdp(f"The offer has no video, only other media: {duty}.")
    mids = [media.rtp.muxId for media in description.media]
    if len(set(mids)) != len(mids) or not all(mids):
        raise bad_sdp("The media sections of the offer have no distinct a=mid names.")
    bundled = [mid for group in description.group if group.semantic == "BUNDLE" for mid in group.items]
    if len(set(bundled)) != len(bundled) or not set(bundled) <= set(mids):
        raise bad_sdp("The offer bundles media sections that it does not have.")
    kinds = [media.kind for media in description.media]
    if not set(kinds) <= {"audio", "video", "application"} or kinds.count("application") > 1:
        raise bad_sdp("The offer has media sections that are neither video, audio nor one data channel.")
    for media in description.media:
        if media.ice is None or not media.ice.usernameFragment or not media.ice.password:
            raise bad_sdp("The offer has no ICE user name and password.")
        if media.dtls is None or not media.dtls.fingerprints:
            raise bad_sdp("The offer has no DTLS fingerprint.")
        if media.kind in ("audio", "video") and not media.rtcp_mux:
            raise bad_sdp("The offer does not multiplex RTP and RTCP (a=rtcp-mux).")


def _check_codecs(media: MediaDescription) -> None:
    common = find_common_codecs(CODECS["video"], media.rtp.codecs)
    if not any(not is_rtx(codec) for codec in common):
        raise ServiceError(406, "no_common_codec", "The offer has none of our video codecs: VP8 or H.264 baseline.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trickle:
    """A fragment of late ICE candidates (RFC 8840)."""

    candidates: tuple[RTCIceCandidate, ...]
    is_end: bool
    """No more candidates will come."""
    usernames: frozenset[str]
    """The `ice-ufrag` values named; another one than the offer's asks for an ICE restart."""


def parse_trickle(text: str) -> Trickle:
    """Read an `application/trickle-ice-sdpfrag` body; raise `ServiceError` `bad_sdp`."""
    candidates: list[RTCIceCandidate] = []
    usernames: set[str] = set()
    mid, is_end = None, False
    for line in text.splitlines():
        name, _, value = line.strip().partition(":")
        if name == "a=mid":
            mid = value
        elif name == "a=ice-ufrag":
            usernames.add(value)
        elif name == "a=end-of-candidates":
            is_end = True
        elif name == "a=candidate" and value:
            candidates.append(_candidate(value, mid))
    if len(candidates) > MAX_CANDIDATES:
        raise bad_sdp(f"The fragment has more than {MAX_CANDIDATES} network addresses.")
    return Trickle(candidates=tuple(candidates), is_end=is_end, usernames=frozenset(usernames))


def _candidate(value: str, mid: str | None) -> RTCIceCandidate:
    try:
        candidate = candidate_from_sdp(value)
    except Exception as error:  # As in `_parse`.
        raise bad_sdp("The fragment has a damaged a=candidate line.") from error
    candidate.sdpMid = mid
    if mid is None:
        candidate.sdpMLineIndex = 0
    return candidate
