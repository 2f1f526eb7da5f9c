"""The certificate in use changes only for one that can be used."""

from __future__ import annotations

import datetime
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

from service.errors import ServingCertificateError
from service.serving_certificate import CertificateFiles, ServingCertificate
from tests.webhook.serving import certificate, replace


def der(chain: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(chain.decode())


def presented(context: ssl.SSLContext) -> bytes | None:
    """The certificate that a client is shown in a handshake."""
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = unverified.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return client.getpeercert(binary_form=True)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    chain, key = certificate()
    (tmp_path / "tls.crt").write_bytes(chain)
    (tmp_path / "tls.key").write_bytes(key)
    return tmp_path / "tls.crt", tmp_path / "tls.key"


def test_files_are_loaded_once_and_again_only_when_changed(files: tuple[Path, Path]) -> None:
    watched = CertificateFiles(ServingCertificate(), *files)
    assert [watched.refresh(), watched.refresh()] == [True, False]
    chain, key = certificate()
    replace(files[0], chain)
    with pytest.raises(ServingCertificateError, match="cannot be used"):
        watched.refresh()
    replace(files[1], key)
    assert [watched.refresh(), watched.refresh()] == [True, False]


def test_a_missing_file_is_named(files: tuple[Path, Path]) -> None:
    files[1].unlink()
    with pytest.raises(ServingCertificateError, match=r"tls\.key is missing"):
        CertificateFiles(ServingCertificate(), *files).refresh()


@pytest.mark.parametrize(
    "broken", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\0", b"\xff\xfe"]
)
def test_a_certificate_that_is_none_is_refused(broken: bytes) -> None:
    with pytest.raises(ServingCertificateError):
        ServingCertificate().load(broken, certificate()[1])


@pytest.mark.parametrize(
    "key",
    [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())],
    ids=["RSA", "P-256"],
)
def test_a_certificate_for_a_key_that_every_client_takes_is_served(
    key: CertificateIssuerPrivateKeyTypes,
) -> None:
    serving, (chain, pem) = ServingCertificate(), certificate(key=key)
    serving.load(chain, pem)
    assert presented(serving.context) == der(chain)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
        (ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
    ],
)
def test_a_certificate_for_a_key_that_some_clients_refuse_is_refused_with_its_kind(
    key: CertificateIssuerPrivateKeyTypes, kind: str
) -> None:
    with pytest.raises(ServingCertificateError, match=f"key of kind {kind}; expected RSA, P-256 or P-384"):
        ServingCertificate().load(*certificate(key=key))


def test_attack_a_torn_read_leaves_the_certificate_in_use() -> None:
    (old, old_key), (new, new_key) = certificate(), certificate()
    serving = ServingCertificate()
    serving.load(old, old_key)
    for torn in ((new, old_key), (old, new_key), (new + b"\xff", new_key), (new, b"\xff" + new_key)):
        with pytest.raises(ServingCertificateError):
            serving.load(*torn)
        assert presented(serving.context) == der(old)
    serving.load(new, new_key)
    assert presented(serving.context) == der(new)


def test_an_encrypted_key_is_refused_instead_of_asking_a_terminal_for_its_password() -> None:
    chain, key = certificate()
    encrypted = serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(ServingCertificateError):
        ServingCertificate().load(chain, encrypted)


def test_it_is_ready_from_the_first_load_until_expiry() -> None:
    time = datetime.datetime.now(datetime.UTC)
    serving = ServingCertificate(now=lambda: time)
    assert serving.problem() == "there is no serving certificate yet"
    chain, key = certificate(lifetime=datetime.timedelta(minutes=10))
    serving.load(chain, key)
    assert serving.not_after == x509.load_pem_x509_certificate(chain).not_valid_after_utc
    assert serving.problem() is None
    time += datetime.timedelta(minutes=11)
    assert "the serving certificate expired at" in str(serving.problem())


async def test_the_start_waits_for_a_certificate_and_not_for_ever() -> None:
    serving = ServingCertificate()
    with pytest.raises(ServingCertificateError, match=r"no serving certificate after 0\.01 seconds"):
        async with serving.required(0.01):
            pass
    serving.load(*certificate())
    async with serving.required(0.01):
        pass
