"""The pod's identity from files: the kubelet's, in a volume (`vanadium.io/delivery: volume`), or the pod
agent's (`vanadium.io/files`).

    files = IdentityFiles.of_environment()
    files.identity().blessing.presented     # Name('acme:prod:shop:web:web-1')
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from agent_client.messages import AgentError
from agent_client.process_lock import ProcessLock
from agent_client.served_identity import ServedIdentity
from blessings import Blessing, BlessingsError, InvalidCertificate, Name, Principal, Roots, TrustBundle
from blessings.encoding.chains import parse_pem_chain

CREDENTIAL_VARIABLE = "VANADIUM_CREDENTIAL_FILE"
ROOTS_VARIABLE = "VANADIUM_ROOTS_FILE"
FEDERATED_VARIABLE = "VANADIUM_FEDERATED_DIRECTORY"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_MOST_BYTES = 1 << 20

_Version: TypeAlias = tuple[tuple[int, ...], ...]


class IdentityFiles:
    """Implements `IdentitySource`. The files are looked at with each call, and read again when they changed.

    Key and chain are in one file, which one reading takes whole, so a pair that does not belong together is
    never used. Files that cannot be used, while earlier ones could, change nothing: they are looked at again
    with the next call.
    """

    def __init__(self, credential: Path, roots: Path, federated: Path | None = None) -> None:
        """Raises AgentError when there is no identity in the files.

        credential: the key, PKCS #8, then the chain, leaf first; in PEM.
        roots: the root certificates in PEM.
        federated: a directory with the roots of each federated trust domain in `<trust domain>.crt`, in PEM.
            They prove names of that trust domain only. It need not exist.
        """
        self._credential, self._roots, self._federated = credential, roots, federated
        self._lock = ProcessLock()
        try:
            self._version = self._now()
            self._identity = self._read()
        except (OSError, BlessingsError) as error:
            raise AgentError("NoIdentity", f"no identity in {credential}, {roots}: {error}") from error

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> IdentityFiles | None:
        """The files that VANADIUM_CREDENTIAL_FILE, VANADIUM_ROOTS_FILE and, where it is set,
        VANADIUM_FEDERATED_DIRECTORY name; None without the first two. Raises AgentError."""
        credential, roots = environment.get(CREDENTIAL_VARIABLE), environment.get(ROOTS_VARIABLE)
        federated = environment.get(FEDERATED_VARIABLE)
        if not credential or not roots:
            return None
        return cls(Path(credential), Path(roots), Path(federated) if federated else None)

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
        """What differs when a file was replaced or changed: the kubelet replaces all, by a link."""
        found = [path.stat() for path in (self._credential, self._roots, *self._federated_files())]
        return tuple((one.st_dev, one.st_ino, one.st_mtime_ns, one.st_size) for one in found)

    def _federated_files(self) -> list[Path]:
        return [] if self._federated is None else sorted(self._federated.glob("*.crt"))

    def _read(self) -> ServedIdentity:
        """Raises BlessingsError, OSError."""
        content = _content(self._credential)
        begin = content.find(_CERTIFICATE)
        if begin < 0:
            raise InvalidCertificate(f"{self._credential} contains no certificate")
        principal, blessing = Principal.from_pem(content[:begin]), Blessing.from_pem(content[begin:])
        if blessing.public_key != principal.public_key:
            raise InvalidCertificate(f"{self._credential} contains the key of another certificate")
        roots = _roots(_content(self._roots))
        for path in self._federated_files():
            roots += _federated_roots(path, blessing.presented.root)
        return ServedIdentity(principal, blessing, roots)


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


def _federated_roots(path: Path, own: Name) -> Roots:
    """Each trusted for names of the trust domain that the file is named for. None in a file that cannot be
    used: the own identity does not depend on it. Raises OSError."""
    none = Roots(())
    try:
        domain = Name.parse(path.stem)
        certificates = parse_pem_chain(_content(path))
        return none if domain == own else TrustBundle(domain, certificates).roots
    except BlessingsError:
        return none
