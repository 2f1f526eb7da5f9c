"""The keys of identity roots, as files: `root.pem` the first, `root-<begin of the fingerprint>.pem` each
later one. Each holds a key and its certificate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from blessings import Authority, Name, Principal, fingerprint
from blessings.profile.fields import public_key_of
from cluster_agent.errors import DataDirectoryError
from cluster_agent.signing.key_files import delete_durably, read_authority, write_durably


@dataclass(frozen=True)
class HeldRoot:
    """A root, and what signs under it here: its own key, or an issuer that has its blessing."""

    certificate: x509.Certificate
    signing: Authority

    @property
    def fingerprint(self) -> str:
        """Of the root's key."""
        return fingerprint(public_key_of(self.certificate))


@dataclass(frozen=True)
class RootKeys:
    """Those in `directory`, all for the root `name`. `makes_keys` is false where the directory is mounted."""

    directory: Path
    name: Name
    lifetime: timedelta
    makes_keys: bool
    needed_at_start: bool = True

    def held(self) -> dict[str, HeldRoot]:
        """By the key's fingerprint. Raises DataDirectoryError for a file that cannot be used."""
        found = {}
        for path in sorted(self.directory.glob("root*.pem")):
            authority = read_authority(path)
            if authority.name != self.name or not authority.is_root:
                raise DataDirectoryError(f"{path} is no root {self.name}; remove it")
            found[fingerprint(authority.principal.public_key)] = HeldRoot(authority.certificate, authority)
        return found

    def make(self, now: datetime) -> Authority:
        """A new one, durable when it returns. Raises DataDirectoryError."""
        root = Authority.create_root(self.name, Principal.create(), now=now, lifetime=self.lifetime)
        begin = fingerprint(root.principal.public_key).replace(":", "")[:16]
        text = root.principal.to_pem().decode() + root.blessing.to_pem()
        write_durably(self.directory / f"root-{begin}.pem", text)
        return root

    def to_delete(self, key: str) -> bool:
        """Whether the key with that fingerprint is here, and ours to delete. Raises DataDirectoryError."""
        return self.makes_keys and key in self.held()

    def delete(self, key: str) -> None:
        """Forgets the key with that fingerprint, if it is there. Raises DataDirectoryError."""
        for path in self.directory.glob("root*.pem"):
            if fingerprint(read_authority(path).principal.public_key) == key:
                delete_durably(path)

    @property
    def why_no_successor(self) -> str:
        """Why there is no new root to prepare, and what brings one."""
        return (
            f"{self.directory} has no new root; make one with cluster-agent-keys --next-root, "
            "and put it into Secret cluster-agent-keys"
        )

    def why_missing(self, key: str) -> str:
        """Why nothing is signed while the root with that key is active."""
        return (
            f"the key of the active root {key} is not in {self.directory}; "
            "this database belongs to a cluster agent whose root key it is"
        )
