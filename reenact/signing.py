"""Signatures: this machine's own Ed25519 key, the keys it trusts, and the bytes of a JSON object that are signed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_FILE = "signing.pem"
TRUSTED_FILE = "trusted.txt"
KEY_PATTERN = re.compile(r"[0-9a-f]{64}")
SIGNATURE_PATTERN = re.compile(r"[0-9a-f]{128}")


class SigningError(Exception):
    """A key or a signature cannot be used; the message is one sentence for people."""


def data_folder() -> Path:
    """Give the folder of what this user made: `$REENACT_DATA`, else `reenact` in the XDG data folder."""
    if named := os.environ.get("REENACT_DATA"):
        return Path(named)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "reenact"


def key_folder() -> Path:
    """Give the folder of the keys, for this user's eyes only; it may not be there yet."""
    return data_folder() / "keys"


def own_key() -> Ed25519PrivateKey:
    """Load this machine's key, `keys/signing.pem`; make it where there is none. Raises `SigningError`.

    A key of one's own can be put in its place: Ed25519, PKCS #8, PEM, without a password.
    """
    path = key_folder() / KEY_FILE
    try:
        if not path.exists():
            _make_key(path)
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise SigningError(f"The key {path} cannot be used: {error}.") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"The key {path} is not an Ed25519 key.")
    return key


def _make_key(path: Path) -> None:
    """Write a new key, whole or not at all; another process may do the same at the same time, and one of them wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    handle, name = tempfile.mkstemp(dir=path.parent)  # readable by its owner alone
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.unlink(name)


def public_hex(key: Ed25519PrivateKey) -> str:
    """Give the public half of a key: 64 hexadecimal digits."""
    return key.public_key().public_bytes_raw().hex()


def trusted_keys() -> frozenset[str]:
    """Give the public keys whose signatures hold here: this machine's own and those in `keys/trusted.txt`.

    That file has one key a line, 64 hexadecimal digits; what follows on the line, or a `#`, is a remark. No key is made
    by asking. Raises `SigningError`.
    """
    keys = {public_hex(own_key())} if (key_folder() / KEY_FILE).exists() else set()
    path = key_folder() / TRUSTED_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except (OSError, ValueError) as error:
        raise SigningError(f"{path} cannot be read: {error}.") from None
    for number, line in enumerate(lines, 1):
        word = line.partition("#")[0].strip().partition(" ")[0].lower()
        if word and not KEY_PATTERN.fullmatch(word):
            raise SigningError(f"{path}, line {number}: a key has 64 hexadecimal digits.")
        if word:
            keys.add(word)
    return frozenset(keys)


def canonical(values: Mapping[str, Any]) -> bytes:
    """Give the one spelling of a JSON object that is signed: sorted names, no spaces, shortest numbers."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def sign(values: Mapping[str, Any]) -> dict[str, str]:
    """Sign a JSON object with this machine's key: `{"key", "value"}`, both hexadecimal. Raises `SigningError`."""
    key = own_key()
    return {"key": public_hex(key), "value": key.sign(canonical(values)).hex()}


def check_signature(values: Mapping[str, Any], signature: object) -> str:
    """Check a signature of `sign` and give the public key that made it. Raises `SigningError` where it does not fit.

    Whether that key is to be trusted is another question: `trusted_keys`.
    """
    key, value = (signature.get("key"), signature.get("value")) if isinstance(signature, dict) else (None, None)
    if (
        not isinstance(key, str)
        or not isinstance(value, str)
        or not KEY_PATTERN.fullmatch(key)
        or not SIGNATURE_PATTERN.fullmatch(value)
    ):
        raise SigningError("it is not signed")
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(value), canonical(values))
    except (InvalidSignature, ValueError):
        raise SigningError("its signature does not fit: something in it was changed after it was signed") from None
    return key
