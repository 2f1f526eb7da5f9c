"""The agent's own serving certificate, and the roots that its clients' certificates may end in.

The files are mounted from a Secret that is renewed while we run; new handshakes use the new certificate,
and connections that are open stay open.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from blessings import BlessingsError, Roots
from blessings.tls import load_identity
from cluster_agent.errors import DataDirectoryError


class Serving:
    """A TLS context that follows the files in `directory`: tls.crt, tls.key, ca.crt."""

    def __init__(self, directory: Path, other_client_roots: Roots) -> None:
        """Raises DataDirectoryError when the files are missing or don't fit together."""
        self._directory = directory
        self._other_client_roots = other_client_roots
        self._loaded: tuple[str, str, str] | None = None
        self.control_plane_roots = Roots(())
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        # Resumed sessions would carry no client certificate on some Python versions.
        self.context.num_tickets = 0
        # Health and roots need no client certificate; the other routes demand one.
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.reload()

    def reload(self) -> bool:
        """Reads the files again; answers whether they changed. What is in force stays on errors."""
        try:
            files = self._read()
            if files == self._loaded:
                return False
            chain, key, roots_pem = files
            roots = Roots.from_pem(roots_pem)
            load_identity(self.context, chain, key)
            self.context.load_verify_locations(cadata=(roots + self._other_client_roots).to_pem())
        except (OSError, ssl.SSLError, BlessingsError) as error:
            raise DataDirectoryError(f"cannot serve with the files in {self._directory}: {error}") from error
        self.control_plane_roots = roots
        self._loaded = files
        return True

    def trust(self, roots: Roots) -> None:
        """Lets clients in with certificates under `roots` too, from the next handshake on."""
        self.context.load_verify_locations(cadata=roots.to_pem())
        known = set(self._other_client_roots)
        self._other_client_roots += Roots(tuple(root for root in roots if root not in known))

    def _read(self) -> tuple[str, str, str]:
        chain, key, roots = (
            (self._directory / name).read_text() for name in ("tls.crt", "tls.key", "ca.crt")
        )
        return chain, key, roots
