"""The key and the certificates that content credentials are signed with: made once, or the user's own.

C2PA takes no certificate that signed itself. So a small authority is made that signs one certificate and is forgotten:
whoever puts it among their trusted anchors trusts what this machine signs, and nothing else.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from reenact.signing import SigningError, key_folder

KEY_FILE = "credentials.key"
CERTIFICATES_FILE = "credentials.pem"
VALID_YEARS = 10
CLAIM_SIGNING = x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1")
"""Extended key usage of those who sign C2PA claims."""
CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


@dataclass(frozen=True, slots=True)
class CredentialKey:
    """What content credentials are signed with."""

    algorithm: str
    """COSE name: ES256, ES384, ES512, PS256 or ED25519."""
    private_pem: bytes
    """PKCS #8."""
    certificates_pem: bytes
    """The signer's certificate, then those above it."""

    @property
    def serial(self) -> str:
        """Serial number of the signer's certificate, decimal, as credentials show it."""
        return str(x509.load_pem_x509_certificates(self.certificates_pem)[0].serial_number)

    @property
    def anchor_pem(self) -> str:
        """The topmost certificate: what others have to trust."""
        return x509.load_pem_x509_certificates(self.certificates_pem)[-1].public_bytes(_PEM).decode()


_PEM = serialization.Encoding.PEM


def own_credential_key() -> CredentialKey:
    """Load this machine's `keys/credentials.key` and `.pem`; make both where there are none. Raises `SigningError`.

    Files of one's own can be put in their place: a key as PKCS #8 PEM without a password (ECDSA, RSA or Ed25519), and
    the certificates, the signer's first.
    """
    folder = key_folder()
    key_path, certificates_path = folder / KEY_FILE, folder / CERTIFICATES_FILE
    try:
        if not key_path.exists() and not certificates_path.exists():
            _make(folder)
        private, certificates = key_path.read_bytes(), certificates_path.read_bytes()
        key = serialization.load_pem_private_key(private, password=None)
        chain = x509.load_pem_x509_certificates(certificates)
    except (OSError, ValueError, TypeError) as error:
        raise SigningError(f"The key for content credentials in {folder} cannot be used: {error}.") from None
    public = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*public) != chain[0].public_key().public_bytes(*public):
        raise SigningError(f"{certificates_path} must begin with the certificate of the key in {key_path}.")
    if chain[0].not_valid_after_utc < dt.datetime.now(tz=dt.UTC):
        raise SigningError(f"The certificate in {certificates_path} has ended: remove it and its key for new ones.")
    return CredentialKey(_algorithm(key), private, certificates)


def known_credential_key() -> CredentialKey | None:
    """Load the key as `own_credential_key` does, but make none: None where there is none, or it cannot be used."""
    if not (key_folder() / KEY_FILE).exists():
        return None
    try:
        return own_credential_key()
    except SigningError:
        return None


def _algorithm(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return CURVES[key.curve.name]
    if isinstance(key, rsa.RSAPrivateKey):
        return "PS256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ED25519"
    raise SigningError(f"{KEY_FILE}: content credentials are signed by ECDSA, RSA or Ed25519.")


def _make(folder: Path) -> None:
    """Write a key and its certificates; where another process does the same at the same time, the first one's stay."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Reenact, on this machine")
    root_name = x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, "Reenact local authority")])
    name = x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, "Reenact content credentials")])
    root = _certificate(root_name, root_name, authority, authority, is_authority=True)
    leaf = _certificate(name, root_name, key, authority, is_authority=False)
    private = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # One new folder, moved file by file: the key first, and who finds it there leaves all as it is.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for file, data in (
            (KEY_FILE, private), (CERTIFICATES_FILE, leaf.public_bytes(_PEM) + root.public_bytes(_PEM))
        ):  # fmt: skip
            path = Path(scratch) / file
            path.touch(mode=0o600)
            path.write_bytes(data)
        with contextlib.suppress(FileExistsError):
            os.link(Path(scratch) / KEY_FILE, folder / KEY_FILE)
            os.replace(Path(scratch) / CERTIFICATES_FILE, folder / CERTIFICATES_FILE)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: CertificateIssuerPrivateKeyTypes,
    *,
    is_authority: bool,
) -> x509.Certificate:
    """Sign a certificate of the profile that C2PA asks for."""
    now = dt.datetime.now(tz=dt.UTC)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))  # clocks differ
        .not_valid_after(now + dt.timedelta(days=365 * VALID_YEARS))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not is_authority, key_cert_sign=is_authority, crl_sign=is_authority,
                content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
                encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
    )  # fmt: skip
    if not is_authority:
        usage = x509.ExtendedKeyUsage([CLAIM_SIGNING, ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(usage, critical=False)
    return builder.sign(signer, hashes.SHA256())
