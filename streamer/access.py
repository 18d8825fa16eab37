"""Who may do what: tokens with the right to watch, to be the source, or to administer.

On a loopback address everybody is the person at the machine and may do everything. Beyond it every request bears a
token: as `Authorization: Bearer TOKEN` (RFC 6750), in the cookie that opening a page with `?token=TOKEN` leaves, or for
players that know neither, in the address.
Tokens are made at the start and last until the server ends or they are revoked; only their hashes are kept.
"""

from __future__ import annotations

import enum
import hashlib
import ipaddress
import secrets
from dataclasses import dataclass

from streamer.errors import ServiceError

MAX_TOKENS = 64
MAX_TOKEN_CHARS = 128


class Right(enum.IntEnum):
    """What a token allows; each right includes those before it."""

    NOBODY = 0
    VIEWER = 1
    SOURCE = 2
    ADMIN = 3


RIGHTS: dict[str, Right] = {
    "/healthz": Right.NOBODY,
    "/web": Right.NOBODY,
    "/api/sessions": Right.VIEWER,
    "/view/{session}": Right.VIEWER,
    "/whep/{session}": Right.VIEWER,
    "/whep/{session}/{viewer}": Right.VIEWER,
    "/stream/{session}.ts": Right.VIEWER,
    "/": Right.SOURCE,
    "/whip": Right.SOURCE,
    "/whip/{session}": Right.SOURCE,
    "/api/actors": Right.SOURCE,
    "/api/actors/{name}/preview.webp": Right.SOURCE,
    "/api/settings": Right.SOURCE,
    "/api/mesh": Right.SOURCE,
    "/api/numbers": Right.SOURCE,
    "/edit": Right.SOURCE,
    "/study/{name}": Right.VIEWER,
    "/api/studies/{name}": Right.VIEWER,
    "/api/studies/{name}/clips/{key}": Right.VIEWER,
    "/api/studies/{name}/answers": Right.VIEWER,
    "/api/ice": Right.VIEWER,
    "/api/links": Right.SOURCE,
    "/recordings/{key}": Right.SOURCE,
    "/api/jobs": Right.SOURCE,
    "/api/jobs/{job}": Right.ADMIN,
    "/api/jobs/{job}/grid.png": Right.ADMIN,
    "/api/jobs/{job}/statement": Right.ADMIN,
    "/api/jobs/{job}/video": Right.ADMIN,
    "/api/jobs/{job}/retry": Right.ADMIN,
    "/api/tokens": Right.ADMIN,
    "/api/tokens/{token}": Right.ADMIN,
    "/metrics": Right.ADMIN,
}
"""The right that each route takes, by its pattern; a route that is not named takes an administrator's."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token, without its secret."""

    id: str
    right: Right


LOCAL = Token("", Right.ADMIN)
"""The person at the machine."""
STRANGER = Token("", Right.NOBODY)


class Tokens:
    """The tokens of a server that runs."""

    def __init__(self, *, is_open: bool) -> None:
        """`is_open`: everybody may do everything."""
        self.is_open = is_open
        self._tokens: dict[bytes, Token] = {}

    def make(self, right: Right) -> tuple[Token, str]:
        """Make a token; return it with its secret, which is kept nowhere. Raises `ServiceError` `too_many_tokens`."""
        if len(self._tokens) >= MAX_TOKENS:
            raise ServiceError(409, "too_many_tokens", f"There are {MAX_TOKENS} tokens already: revoke one first.")
        secret = secrets.token_urlsafe(32)
        token = Token(secrets.token_hex(4), right)
        self._tokens[_digest(secret)] = token
        return token, secret

    def find(self, secret: str | None) -> Token:
        """Return the token of a secret; raise `ServiceError` `token_needed` or `token_wrong` (401)."""
        if self.is_open:
            return LOCAL
        if not secret:
            raise ServiceError(401, "token_needed", "This server asks for a token: open the link that it printed.")
        # A hash of 256 random bits: how long the look-up takes tells nothing of the secret.
        token = self._tokens.get(_digest(secret)) if len(secret) <= MAX_TOKEN_CHARS else None
        if token is None:
            raise ServiceError(
                401, "token_wrong", "This token is not valid, or no longer: open the link that the server printed last."
            )
        return token

    def holds(self, token: Token) -> bool:
        """Say whether a token that was found has not been revoked since."""
        return self.is_open or token in self._tokens.values()

    def list(self) -> list[Token]:
        """Return all tokens."""
        return list(self._tokens.values())

    def revoke(self, token_id: str) -> Token:
        """Forget a token; raise `ServiceError` `not_found` (404)."""
        for digest, token in self._tokens.items():
            if token.id == token_id:
                del self._tokens[digest]
                return token
        raise ServiceError(404, "not_found", "There is no such token; it may have been revoked.")


def check_right(token: Token, needed: Right) -> None:
    """Raise `ServiceError` `forbidden` (403) if `token` does not give the right that is `needed`."""
    if token.right < needed:
        given, wanted = token.right.name.lower(), needed.name.lower()
        raise ServiceError(403, "forbidden", f"The token has the right of a {given}; this takes that of a {wanted}.")


def is_loopback(host: str) -> bool:
    """Say whether a name or address means this machine alone."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()
