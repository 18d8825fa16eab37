from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from reenact.credential_key import CERTIFICATES_FILE, KEY_FILE, known_credential_key, own_credential_key
from reenact.signing import SigningError, key_folder


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REENACT_DATA", str(tmp_path))
    return key_folder()


def test_a_key_is_made_once_and_for_its_owner_alone(folder: Path) -> None:
    assert known_credential_key() is None
    assert not folder.exists()
    first = own_credential_key()
    assert own_credential_key() == first == known_credential_key()
    assert (folder / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in folder.iterdir()) == [KEY_FILE, CERTIFICATES_FILE]


def test_the_chain_is_what_c2pa_asks_for() -> None:
    leaf, root = x509.load_pem_x509_certificates(own_credential_key().certificates_pem)
    leaf.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert "1.3.6.1.4.1.62558.2.1" in {oid.dotted_string for oid in usage}
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.not_valid_after_utc - dt.datetime.now(tz=dt.UTC) > dt.timedelta(days=3600)


def test_the_authority_is_forgotten(folder: Path) -> None:
    own_credential_key()
    (key,) = [path for path in folder.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    _, root = x509.load_pem_x509_certificates((folder / CERTIFICATES_FILE).read_bytes())
    assert private.public_key() != root.public_key()


def test_a_key_without_its_certificate_is_refused(folder: Path) -> None:
    own_credential_key()
    stranger = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / KEY_FILE).write_bytes(stranger)
    with pytest.raises(SigningError, match="must begin with the certificate of the key"):
        own_credential_key()
    assert known_credential_key() is None
    (folder / KEY_FILE).write_bytes(b"no key")
    with pytest.raises(SigningError, match="cannot be used"):
        own_credential_key()


def test_a_certificate_that_has_ended_is_refused(folder: Path) -> None:
    own_credential_key()
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "old")])
    now = dt.datetime.now(tz=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=9))
        .not_valid_after(now - dt.timedelta(days=1))
        .sign(key, None)
    )
    pem = serialization.Encoding.PEM
    (folder / KEY_FILE).write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / CERTIFICATES_FILE).write_bytes(certificate.public_bytes(pem))
    with pytest.raises(SigningError, match="has ended"):
        own_credential_key()
