"""Authorities: principals that may bless others.

>>> root = Authority.create_root(Name.parse("acme"), Principal.create(), now=now, lifetime=years)
>>> web = root.grant(agent.public_key, "prod:shop:web", now=now, lifetime=month)
>>> replica = Authority(agent, web).bless(csr_key, "web-1", now=now, lifetime=hour)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from blessings.blessing import Blessing
from blessings.caveats.kinds import Caveat
from blessings.errors import CannotBless, InvalidCertificate
from blessings.granting.delegation import check_valid_now
from blessings.keys import PublicKey
from blessings.names import Name
from blessings.principal import Principal
from blessings.profile import certificates as profile
from blessings.profile.fields import Role
from blessings.profile.reader import NamedFacts


@dataclass(frozen=True)
class Authority:
    """A principal with the signing certificate that lets it bless under a name.

    `blessing` contains that certificate and those above it; a root's blessing is the root certificate alone.
    Raises CannotBless when the certificate belongs to another key, or may not sign others.
    """

    principal: Principal
    blessing: Blessing

    def __post_init__(self) -> None:
        facts = self._facts
        if facts.public_key != self.principal.public_key:
            raise CannotBless(f"the certificate of {facts.name} belongs to another key")
        if facts.role is not Role.SIGNER:
            raise CannotBless(f"the certificate of {facts.name} may not sign others, it is a {facts.role}")

    @classmethod
    def create_root(
        cls, name: Name, principal: Principal, *, now: datetime, lifetime: timedelta
    ) -> Authority:
        """A new root: a self-signed certificate for `name`, which must have one component."""
        if len(name.components) != 1:
            raise CannotBless(f"a root's name must have one component, got {str(name)!r}")
        begin, end = profile.validity(now, lifetime, None)
        certificate = profile.build_signing_certificate(
            name,
            principal.public_key,
            issuer=None,
            issuer_key=principal.signing_key,
            not_before=begin,
            not_after=end,
            path_length=None,
        )
        return cls(principal, Blessing((certificate,)))

    @property
    def certificate(self) -> x509.Certificate:
        return self.blessing.leaf

    @property
    def name(self) -> Name:
        return self._facts.name

    @property
    def _facts(self) -> NamedFacts:
        try:
            return self.blessing.facts(0)
        except InvalidCertificate as error:
            raise CannotBless(f"the signing certificate is outside of the profile: {error}") from error

    @cached_property
    def is_root(self) -> bool:
        return self.certificate.issuer == self.certificate.subject and len(self.name.components) == 1

    def grant(
        self,
        public_key: PublicKey,
        extension: str,
        *,
        now: datetime,
        lifetime: timedelta,
        path_length: int = 0,
        caveats: Sequence[Caveat] = (),
    ) -> Blessing:
        """Lets `public_key` bless others, under this authority's name followed by `extension`.

        `path_length` is how many more signing certificates may follow below the new one. `caveats` restrict
        every chain below it, and no plain X.509 verifier accepts it then. Raises CannotBless when this
        authority is not valid now, or its own path length is too small.
        """
        check_valid_now(self.blessing, now)
        own_path_length = self._facts.path_length
        if own_path_length is not None and path_length >= own_path_length:
            raise CannotBless(
                f"{self.name} may have {own_path_length} signing certificates below it, "
                f"a grant with path length {path_length} does not fit"
            )
        begin, end = profile.validity(now, lifetime, self.certificate)
        certificate = profile.build_signing_certificate(
            self.name.extend(extension),
            public_key,
            issuer=self.certificate,
            issuer_key=self.principal.signing_key,
            not_before=begin,
            not_after=end,
            path_length=path_length,
            caveats=caveats,
        )
        return self._chain(certificate)

    def bless(
        self,
        public_key: PublicKey,
        extension: str,
        *,
        now: datetime,
        lifetime: timedelta,
        dns_names: Iterable[str] = (),
        usages: Sequence[ObjectIdentifier] = (profile.CLIENT, profile.SERVER),
        caveats: Sequence[Caveat] = (),
    ) -> Blessing:
        """Gives `public_key` this authority's name followed by `extension`, in a leaf certificate.

        The leaf never outlives this authority's certificate. Raises CannotBless when this authority is not
        valid now, when `public_key` is its own, or when DNS names are given together with caveats: a leaf
        with caveats is no SVID, and no plain X.509 verifier accepts it.
        """
        check_valid_now(self.blessing, now)
        if public_key == self.principal.public_key:
            raise CannotBless(f"{self.name} was asked to bless its own signing key")
        names = tuple(dns_names)
        if names and caveats:
            raise CannotBless(f"a leaf with caveats must have no DNS names, got {', '.join(names)[:300]}")
        begin, end = profile.validity(now, lifetime, self.certificate)
        certificate = profile.build_leaf_certificate(
            self.name.extend(extension),
            public_key,
            issuer=self.certificate,
            issuer_key=self.principal.signing_key,
            not_before=begin,
            not_after=end,
            dns_names=names,
            usages=usages,
            caveats=caveats,
        )
        return self._chain(certificate)

    def _chain(self, certificate: x509.Certificate) -> Blessing:
        above = () if self.is_root else self.blessing.certificates
        return Blessing((certificate, *above))
