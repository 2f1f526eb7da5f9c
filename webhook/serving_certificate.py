"""The certificate that the webhook serves with, which changes while it serves.

A handshake takes the certificate from the TLS context at its start, so a certificate that is put into the
context in use holds for the next connection: no restart, and no connection is lost.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from blessings.tls import load_identity
from webhook.errors import ServingCertificateError

_log = structlog.stdlib.get_logger("webhook.serving_certificate")


def _now() -> datetime:
    return datetime.now(UTC)


class ServingCertificate:
    """A TLS context, and the certificate within it.

    Attributes:
        context: for the server; there is nothing to serve with in it before the first `load`.
        not_after: when the present certificate expires; None before the first `load`.
    """

    def __init__(self, now: Callable[[], datetime] = _now) -> None:
        self._now = now
        self._loaded = asyncio.Event()
        self.not_after: datetime | None = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # API servers have spoken 1.3 since Kubernetes 1.17 or so, but may be told not to.
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])

    def load(self, chain: bytes, key: bytes) -> None:
        """Serves with another certificate from the next connection on.

        Args:
            chain: the certificate and what stands between it and its root, in PEM, in that order.
            key: its private key, in PEM, not encrypted.

        Raises:
            ServingCertificateError: they cannot be used; the present certificate stays.
        """
        try:
            leaf = x509.load_pem_x509_certificate(chain)
            # In a context of its own first. OpenSSL replaces certificate and key one after the other,
            # and forgets a key that does not belong to a new certificate, so a mismatch, as between
            # two reads of files that are being replaced, would leave the server with nothing.
            load_identity(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), chain.decode(), key.decode())
            load_identity(self.context, chain.decode(), key.decode())
        except (ValueError, OSError) as error:  # ssl.SSLError is an OSError
            raise ServingCertificateError(
                f"the serving certificate and key cannot be used: {error}"
            ) from error
        self.not_after = leaf.not_valid_after_utc
        self._loaded.set()
        _log.info(
            "serving certificate loaded",
            fingerprint=leaf.fingerprint(SHA256()).hex(),
            notAfter=self.not_after.isoformat(),
        )

    def problem(self) -> str | None:
        """Why nobody will accept a connection that is served with this; None when all is well."""
        if self.not_after is None:
            return "there is no serving certificate yet"
        if self.not_after <= self._now():
            return f"the serving certificate expired at {self.not_after.isoformat()}"
        return None

    @asynccontextmanager
    async def required(self, seconds: float) -> AsyncIterator[None]:
        """Waits for the first `load`, which something that was started before is to do.

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
        self._seen: object = None

    def refresh(self) -> bool:
        """Loads the files if they are not those of the last successful load; says whether it did.

        Raises:
            ServingCertificateError: a file cannot be read, or they do not belong together.
        """
        try:
            # The inode too: a replaced file may be as old and as long as the one before.
            seen = [
                (status.st_ino, status.st_mtime_ns, status.st_size) for status in map(Path.stat, self._files)
            ]
            if seen == self._seen:
                return False
            chain, key = (file.read_bytes() for file in self._files)
        except OSError as error:
            raise ServingCertificateError(f"{error.filename}: {error.strerror}") from error
        self._certificate.load(chain, key)
        self._seen = seen
        return True

    @asynccontextmanager
    async def watched(self, seconds: float) -> AsyncIterator[None]:
        """Loads the files, and looks every `seconds` whether they have changed.

        Raises:
            ServingCertificateError: at the start, there is nothing to serve with. Later, what cannot be
                loaded is logged and tried again.
        """
        self.refresh()
        watching = asyncio.create_task(self._watch(seconds))
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _watch(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                self.refresh()
            except ServingCertificateError as error:
                _log.error("serving certificate not reloaded", error=str(error))
