"""The keys of identity roots, as files.

`root.pem` is the first root, `root-<begin of the fingerprint>.pem` each later one. Each contains a key and
its certificate.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

from cryptography import x509

from blessings import Authority, Name, Principal, fingerprint
from blessings.profile.fields import public_key_of
from cluster_agent.errors import DataDirectoryError
from cluster_agent.signing.key_files import delete_durably, read_authority, write_durably


@dataclass(frozen=True)
class HeldRoot:
    """A root, and what signs under it here: its own key, or an issuer that the root blessed."""

    certificate: x509.Certificate
    signing: Authority

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the root's key."""
        return fingerprint(public_key_of(self.certificate))


@dataclass(frozen=True)
class RootKeys:
    """The root keys in `directory`, all for the root `name`. `makes_keys` is false when the directory is
    mounted."""

    needed_at_start: ClassVar = True

    directory: Path
    name: Name
    lifetime: timedelta
    makes_keys: bool

    def held(self) -> dict[str, HeldRoot]:
        """The roots by the fingerprints of their keys. Raises DataDirectoryError for a file that cannot be
        used."""
        found = {}
        for path in sorted(self.directory.glob("root*.pem")):
            authority = read_authority(path)
            if authority.name != self.name or not authority.is_root:
                raise DataDirectoryError(f"{path} is not a root of {self.name}; remove it")
            found[fingerprint(authority.principal.public_key)] = HeldRoot(authority.certificate, authority)
        return found

    def make(self, now: datetime) -> Authority:
        """A new root, durable when it returns. Raises DataDirectoryError."""
        root = Authority.create_root(self.name, Principal.create(), now=now, lifetime=self.lifetime)
        begin = fingerprint(root.principal.public_key).replace(":", "")[:16]
        text = root.principal.to_pem().decode() + root.blessing.to_pem()
        write_durably(self.directory / f"root-{begin}.pem", text)
        return root

    def to_delete(self, key: str) -> bool:
        """Whether the key with that fingerprint is here, and this agent may delete it. Raises
        DataDirectoryError."""
        return self.makes_keys and key in self.held()

    def delete(self, key: str) -> None:
        """Deletes the key with that fingerprint, if it is there. Raises DataDirectoryError."""
        for path in self.directory.glob("root*.pem"):
            if fingerprint(read_authority(path).principal.public_key) == key:
                delete_durably(path)

    @property
    def why_no_successor(self) -> str:
        """A message: why there is no new root to prepare, and how to get one."""
        return (
            f"{self.directory} has no new root; make one with cluster-agent-keys --next-root, "
            "and put it into Secret cluster-agent-keys"
        )

    def why_missing(self, key: str) -> str:
        """A message: why nothing is signed while the root with that key is active."""
        return (
            f"the key of the active root {key} is not in {self.directory}; "
            "this database belongs to a cluster agent whose root key it is"
        )
