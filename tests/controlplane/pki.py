"""The throwaway certificate authority of one test control plane: the API server's certificate, and the key
that signs service-account tokens."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)


def write_pki(directory: Path, *addresses: str) -> None:
    """Writes the authority (ca.crt, ca.key), the API server's certificate for `addresses` and loopback
    (apiserver.crt, .key), its client certificate for kubelets (kubelet-client.crt, .key), and the key that
    signs service-account tokens (service-account.key, .pub)."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("test control plane")
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    (directory / "ca.crt").write_bytes(ca.public_bytes(Encoding.PEM))
    _write_key(directory / "ca.key", ca_key)
    names = ["localhost", "kubernetes.default.svc", "127.0.0.1", *addresses]
    issue(directory, "apiserver", "kube-apiserver", names)
    issue(directory, "kubelet-client", "kube-apiserver-kubelet-client", [], group="system:masters")
    account_key = rsa.generate_private_key(65537, 2048)
    _write_key(directory / "service-account.key", account_key)
    (directory / "service-account.pub").write_bytes(
        account_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )


def issue(directory: Path, file: str, user: str, names: Sequence[str], *, group: str | None = None) -> None:
    """Writes `file`.crt and .key into the authority's directory, for a user (and their group), and for a
    server's DNS names and IP addresses."""
    ca = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
    ca_key = load_pem_private_key((directory / "ca.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(user, group), ca.subject, key.public_key())
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_alternative, names))), False)
    certificate = builder.sign(ca_key, hashes.SHA256())
    (directory / f"{file}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    _write_key(directory / f"{file}.key", key)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_key(file: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(0o600)


def _name(user: str, group: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    if group:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(attributes)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )
