"""The agent's serving certificate, and the roots under which it accepts client certificates.

The files are mounted from a Secret that is renewed while we run; new handshakes use the new certificate,
and connections that are open stay open.
"""

from __future__ import annotations

import ssl
from datetime import datetime
from pathlib import Path

from blessings import BlessingsError, Roots
from cluster_agent.errors import DataDirectoryError
from service import mounted_files
from service.errors import ServiceError
from service.serving_certificate import ServingCertificate, ServingPair

_FILES = ("tls.crt", "tls.key", "ca.crt")


class Serving:
    """A TLS context that follows the files in `directory`: tls.crt, tls.key, ca.crt."""

    def __init__(self, directory: Path, other_client_roots: Roots) -> None:
        """Raises DataDirectoryError when the files are missing or do not belong together."""
        self._directory = directory
        self._other_client_roots = other_client_roots
        self._loaded: bytes | None = None
        self._certificate = ServingCertificate(ssl.TLSVersion.TLSv1_3)
        self.control_plane_roots = Roots(())
        self.context = self._certificate.context
        # On some Python versions, resumed sessions would have no client certificate.
        self.context.num_tickets = 0
        # Health and roots need no client certificate; the other routes demand one.
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.reload()
        if self._loaded is None:
            raise DataDirectoryError(f"the files in {directory} are being replaced; start again")

    @property
    def not_after(self) -> datetime | None:
        """When the serving certificate ends."""
        return self._certificate.not_after

    def reload(self) -> bool:
        """Reads the files again, and returns whether they changed. On an error, the current certificate
        stays.

        Raises DataDirectoryError.
        """
        try:
            files = mounted_files.read([self._directory / name for name in _FILES])
            if files is None or mounted_files.digest(files) == self._loaded:
                return False
            chain, key, roots_pem = files
            roots = Roots.from_pem(roots_pem)
            pair = ServingPair.checked(chain, key)
            self.context.load_verify_locations(cadata=(roots + self._other_client_roots).to_pem())
            self._certificate.use(pair)
        except (ServiceError, ssl.SSLError, BlessingsError) as error:
            raise DataDirectoryError(f"cannot serve with the files in {self._directory}: {error}") from error
        self.control_plane_roots = roots
        self._loaded = mounted_files.digest(files)
        return True

    def trust(self, roots: Roots) -> None:
        """Also accepts client certificates under `roots`, from the next handshake on."""
        self.context.load_verify_locations(cadata=roots.to_pem())
        known = set(self._other_client_roots)
        self._other_client_roots += Roots(tuple(root for root in roots if root not in known))
