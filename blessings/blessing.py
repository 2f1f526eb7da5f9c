"""A blessing: a name bound to a public key by a chain of certificates.

`certificates` goes from the leaf towards the root; the root itself is left out, because whoever verifies
must know it already.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from blessings import certificates as profile
from blessings.errors import InvalidCertificate
from blessings.names import Name
from blessings.principal import PublicKey


@dataclass(frozen=True)
class Blessing:
    """A chain as somebody presents it. Nothing about it is proven before `verify`."""

    certificates: tuple[x509.Certificate, ...]

    def __post_init__(self) -> None:
        if not self.certificates:
            raise InvalidCertificate("a blessing needs at least one certificate, got none")

    @classmethod
    def from_pem(cls, pem: str | bytes) -> Blessing:
        """The blessing of a PEM chain, leaf first. Raises InvalidCertificate."""
        return cls(profile.parse_pem_chain(pem))

    def to_pem(self) -> str:
        return profile.to_pem(self.certificates)

    @property
    def leaf(self) -> x509.Certificate:
        return self.certificates[0]

    @property
    def presented(self) -> Name:
        """The name that the leaf claims. Raises InvalidCertificate when it claims none."""
        return profile.name_of(self.leaf)

    @property
    def public_key(self) -> PublicKey:
        """The key that is blessed. Raises InvalidKey."""
        return profile.public_key_of(self.leaf)

    @property
    def not_before(self) -> datetime:
        return max(certificate.not_valid_before_utc for certificate in self.certificates)

    @property
    def not_after(self) -> datetime:
        """When the first certificate of the chain ends."""
        return min(certificate.not_valid_after_utc for certificate in self.certificates)
