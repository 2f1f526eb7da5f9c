"""A blessing: a name bound to a public key by a chain of certificates.

`certificates` goes from the leaf towards the root. It leaves out the root itself, because a verifier must
already have it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from blessings.encoding import chains
from blessings.errors import InvalidCertificate
from blessings.keys import PublicKey
from blessings.names import Name
from blessings.profile import reader
from blessings.profile.fields import public_key_of, times_of
from blessings.profile.names import name_of
from blessings.profile.reader import NamedFacts


@dataclass(frozen=True)
class Blessing:
    """A chain as it was presented. It proves nothing before `verify` accepts it."""

    certificates: tuple[x509.Certificate, ...]
    _facts: dict[int, NamedFacts] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        if not self.certificates:
            raise InvalidCertificate("a blessing needs at least one certificate, got none")

    @classmethod
    def from_pem(cls, pem: str | bytes) -> Blessing:
        """The blessing of a PEM chain, leaf first. Raises InvalidCertificate."""
        return cls(chains.parse_pem_chain(pem))

    def to_pem(self) -> str:
        return chains.pem_of_der(self._leaf_der) + chains.to_pem(self.certificates[1:])

    @classmethod
    def from_der(cls, der: bytes) -> Blessing:
        """The blessing of concatenated DER certificates, leaf first. Raises InvalidCertificate."""
        return cls(chains.parse_der_chain(der))

    def to_der(self) -> bytes:
        return self._leaf_der + chains.to_der(self.certificates[1:])

    @property
    def leaf(self) -> x509.Certificate:
        return self.certificates[0]

    @cached_property
    def leaf_fingerprint(self) -> bytes:
        """SHA-256 over the leaf's DER."""
        return hashlib.sha256(self._leaf_der).digest()

    @cached_property
    def certificate_fingerprints(self) -> tuple[bytes, ...]:
        """SHA-256 over each certificate's DER, in their order."""
        above = (hashlib.sha256(chains.to_der([one])).digest() for one in self.certificates[1:])
        return (self.leaf_fingerprint, *above)

    @cached_property
    def _leaf_der(self) -> bytes:
        # Not `to_der`: it caches, and a leaf appears in one chain only.
        return self.leaf.public_bytes(Encoding.DER)

    @cached_property
    def presented(self) -> Name:
        """The name that the leaf claims. Raises InvalidCertificate when it claims none."""
        return name_of(self.leaf)

    @cached_property
    def public_key(self) -> PublicKey:
        """The key that is blessed. Raises InvalidKey."""
        return public_key_of(self.leaf)

    @cached_property
    def not_before(self) -> datetime:
        """When the chain becomes valid: the latest start of its certificates. Raises InvalidCertificate."""
        return max(times_of(certificate)[0] for certificate in self.certificates)

    @cached_property
    def not_after(self) -> datetime:
        """When the chain expires: the earliest end of its certificates. Raises InvalidCertificate."""
        return min(times_of(certificate)[1] for certificate in self.certificates)

    def facts(self, position: int) -> NamedFacts:
        """The fields of the certificate at `position`, 0 for the leaf. Each certificate is read once.

        Raises InvalidCertificate with the position and the field, and UnacceptableKey when the key is wrong.
        """
        if position not in self._facts:
            read = reader.read_issuer if position else reader.read
            try:
                self._facts[position] = read(self.certificates[position])
            except InvalidCertificate as error:
                raise error.at(position) from error
        return self._facts[position]

    @property
    def is_svid(self) -> bool:
        """Whether plain X.509 verifiers accept it as an X.509-SVID: no certificate has the restrictions
        extension.

        Raises InvalidCertificate.
        """
        return not any(self.facts(position).restricted for position in range(len(self.certificates)))
