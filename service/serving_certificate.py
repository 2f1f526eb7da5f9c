"""The serving certificate of a program, which changes while the program runs.

A handshake takes the certificate from the TLS context at its start. So a new certificate in that context is
used for the next connection, without a restart and without losing a connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from blessings.tls import load_identity
from service import mounted_files
from service.errors import ServingCertificateError, UnreadableFile
from service.log import get_logger

_log = get_logger(__name__)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class ServingPair:
    """A certificate chain and its key, which OpenSSL has accepted together."""

    chain_pem: str
    key_pem: str
    not_after: datetime
    fingerprint: str

    @classmethod
    def checked(cls, chain: bytes, key: bytes) -> ServingPair:
        """Args:
            chain: the certificate and those between it and its root, in PEM, in that order.
            key: its private key, in PEM, not encrypted.

        Raises:
            ServingCertificateError: they cannot be used, or do not belong together.
        """
        try:
            leaf = x509.load_pem_x509_certificate(chain)
            _check_key(leaf)
            pair = cls(
                chain.decode(), key.decode(), leaf.not_valid_after_utc, leaf.fingerprint(SHA256()).hex()
            )
            # In a context of its own. OpenSSL replaces certificate and key one after the other, and drops a
            # key that does not belong to a new certificate: after a torn read, the context in use would have
            # no key, and every handshake would fail.
            load_identity(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair.chain_pem, pair.key_pem)
        except (ValueError, x509.InvalidVersion, OSError) as error:  # ssl.SSLError is an OSError
            raise ServingCertificateError(
                f"the serving certificate and key cannot be used: {error}"
            ) from error
        return pair


def _check_key(leaf: x509.Certificate) -> None:
    """Raises ServingCertificateError: some API servers and clients refuse other keys, in the handshake."""
    key = leaf.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        kind, good = key.curve.name, isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1))
    else:
        kind, good = type(key).__name__.removesuffix("PublicKey"), isinstance(key, rsa.RSAPublicKey)
    if not good:
        raise ServingCertificateError(
            f"the serving certificate has a key of kind {kind}; expected RSA, P-256 or P-384"
        )


class ServingCertificate:
    """A TLS context with its certificate. Only the thread that makes the context's handshakes may use it.

    Attributes:
        context: for the server; it has no certificate before the first `load`.
        not_after: when the current certificate expires; None before the first `load`.
    """

    def __init__(
        self,
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        protocols: Sequence[str] = (),
        now: Callable[[], datetime] = _now,
    ) -> None:
        """`protocols` are offered by ALPN."""
        self._now = now
        self._loaded = asyncio.Event()
        self.not_after: datetime | None = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = minimum_version
        if protocols:
            self.context.set_alpn_protocols(list(protocols))

    def load(self, chain: bytes, key: bytes) -> None:
        """Serves with another certificate from the next connection on. See `ServingPair.checked`.

        Raises:
            ServingCertificateError: they cannot be used; the current certificate stays.
        """
        self.use(ServingPair.checked(chain, key))

    def use(self, pair: ServingPair) -> None:
        """Serves with `pair` from the next connection on. Raises ServingCertificateError; see `load`."""
        try:
            load_identity(self.context, pair.chain_pem, pair.key_pem)
        except OSError as error:
            raise ServingCertificateError(f"the serving certificate cannot be loaded: {error}") from error
        self.not_after = pair.not_after
        self._loaded.set()
        _log.info(
            "serving certificate loaded",
            fingerprint=pair.fingerprint,
            notAfter=self.not_after.isoformat(),
        )

    def problem(self) -> str | None:
        """Why clients would not accept a connection with this certificate; None when they would."""
        if self.not_after is None:
            return "there is no serving certificate yet"
        if self.not_after <= self._now():
            return f"the serving certificate expired at {self.not_after.isoformat()}"
        return None

    @asynccontextmanager
    async def required(self, seconds: float) -> AsyncIterator[None]:
        """Waits for the first `load`, which another task makes.

        Raises:
            ServingCertificateError: it took longer than `seconds`.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._loaded.wait()
        except TimeoutError as error:
            raise ServingCertificateError(f"no serving certificate after {seconds:g} seconds") from error
        yield


class CertificateFiles:
    """Keeps a ServingCertificate equal to two files: a mounted kubernetes.io/tls Secret, for example."""

    def __init__(self, certificate: ServingCertificate, chain_file: Path, key_file: Path) -> None:
        self._certificate = certificate
        self._files = (chain_file, key_file)
        self._loaded: bytes | None = None

    def refresh(self) -> bool:
        """Loads the files if they are not those of the last successful load; returns whether it did.

        Raises:
            ServingCertificateError: a file cannot be read, or they do not belong together.
        """
        try:
            contents = mounted_files.read(self._files)
        except UnreadableFile as error:
            raise ServingCertificateError(str(error)) from error
        if contents is None or mounted_files.digest(contents) == self._loaded:
            return False
        self._certificate.load(*contents)
        self._loaded = mounted_files.digest(contents)
        return True
