"""Roots: the root certificates that a principal recognises, each with the names that it is trusted for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from cryptography import x509

from blessings.encoding import chains
from blessings.errors import InvalidCertificate
from blessings.names import Name
from blessings.patterns import Pattern
from blessings.profile import reader
from blessings.profile.fields import is_signing
from blessings.profile.names import name_of
from blessings.profile.reader import CertificateFacts
from blessings.profile.signed_parts import split


@dataclass(frozen=True)
class Root:
    """A root certificate and the pattern of the names that it is trusted for."""

    certificate: x509.Certificate
    pattern: Pattern

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Root:
        """A root trusted for its own name and every extension of it. Raises InvalidCertificate."""
        if not is_signing(certificate):
            raise InvalidCertificate("a root must be a signing certificate, this one is a leaf")
        return cls(certificate, Pattern(name_of(certificate)))

    @cached_property
    def subject(self) -> bytes:
        """The certificate's subject in DER; read once."""
        return split(self.certificate).subject

    @cached_property
    def facts(self) -> CertificateFacts:
        """The certificate's fields; read once. Raises InvalidCertificate."""
        return reader.read_root(self.certificate)


@dataclass(frozen=True)
class Roots:
    """The recognised roots. Their order has no meaning."""

    entries: tuple[Root, ...]

    @classmethod
    def of(cls, *certificates: x509.Certificate) -> Roots:
        """Roots that are each trusted for their own name."""
        return cls(tuple(Root.of(certificate) for certificate in certificates))

    @classmethod
    def from_pem(cls, pem: str | bytes) -> Roots:
        """The roots of a PEM bundle, each trusted for its own name. Raises InvalidCertificate."""
        return cls.of(*chains.parse_pem_chain(pem))

    def to_pem(self) -> str:
        return chains.to_pem(root.certificate for root in self)

    @classmethod
    def from_json(cls, items: Iterable[Mapping[str, str]]) -> Roots:
        """The inverse of `to_json`. Raises InvalidCertificate, InvalidPattern, KeyError for a missing key."""
        entries = []
        for item in items:
            (certificate, *more) = chains.parse_pem_chain(item["certificate"])
            if more:
                raise InvalidCertificate("one root entry holds one certificate, this one has more")
            entries.append(Root(certificate, Pattern.parse(item["pattern"])))
        return cls(tuple(entries))

    def to_json(self) -> list[dict[str, str]]:
        """`[{"certificate": <PEM>, "pattern": "acme"}]`, the form used on the wire."""
        return [
            {"certificate": chains.to_pem([root.certificate]), "pattern": str(root.pattern)} for root in self
        ]

    def trusted_for(self, name: Name) -> Roots:
        """The roots whose pattern matches `name`."""
        return Roots(tuple(root for root in self if root.pattern.matches(name)))

    def __iter__(self) -> Iterator[Root]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __add__(self, other: Roots) -> Roots:
        return Roots((*self.entries, *other.entries))
