"""The actor package: a target on disk, read as if it came from a stranger.

A folder `NAME.actor/` holds three files and nothing else: `actor.json`, `generator.safetensors` and `preview.webp`.
Only JSON and safetensors are read; a file that could run code is refused before it is opened. A package opens only with
a record of consent that has not run out, under a signature that this machine trusts over everything in the package
(docs/trust.md).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np

from reenact.consent import Consent
from reenact.signing import SigningError, check_signature, data_folder, sign, trusted_keys
from reenact.target import Target

if TYPE_CHECKING:
    from torch import Tensor

    from models.generator import GeneratorConfig, SpaceTimeGenerator

logger = logging.getLogger(__name__)

SCHEMA = 1
"""Version of the package's layout; another one is refused."""
SUFFIX = ".actor"
MANIFEST = "actor.json"
WEIGHTS = "generator.safetensors"
PREVIEW = "preview.webp"
MAX_BYTES = {MANIFEST: 1 << 20, WEIGHTS: 1 << 29, PREVIEW: 1 << 22}
"""Largest size of each file."""
RESOLUTIONS = (128, 1024)
"""Smallest and largest resolution that is accepted, pixels."""
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
BUNDLED = Path(__file__).resolve().parents[1] / "models" / "actors"
SHIPPED = BUNDLED.parent / "manifest.json"
"""The hashes of what ships with the program: it is trusted as the program itself is, without a signature."""

KEYS = (
    "schema", "name", "title", "resolution", "frame_rate", "generator", "target", "training", "consent", "license",
    "files", "signature",
)  # fmt: skip


class ActorError(Exception):
    """A package cannot be used; the message is one sentence for people."""


class ConsentError(ActorError):
    """Consent to show the person has ended, or was withdrawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """A package that was found well formed; its weights are read by `load_generator()`."""

    folder: Path
    """Where it lies."""
    name: str
    """Short name, `[a-z0-9_-]`, that of the folder."""
    title: str
    """Name for people."""
    resolution: int
    """Width and height of its pictures, pixels."""
    frame_rate: float
    """Frames per second of the video it was trained on."""
    generator_config: GeneratorConfig
    """Sizes of its network."""
    target: Target
    """Its place in parameter space."""
    training: Mapping[str, Any]
    """What training reported: figures, settings, time."""
    consent: Consent
    """Who agreed to what, and until when."""
    license: str
    """SPDX expression, or a sentence, under which the package may be used."""
    digests: Mapping[str, str]
    """SHA-256 of each file but the manifest, as the manifest says."""
    signer: str
    """Public key that vouches for all of this, hexadecimal; empty for an actor that ships with the program."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its weights, hexadecimal, as the manifest says: what the mark and the credentials know it by."""
        return self.digests[WEIGHTS]

    @property
    def preview_path(self) -> Path:
        """The picture that a list of actors shows (WebP)."""
        return self.folder / PREVIEW

    @classmethod
    def load(cls, path_or_name: Path | str, *, verify: bool = True) -> Self:
        """Open a package by its folder, or by name in the folders of `actor_folders()`.

        A text with a slash or the ending `.actor` is a path: look names from strangers up with `find_actor()` first.
        `verify` also checks every file's SHA-256 and the weights' names, shapes, types and values; without it only the
        manifest is read. Raises `ActorError`.
        """
        text = os.fspath(path_or_name)
        is_path = isinstance(path_or_name, Path) or "/" in text or os.sep in text or text.endswith(SUFFIX)
        folder = Path(text) if is_path else find_actor(text)
        _check_folder(folder)
        values, data = _read_manifest(folder)
        signer = _check_trust(folder, values, data)
        actor = cls(folder=folder, signer=signer, **_parse(folder, values))
        actor.check_consent()
        if verify:
            actor.verify()
        return actor

    def check_consent(self) -> None:
        """Look whether the person may still be shown. Raises `ConsentError` after the last day, and for a package that
        was deleted, by which consent is withdrawn.
        """
        if self.consent.is_expired:
            raise ConsentError(
                f"The consent to show {self.consent.person!r} in {self.folder} ended on {self.consent.until}: with new "
                f"consent, record it by {_how_to_sign(self.folder)}."
            )
        if not (self.folder / MANIFEST).is_file():
            raise ConsentError(f"The consent to show {self.consent.person!r} was withdrawn: {self.folder} is gone.")

    def verify(self) -> None:
        """Check that every file is what the manifest says, and the weights fit the network. Raises `ActorError`."""
        head = self._read(PREVIEW)[:12]
        if head[:4] != b"RIFF" or head[8:] != b"WEBP":
            raise ActorError(f"{self.preview_path} is not a WebP picture.")
        self._read_weights()

    def load_generator(self) -> SpaceTimeGenerator:
        """Build the network and load its weights, in evaluation mode and float32. Raises `ActorError`."""
        from models.generator import build_generator

        generator = build_generator(self.generator_config)
        generator.load_state_dict({name: value.float() for name, value in self._read_weights().items()})
        return generator.requires_grad_(False).eval()

    def _read(self, name: str) -> bytes:
        """Read a file once, and check that it is what the manifest says: what was checked is what is used."""
        path = self.folder / name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ActorError(f"{path} cannot be read ({error.strerror}).") from None
        if name == WEIGHTS:
            _refuse_pickle(path, data)
        digest = hashlib.sha256(data).hexdigest()
        if digest != self.digests[name]:
            raise ActorError(
                f"{path} was changed or damaged: its SHA-256 is {digest[:12]}..., "
                f"and {MANIFEST} says {self.digests[name][:12]}..."
            )
        return data

    def _read_weights(self) -> dict[str, Tensor]:
        """Read the weights, float16, and check that they are the network's."""
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load

        from models.generator import build_generator

        path = self.folder / WEIGHTS
        try:
            weights = load(self._read(WEIGHTS))
        except (SafetensorError, ValueError, KeyError) as error:
            raise ActorError(f"{path} is not a safetensors file ({error}).") from None
        with torch.device("meta"):
            generator = build_generator(self.generator_config)
        expected = generator.state_dict()
        if unknown := sorted((set(weights) ^ set(expected)) - (set(generator.may_lack) - set(weights))):
            kind = "lacks" if unknown[0] in expected else "holds the unknown"
            raise ActorError(f"{path} {kind} tensor {unknown[0]}: it belongs to another network.")
        for name, value in weights.items():
            if value.shape != expected[name].shape:
                raise ActorError(
                    f"{path}: the tensor {name} has shape {list(value.shape)}, "
                    f"and the network needs {list(expected[name].shape)}."
                )
            if value.dtype != torch.float16:
                raise ActorError(f"{path}: the tensor {name} is {value.dtype}, and must be torch.float16.")
            # NumPy: a thread that asks PyTorch for this gets helper threads of its own, for as long as it lives.
            if not np.isfinite(value.numpy()).all():
                raise ActorError(f"{path}: the tensor {name} holds values that are not finite numbers.")
        return weights


def actor_folders() -> list[Path]:
    """Give the folders that actors are looked for in: `$REENACT_ACTORS`, the user's own, and those that ship."""
    named = [Path(text) for text in os.environ.get("REENACT_ACTORS", "").split(os.pathsep) if text]
    return [*named, data_folder() / "actors", BUNDLED]


def actor_paths() -> dict[str, Path]:
    """Map the names of all packages in `actor_folders()`, well formed or not, to folders; the first of a name wins."""
    found: dict[str, Path] = {}
    for folder in actor_folders():
        with contextlib.suppress(OSError):
            for path in sorted(folder.glob(f"*{SUFFIX}")):
                if NAME_PATTERN.fullmatch(path.name.removesuffix(SUFFIX)) and path.is_dir():
                    found.setdefault(path.name.removesuffix(SUFFIX), path)
    return found


def find_actor(name: str) -> Path:
    """Give the folder of a package by its name. Raises `ActorError` when there is none."""
    paths = actor_paths()
    if name not in paths:
        known = ", ".join(paths) or "none"
        raise ActorError(f"There is no actor {name!r} (there are: {known}).")
    return paths[name]


def list_actors() -> list[Actor]:
    """Open every package that can be opened, without checking their weights; others are named in the log."""
    actors = []
    for path in actor_paths().values():
        try:
            actors.append(Actor.load(path, verify=False))
        except ActorError as error:
            logger.warning("%s", error)
    return actors


def name_of(folder: Path) -> str:
    """Give the name of the actor that a `folder` is a package of, or will be. Raises `ActorError` where it is none."""
    name = folder.name.removesuffix(SUFFIX)
    if not folder.name.endswith(SUFFIX) or not NAME_PATTERN.fullmatch(name):
        raise ActorError(f"{folder} is no name for an actor: expected NAME{SUFFIX} with letters a-z, digits, - and _.")
    return name


def save_actor(
    folder: Path,
    generator: SpaceTimeGenerator,
    preview: bytes,
    *,
    title: str,
    frame_rate: float,
    target: Target,
    training: Mapping[str, Any],
    consent: Consent,
    license: str,  # noqa: A002 - the field's name
) -> Actor:
    """Write a package, whole or not at all, in place of one that is there; `preview` is the bytes of a WebP picture.

    Weights are stored in float16, and this machine's key signs the whole. Raises `ActorError` when the result would not
    pass its own verification.
    """
    import torch
    from safetensors.torch import save

    name = name_of(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".saving-") as scratch:
        made = Path(scratch) / folder.name
        made.mkdir()
        weights = {
            key: value.detach().to("cpu", torch.float16).contiguous() for key, value in generator.state_dict().items()
        }
        (made / WEIGHTS).write_bytes(save(weights))
        (made / PREVIEW).write_bytes(preview)
        files = {
            file: {"sha256": _sha256(made / file), "bytes": (made / file).stat().st_size} for file in (WEIGHTS, PREVIEW)
        }
        manifest = {
            "schema": SCHEMA, "name": name, "title": title, "resolution": generator.config.resolution,
            "frame_rate": frame_rate, "license": license, "consent": consent.to_json(), "files": files,
            "generator": generator.config.to_json(), "training": dict(training), "target": target.to_json(),
        }  # fmt: skip
        _write_manifest(made, manifest, is_signed=True)
        Actor.load(made)
        old = Path(scratch) / "old"
        if folder.exists():
            folder.rename(old)
        try:
            made.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    return Actor.load(folder, verify=False)


def sign_actor(folder: Path, consent: Consent | None = None, *, is_shipped: bool = False) -> Actor:
    """Put `consent`, or the record that is there, into a package that one holds, and sign the whole with one's own key.

    The package takes the name of its folder. `is_shipped` leaves the signature out: the hash in `models/manifest.json`
    vouches. What was there stays where the result would not be sound. Raises `ActorError`.
    """
    _check_folder(folder)
    values, before = _read_manifest(folder)
    values["name"] = folder.resolve().name.removesuffix(SUFFIX)
    if consent is not None:
        values["consent"] = consent.to_json()
    values.setdefault("signature", None)
    checked = Actor(folder=folder, signer="", **_parse(folder, values))
    if checked.consent.is_expired:
        raise ActorError(f"The consent in {folder} ended on {checked.consent.until}: it takes a new record.")
    checked.verify()
    _write_manifest(folder, values, is_signed=not is_shipped)
    if is_shipped:
        return checked
    try:
        return Actor.load(folder)
    except ActorError:
        _replace_file(folder / MANIFEST, before)
        raise


def _write_manifest(folder: Path, values: Mapping[str, Any], *, is_signed: bool) -> None:
    body = {name: value for name, value in values.items() if name != "signature"}
    try:
        signature = sign(body) if is_signed else None
    except (SigningError, ValueError) as error:
        raise ActorError(f"{folder} cannot be signed: {error}") from None
    text = json.dumps({**body, "signature": signature}, indent=1, allow_nan=False) + "\n"
    _replace_file(folder / MANIFEST, text.encode())


def _replace_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; its half-made copy lies beside the package, in which only its own files may."""
    with tempfile.TemporaryDirectory(dir=path.parent.parent, prefix=".saving-") as scratch:
        made = Path(scratch) / path.name
        made.write_bytes(data)
        made.replace(path)


def _how_to_sign(folder: Path) -> str:
    return (
        f"`reenact actors sign {folder} --consent ... --person ... --purpose ... --until ...`, or for a synthetic face "
        f"`reenact actors sign {folder} --nobody` (docs/trust.md)"
    )


def _check_trust(folder: Path, values: dict[str, Any], data: bytes) -> str:
    """Refuse a manifest that neither ships with the program nor bears a trusted signature; give the signing key."""
    try:
        Consent.from_json(values.get("consent"))
    except ValueError as error:
        raise ActorError(
            f"{folder} carries no record of consent that holds ({error}): make one by {_how_to_sign(folder)}."
        ) from None
    if _is_shipped(data):
        return ""
    body = {name: value for name, value in values.items() if name != "signature"}
    try:
        key, trusted = check_signature(body, values.get("signature")), trusted_keys()
    except (SigningError, ValueError) as error:
        raise ActorError(
            f"{folder} cannot be trusted: {error}. If you hold the consent it speaks of, sign it anew by "
            f"`reenact actors sign {folder}` (docs/trust.md)."
        ) from None
    if key not in trusted:
        raise ActorError(
            f"{folder} is signed by a key that this machine does not know, {key[:16]}...: if you hold the consent it "
            f"speaks of, sign it anew by `reenact actors sign {folder}` (docs/trust.md)."
        )
    return key


def _is_shipped(data: bytes) -> bool:
    """Say whether a manifest is one that the program came with, wherever it lies now."""
    try:
        entries = json.loads(SHIPPED.read_text(encoding="utf-8"))
        shipped = {entry["sha256"] for entry in entries if entry["file"].endswith(f"{SUFFIX}/{MANIFEST}")}
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return hashlib.sha256(data).hexdigest() in shipped


def _check_folder(folder: Path) -> None:
    """Refuse a folder with files too few, too many, too large, or that lead elsewhere."""
    if not folder.is_dir():
        raise ActorError(f"There is no actor package at {folder}.")
    names = {path.name for path in folder.iterdir()}
    for name, limit in MAX_BYTES.items():
        path = folder / name
        if name not in names:
            raise ActorError(f"{folder} has no {name}: the package is not complete.")
        if path.is_symlink() or not path.is_file():
            raise ActorError(f"{path} is not a plain file.")
        if path.stat().st_size > limit:
            raise ActorError(f"{path} is too large: {path.stat().st_size} bytes, and {limit} are allowed.")
    if extra := sorted(names - set(MAX_BYTES)):
        raise ActorError(f"{folder} holds {extra[0]!r}, which is no part of an actor package.")


def _read_manifest(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Read `actor.json` as an object, and as the bytes it was read from."""
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
        values = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
        json.dumps(values, ensure_ascii=False).encode("utf-8")  # halves of characters can neither be shown nor sent
    except (ValueError, RecursionError, OSError) as error:
        raise ActorError(f"{path} cannot be read as JSON ({error}).") from None
    if not isinstance(values, dict):
        raise ActorError(f"{path} is not a JSON object.")
    if values.get("schema") != SCHEMA:
        raise ActorError(
            f"{path} has schema {values.get('schema')!r}, and this version reads {SCHEMA}: "
            "update reenact, or train the actor anew."
        )
    return values, data


def _parse(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Check `actor.json` into the fields of `Actor`."""
    path = folder / MANIFEST
    if wrong := sorted(set(values) ^ set(KEYS)):
        raise ActorError(f"{path} {'lacks' if wrong[0] in KEYS else 'has the unknown field'} {wrong[0]!r}.")
    try:
        fields = _parse_fields(values)
    except ActorError as error:
        raise ActorError(f"{path}: {error}") from None
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ActorError(f"{path} does not make sense: {error}.") from None
    if fields["name"] != folder.resolve().name.removesuffix(SUFFIX):
        raise ActorError(f"{folder} says that its name is {fields['name']!r}: folder and name must be the same.")
    return fields


def _parse_fields(values: dict[str, Any]) -> dict[str, Any]:
    from models.generator import GeneratorConfig

    for field in ("name", "title", "license"):
        if not isinstance(values[field], str) or not 0 < len(values[field]) <= 500:
            raise ActorError(f"{field!r} must be a text of 1 to 500 characters.")
    if not NAME_PATTERN.fullmatch(values["name"]):
        raise ActorError(f"{values['name']!r} is no name for an actor: letters a-z, digits, - and _ are.")
    for field in ("generator", "training", "consent", "files"):
        if not isinstance(values[field], dict):
            raise ActorError(f"{field!r} must be an object.")
    frame_rate = values["frame_rate"]
    if not isinstance(frame_rate, int | float) or isinstance(frame_rate, bool) or not 1 <= frame_rate <= 240:
        raise ActorError(f"'frame_rate' must be a number from 1 to 240, and is {frame_rate!r}.")
    config = GeneratorConfig.from_json(values["generator"])
    low, high = RESOLUTIONS
    if values["resolution"] != config.resolution or not low <= config.resolution <= high:
        raise ActorError(
            f"'resolution' must be the generator's, from {low} to {high}; it is {values['resolution']!r}, "
            f"and the generator's {config.resolution!r}."
        )
    return {
        "name": values["name"], "title": values["title"], "license": values["license"], "resolution": config.resolution,
        "frame_rate": float(frame_rate), "training": values["training"],
        "consent": Consent.from_json(values["consent"]),
        "generator_config": config, "target": Target.from_json(values["target"]),
        "digests": _parse_files(values["files"]),
    }  # fmt: skip


def _parse_files(files: dict[str, Any]) -> dict[str, str]:
    """Check the list of files, `{name: {"sha256", "bytes"}}`: exactly the known names, no paths."""
    for name in files:
        if name not in (WEIGHTS, PREVIEW):
            raise ActorError(f"'files' names {name!r}, which is no part of an actor package.")
    digests = {}
    for name in (WEIGHTS, PREVIEW):
        entry = files.get(name)
        digest = entry.get("sha256") if isinstance(entry, dict) else None
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ActorError(f"'files' gives no SHA-256 for {name}.")
        digests[name] = digest
    return digests


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _refuse_pickle(path: Path, data: bytes) -> None:
    """Refuse what PyTorch saves: zip archives and pickles, under whatever name."""
    # A safetensors file starts with the length of its header, eight bytes, and a brace.
    is_pickle = data[:1] == b"\x80" and data[1:2] in b"\x00\x01\x02\x03\x04\x05" and data[8:9] != b"{"
    if is_pickle or data[:4] == b"PK\x03\x04":
        raise ActorError(f"{path} is a pickle (a PyTorch checkpoint), which could run code: only safetensors are read.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
