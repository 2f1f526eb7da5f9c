"""The room in which certificates are signed. What may be signed is decided outside, by issuing_policy.

Three keys: the root (quick start makes its own), the issuing key that applications are granted to, and
the bootstrap root. The bootstrap root is published to nobody, so a bootstrap credential proves something
to this agent alone and can never pass for a replica.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from cryptography import x509

from blessings import Authority, Blessing, Name, Principal, Roots, fingerprint
from blessings.certificates import CLIENT
from blessings.principal import PublicKey
from cluster_agent.issuing_policy import needs_new_grant

BOOTSTRAP_ROOT = Name.parse("vanadium-bootstrap")
ROOT_LIFETIME = timedelta(days=3650)
GRANT_LIFETIME = timedelta(days=30)
BOOTSTRAP_LIFETIME = timedelta(days=90)


@dataclass(frozen=True)
class BootstrapCredential:
    """A client certificate with its key, handed out once and not kept."""

    id: str
    principal: Principal
    blessing: Blessing


@dataclass
class SigningRoom:
    """The agent's keys, and the application certificates granted to its issuing key."""

    root: Authority
    issuing: Principal
    bootstrap: Authority
    _grants: dict[Name, Authority] = field(default_factory=dict)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of each key, by its role."""
        keys = {"root": self.root.principal, "issuing": self.issuing, "bootstrap": self.bootstrap.principal}
        return {role: fingerprint(principal.public_key) for role, principal in keys.items()}

    @property
    def identity_roots(self) -> Roots:
        """What replicas' chains end in: published."""
        return _roots_of(self.root.certificate)

    @property
    def bootstrap_roots(self) -> Roots:
        """What bootstrap credentials end in: for this agent's own eyes."""
        return _roots_of(self.bootstrap.certificate)

    def sign_replica(
        self, application: Name, pod_name: str, key: PublicKey, *, now: datetime, ttl: timedelta
    ) -> Blessing:
        """The replica's leaf under its application. Raises CannotBless when the root has expired."""
        return self._granted(application, now, ttl).bless(key, pod_name, now=now, lifetime=ttl)

    def sign_bootstrap(self, *, now: datetime) -> BootstrapCredential:
        """A new bootstrap credential with a random identifier of 128 bits."""
        identifier = secrets.token_hex(16)
        principal = Principal.create()
        blessing = self.bootstrap.bless(
            principal.public_key, identifier, now=now, lifetime=BOOTSTRAP_LIFETIME, usages=[CLIENT]
        )
        return BootstrapCredential(identifier, principal, blessing)

    def _granted(self, application: Name, now: datetime, ttl: timedelta) -> Authority:
        grant = self._grants.get(application)
        if grant is None or needs_new_grant(grant.blessing.not_before, grant.blessing.not_after, now, ttl):
            extension = ":".join(application.components[1:])
            blessing = self.root.grant(self.issuing.public_key, extension, now=now, lifetime=GRANT_LIFETIME)
            grant = self._grants[application] = Authority(self.issuing, blessing)
        return grant


@lru_cache(maxsize=8)
def _roots_of(certificate: x509.Certificate) -> Roots:
    # Every request asks for them.
    return Roots.of(certificate)
