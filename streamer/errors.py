"""Errors with a code for programs and a sentence for people.

ServiceError       refused over HTTP: `{"error": {"code", "message"}}`
MessageError       refused over the data channel: `{"type": "error", "code", "message"}`
UsageError         the command line or the configuration is wrong: exit code 2
HopelessError      only a new process helps: exit code 1
"""

from __future__ import annotations


class ServiceError(Exception):
    """A request that is refused."""

    def __init__(self, status: int, code: str, message: str, *, retry_after_s: int | None = None) -> None:
        """Answer with HTTP `status`; `message` is one sentence for a person."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s


class MessageError(Exception):
    """A message on the data channel that is refused."""

    def __init__(self, code: str, message: str) -> None:
        """`message` is one sentence for a person."""
        super().__init__(message)
        self.code = code
        self.message = message


class UsageError(Exception):
    """A command or configuration that cannot be understood; the text is one sentence for a person."""


class HopelessError(Exception):
    """The process cannot go on; the text is one sentence for a person."""
