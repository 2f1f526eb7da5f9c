"""The pod's identity from files: the kubelet's, in a volume (`vanadium.io/delivery: volume`), or the pod
agent's (`vanadium.io/files`).

    files = IdentityFiles.of_environment()
    files.identity().blessing.presented     # Name('acme:prod:shop:web:web-1')
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from agent_client.messages import AgentError
from agent_client.served_identity import ServedIdentity
from blessings import Blessing, BlessingsError, InvalidCertificate, Principal, Roots

CREDENTIAL_VARIABLE = "VANADIUM_CREDENTIAL_FILE"
ROOTS_VARIABLE = "VANADIUM_ROOTS_FILE"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_MOST_BYTES = 1 << 20

_Version: TypeAlias = tuple[tuple[int, ...], ...]


class IdentityFiles:
    """Implements `IdentitySource`. The files are looked at with each call, and read again when they changed.

    Key and chain are in one file, which one reading takes whole, so a pair that does not belong together is
    never used. Files that cannot be used, while earlier ones could, change nothing: they are looked at again
    with the next call.
    """

    def __init__(self, credential: Path, roots: Path) -> None:
        """Raises AgentError when there is no identity in the files.

        credential: the key, PKCS #8, then the chain, leaf first; in PEM.
        roots: the root certificates in PEM.
        """
        self._credential, self._roots = credential, roots
        self._lock = threading.Lock()
        try:
            self._version = self._now()
            self._identity = self._read()
        except (OSError, BlessingsError) as error:
            raise AgentError("NoIdentity", f"no identity in {credential}, {roots}: {error}") from error

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> IdentityFiles | None:
        """The files that VANADIUM_CREDENTIAL_FILE and VANADIUM_ROOTS_FILE name; None without these. Raises
        AgentError."""
        credential, roots = environment.get(CREDENTIAL_VARIABLE), environment.get(ROOTS_VARIABLE)
        return cls(Path(credential), Path(roots)) if credential and roots else None

    def identity(self) -> ServedIdentity:
        with self._lock:
            try:
                version = self._now()
                if version != self._version:
                    self._identity = self._read()
                    self._version = version
            except (OSError, BlessingsError):
                return self._identity  # which peers refuse when it has ended
            return self._identity

    def close(self) -> None:
        """Nothing is held."""

    def _now(self) -> _Version:
        """What differs when a file was replaced or changed: the kubelet replaces both, by a link."""
        found = [path.stat() for path in (self._credential, self._roots)]
        return tuple((one.st_dev, one.st_ino, one.st_mtime_ns, one.st_size) for one in found)

    def _read(self) -> ServedIdentity:
        """Raises BlessingsError, OSError."""
        content = _content(self._credential)
        begin = content.find(_CERTIFICATE)
        if begin < 0:
            raise InvalidCertificate(f"{self._credential} contains no certificate")
        principal, blessing = Principal.from_pem(content[:begin]), Blessing.from_pem(content[begin:])
        if blessing.public_key != principal.public_key:
            raise InvalidCertificate(f"{self._credential} contains the key of another certificate")
        return ServedIdentity(principal, blessing, _roots(_content(self._roots)))


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise InvalidCertificate(f"{path} has more than {_MOST_BYTES} bytes")
    return content


def _roots(pem: bytes) -> Roots:
    """Each trusted for its own name alone. Those without a name prove none: peers of such a trust domain have
    no blessing name."""
    roots = Roots(())
    for one in pem.split(_CERTIFICATE)[1:]:
        try:
            roots += Roots.from_pem(_CERTIFICATE + one)
        except InvalidCertificate:
            continue
    if not len(roots):
        raise InvalidCertificate("the file of roots contains no root with a name")
    return roots
