from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from streamer import certificate
from streamer.certificate import CERTIFICATE, KEY, own_certificate, ssl_context
from streamer.errors import UsageError


def handshake(server: ssl.SSLContext, authority: Path, name: str) -> None:
    """Do a TLS handshake in memory, the client trusting nothing but `authority`."""
    client = ssl.create_default_context(cafile=str(authority))
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        waiting = []
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                waiting.append(end)
        if not waiting:
            return
    raise AssertionError("the handshake did not end")


def test_a_browser_that_trusts_it_can_come_by_name_and_by_address(tmp_path: Path) -> None:
    context = ssl_context("", "", tmp_path / "keys")
    for name in ("localhost", "127.0.0.1"):
        handshake(context, tmp_path / "keys" / CERTIFICATE, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(context, tmp_path / "keys" / CERTIFICATE, "example.org")


def test_it_is_kept_until_an_address_changes_and_its_key_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = own_certificate(tmp_path)[0].read_bytes()
    assert own_certificate(tmp_path)[0].read_bytes() == first
    assert (tmp_path / KEY).stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(certificate, "lan_addresses", lambda: ["192.0.2.77"])
    assert own_certificate(tmp_path)[0].read_bytes() != first


def test_ones_own_certificate_is_used_and_a_bad_one_named(tmp_path: Path) -> None:
    chain, key = own_certificate(tmp_path)
    assert isinstance(ssl_context(str(chain), str(key), tmp_path / "unused"), ssl.SSLContext)
    assert not (tmp_path / "unused").exists()
    with pytest.raises(UsageError, match="nowhere.pem cannot be used: No such file"):
        ssl_context(str(tmp_path / "nowhere.pem"), "", tmp_path)
    with pytest.raises(UsageError, match="certificate is not"):
        ssl_context("", str(key), tmp_path)
