"""HTTPS with a certificate of one's own, or with one that this machine signs itself: a camera needs a secure origin."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from streamer.errors import UsageError
from streamer.lan import lan_addresses

VALID_DAYS = 397
"""Browsers accept no longer ones."""
RENEW_DAYS = 30
CERTIFICATE, KEY = "https-certificate.pem", "https-key.pem"


def names_here() -> list[str]:
    """Return the names and addresses under which a browser may know this machine."""
    return ["localhost", socket.gethostname(), "127.0.0.1", "::1", *lan_addresses()]


def make_certificate(names: list[str], now: dt.datetime) -> tuple[bytes, bytes]:
    """Make a key (ECDSA P-256) and a certificate for `names`, signed by itself; return certificate and key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Reenact on this machine")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in dict.fromkeys(names)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def own_certificate(folder: Path) -> tuple[Path, Path]:
    """Return this machine's certificate and key in `folder`, made anew once it runs out or the addresses changed.

    It is kept, so that a browser that was told to trust it need not be told at every start.
    """
    now = dt.datetime.now(dt.UTC)
    certificate, key = folder / CERTIFICATE, folder / KEY
    names = names_here()
    if not (key.is_file() and _covers(certificate, names, now)):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        pems = make_certificate(names, now)
        for path, pem in zip((certificate, key), pems, strict=True):
            # Readable by its owner alone, from its first byte on.
            part = path.with_suffix(".part")
            part.unlink(missing_ok=True)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(pem)
            part.replace(path)
    return certificate, key


def ssl_context(certificate: str, key: str, folder: Path) -> ssl.SSLContext:
    """Load `certificate` and `key` (PEM files; empty: this machine's own, in `folder`). Raises `UsageError`."""
    if bool(certificate) != bool(key) and not certificate:
        raise UsageError("server.certificate_key is set, and server.certificate is not")
    try:
        paths = (Path(certificate), Path(key) if key else None) if certificate else own_certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(*paths)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UsageError(f"the certificate {certificate or folder / CERTIFICATE} cannot be used: {reason}") from error
    return context


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _covers(path: Path, names: list[str], now: dt.datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        present = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    is_fresh = certificate.not_valid_after_utc - now > dt.timedelta(days=RENEW_DAYS)
    return is_fresh and {_name(name) for name in names} <= set(present)
