"""Content credentials (C2PA): a signed statement inside a video file of how it was made, and the reading of it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import c2pa

from reenact.actor import Actor
from reenact.credential_key import known_credential_key, own_credential_key
from reenact.label import DisclosureSettings
from reenact.mark.message import Message
from reenact.signing import SigningError

GENERATION = "local.reenact.generation"
"""Label of our own assertion: actor, consent, mark and label."""
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for media that a trained network made."""
COMPOSITE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's term for a recording into which such media was laid."""
SUFFIXES = (".mp4", ".m4v", ".mov", ".avi")
"""Video files that can hold credentials."""
OFFLINE = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}
"""Nothing is fetched from the network, whatever a file asks for."""


class CredentialsError(Exception):
    """A file cannot be signed; the message is one sentence for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """What a file's credentials say, and whether they hold."""

    state: str
    """`trusted`: unchanged and signed by this machine; `valid`: unchanged, signed by someone else; `invalid`."""
    problems: tuple[str, ...]
    """C2PA's status codes of what is wrong; empty unless invalid."""
    signer: str
    """Name in the signer's certificate."""
    generator: str
    """Program that says it made the file."""
    is_generated: bool
    """Whether they say that a trained network made it."""
    origins: tuple[Mapping[str, Any], ...]
    """Fields of `Origin`, as they were signed, one for each origin; none in files of other programs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where generated pictures come from."""

    actor: str
    actor_title: str
    actor_sha256: str
    """See `Actor.fingerprint`."""
    consent: Mapping[str, str | None]
    """The record in the package, without its statement, whose hash stands for it."""
    mark: str
    """What the invisible mark says."""
    label: str | None
    """Words of the visible label; None where it was left out."""
    label_reason: str
    """Why it was left out."""

    @classmethod
    def of(cls, actor: Actor, message: Message, disclosure: DisclosureSettings) -> Self:
        """Put together what is known of pictures of `actor`, marked and labelled so."""
        consent = {name: value for name, value in actor.consent.to_json().items() if name != "statement"}
        return cls(
            actor=actor.name,
            actor_title=actor.title,
            actor_sha256=actor.fingerprint,
            consent=consent,
            mark=str(message),
            label=disclosure.words if disclosure.is_shown else None,
            label_reason="" if disclosure.is_shown else disclosure.reason,
        )


def sign_video(path: Path, origins: Sequence[Origin], *, is_composite: bool = False) -> None:
    """Put content credentials into a finished video file, in place: whole or not at all.

    They say that this program generated it, or with `is_composite` parts of it, and of which origins its pictures are,
    in their order. Raises `CredentialsError`; the file is then as it was.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise CredentialsError(f"{path}: content credentials fit into {', '.join(SUFFIXES)} files.")
    partial = path.with_name(f".{path.stem}.{os.getpid()}.signed{path.suffix}")
    try:
        key = own_credential_key()
        info = c2pa.C2paSignerInfo(key.algorithm.lower().encode(), key.certificates_pem, key.private_pem, None)
        with (
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(_manifest(path, origins, is_composite=is_composite)) as builder,
        ):
            builder.sign_file(path, partial, signer)
        os.replace(partial, path)
    except (c2pa.C2paError, SigningError, OSError) as error:
        raise CredentialsError(f"{path} could not be signed: {error}") from None
    finally:
        partial.unlink(missing_ok=True)


def read_credentials(path: Path) -> Credentials | None:
    """Read and check a file's content credentials; None where it has none, or is of a kind that cannot have any."""
    own = known_credential_key()
    settings = {**OFFLINE, **({"trust": {"user_anchors": own.anchor_pem}} if own else {})}
    try:
        with c2pa.Context(c2pa.Settings.from_dict(settings)) as context, c2pa.Reader(path, context=context) as reader:
            report = json.loads(reader.json())
    except c2pa.C2paError as error:
        if isinstance(error, (c2pa.C2paError.ManifestNotFound, c2pa.C2paError.NotSupported)):
            return None
        return Credentials(
            state="invalid", problems=(str(error),), signer="", generator="", is_generated=False, origins=()
        )
    return _parse(report)


def _manifest(path: Path, origins: Sequence[Origin], *, is_composite: bool) -> dict[str, Any]:
    try:
        version = metadata.version("reenact")
    except metadata.PackageNotFoundError:
        version = "unknown"
    program = {"name": "Reenact", "version": version}
    shown = ", ".join(dict.fromkeys(repr(origin.actor_title) for origin in origins))
    what = "Face generated by a neural network in a recording" if is_composite else "Generated by a neural network"
    created = {
        "action": "c2pa.created",
        "digitalSourceType": COMPOSITE_TYPE if is_composite else SOURCE_TYPE,
        "softwareAgent": program,
        "description": f"{what}: the target {shown}, driven by a person's video.",
    }
    return {
        "claim_generator_info": [program],
        "title": path.name,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            *({"label": GENERATION, "data": dataclasses.asdict(origin)} for origin in origins),
        ],
    }


def _parse(report: Mapping[str, Any]) -> Credentials:
    """Read what `c2pa.Reader.json` gives; it was checked there, but who wrote it may be anybody."""
    manifest = report.get("manifests", {}).get(report.get("active_manifest"), {})
    assertions = [(str(item.get("label")), item.get("data") or {}) for item in manifest.get("assertions", [])]
    actions = [
        action for label, data in assertions if label.startswith("c2pa.actions") for action in data.get("actions", [])
    ]
    failures = (report.get("validation_results") or {}).get("activeManifest", {}).get("failure", [])
    signature = manifest.get("signature_info") or {}
    programs = manifest.get("claim_generator_info") or [{}]
    return Credentials(
        state=str(report.get("validation_state", "invalid")).lower(),
        problems=tuple(sorted({str(item.get("code")) for item in failures} - {"signingCredential.untrusted"})),
        signer=str(signature.get("common_name") or signature.get("issuer") or ""),
        generator=" ".join(str(programs[0].get(name, "")) for name in ("name", "version")).strip(),
        is_generated=any(
            str(action.get("digitalSourceType", "")).lower().endswith("trainedalgorithmicmedia") for action in actions
        ),
        # Further assertions of one label are numbered: __1, __2.
        origins=tuple(data for label, data in assertions if label.partition("__")[0] == GENERATION),
    )
